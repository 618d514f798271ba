//! Noise of the phantom: smooth noise for tissue, grain for quanta. Both are functions of a seed and a place, so that
//! leaving a lesion out changes nothing elsewhere.

use super::canvas::{Point, smoothstep};

/// Smooth noise in -1..1: random values on a grid, interpolated.
#[derive(Debug, Clone, Copy)]
pub struct SmoothNoise {
    seed: u64,
    cells: f32,
}

impl SmoothNoise {
    /// Noise with `cells` grid cells along the film's side.
    pub fn new(seed: u64, cells: f32) -> Self {
        Self { seed, cells }
    }

    /// The noise at `p`.
    pub fn at(&self, p: Point) -> f32 {
        let (x, y) = (p.x * self.cells, p.y * self.cells);
        let (x0, y0) = (x.floor(), y.floor());
        let (tx, ty) = (smoothstep(0.0, 1.0, x - x0), smoothstep(0.0, 1.0, y - y0));
        let (ix, iy) = (x0 as i64 as u64, y0 as i64 as u64);
        let corner = |dx: u64, dy: u64| {
            // One round of mixing is enough for a grid, and four corners of each pixel need it.
            let key = ix.wrapping_add(dx).wrapping_mul(0x9E37_79B9) ^ iy.wrapping_add(dy).wrapping_mul(0x85EB_CA6B_0000_0001);
            let mixed = (key ^ self.seed).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            ((mixed ^ (mixed >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        };
        let (top, bottom) = (
            corner(0, 0) + (corner(1, 0) - corner(0, 0)) * tx,
            corner(0, 1) + (corner(1, 1) - corner(0, 1)) * tx,
        );
        top + (bottom - top) * ty
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
    use super::super::canvas::at;
    use super::*;

    #[test]
    fn noise_is_centred_and_bounded() {
        let noise = SmoothNoise::new(7, 16.0);
        let values: Vec<f32> = (0..4096).map(|i| noise.at(at((i % 64) as f32 / 64.0, (i / 64) as f32 / 64.0))).collect();
        assert!(values.iter().all(|v| v.abs() <= 1.0));
        assert!((values.iter().sum::<f32>() / 4096.0).abs() < 0.1);
        let grains: Vec<f32> = (0..4096).map(|i| grain(scramble(i))).collect();
        let mean = grains.iter().sum::<f32>() / 4096.0;
        let variance = grains.iter().map(|g| (g - mean).powi(2)).sum::<f32>() / 4096.0;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
    }
}
