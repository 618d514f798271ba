//! Noise of the phantom: smooth noise for tissue, grain for quanta. Both are functions of a seed and a place, so that
//! leaving a lesion out changes nothing elsewhere.

use crate::drawing::canvas::{Point, smoothstep};

/// Smooth noise in -1..1: random values on a grid, interpolated.
#[derive(Debug, Clone, Copy)]
pub struct SmoothNoise {
    seed: u64,
    cells: f32,
}

impl SmoothNoise {
    /// Noise with `cells` grid cells along the image's size.
    pub fn new(seed: u64, cells: f32) -> Self {
        Self { seed, cells }
    }

    /// The noise at `p`.
    pub fn at(&self, p: Point) -> f32 {
        self.scan().at(p)
    }

    /// The same noise for points that come row by row.
    pub fn scan(self) -> NoiseScan {
        NoiseScan { noise: self, y: f32::NAN, column: f32::NAN, left: 0.0, right: 0.0 }
    }

    /// The noise on the vertical grid line `column` at height `y` (in cells).
    fn on_line(&self, column: f32, y: f32) -> f32 {
        let row = y.floor();
        let share = smoothstep(0.0, 1.0, y - row);
        let corner = |down: f32| {
            let (x, y) = (column as i64 as u64, (row + down) as i64 as u64);
            (scramble(self.seed ^ x.wrapping_mul(0x9E37_79B9) ^ y.wrapping_shl(32)) >> 40) as f32 / (1u32 << 23) as f32
                - 1.0
        };
        let (top, bottom) = (corner(0.0), corner(1.0));
        top + (bottom - top) * share
    }
}

/// [`SmoothNoise`] that caches its current cell, which makes a row of pixels fast.
#[derive(Debug, Clone)]
pub struct NoiseScan {
    noise: SmoothNoise,
    y: f32,
    column: f32,
    left: f32,
    right: f32,
}

impl NoiseScan {
    /// The noise at `p`.
    pub fn at(&mut self, p: Point) -> f32 {
        let (x, y) = (p.x * self.noise.cells, p.y * self.noise.cells);
        let column = x.floor();
        if column != self.column || y != self.y {
            let next = y == self.y && column == self.column + 1.0;
            self.left = if next { self.right } else { self.noise.on_line(column, y) };
            self.right = self.noise.on_line(column + 1.0, y);
            (self.column, self.y) = (column, y);
        }
        self.left + (self.right - self.left) * smoothstep(0.0, 1.0, x - column)
    }
}

/// A well mixed 64-bit value of `v` (the finaliser of SplitMix64).
pub fn scramble(v: u64) -> u64 {
    let v = v.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let v = (v ^ (v >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let v = (v ^ (v >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    v ^ (v >> 31)
}

/// Noise of mean 0 and standard deviation about 1, nearly normal, from one random word.
pub fn grain(word: u64) -> f32 {
    let parts = [word & 0xFFFF, (word >> 16) & 0xFFFF, (word >> 32) & 0xFFFF, word >> 48];
    (parts.iter().sum::<u64>() as f32 / 65536.0 - 2.0) * 1.732
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawing::canvas::at;

    #[test]
    fn noise_is_centred_and_bounded() {
        let noise = SmoothNoise::new(7, 16.0);
        let values: Vec<f32> =
            (0..4096).map(|i| noise.at(at((i % 64) as f32 / 64.0, (i / 64) as f32 / 64.0))).collect();
        assert!(values.iter().all(|v| v.abs() <= 1.0));
        assert!((values.iter().sum::<f32>() / 4096.0).abs() < 0.1);
        let mut scan = noise.scan();
        for (i, value) in values.iter().enumerate() {
            assert_eq!(scan.at(at((i % 64) as f32 / 64.0, (i / 64) as f32 / 64.0)), *value);
        }
        let grains: Vec<f32> = (0..4096).map(|i| grain(scramble(i))).collect();
        let mean = grains.iter().sum::<f32>() / 4096.0;
        let variance = grains.iter().map(|g| (g - mean).powi(2)).sum::<f32>() / 4096.0;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
    }
}
