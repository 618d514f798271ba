//! Weak augmentation of a training image and its boxes: random scale, shift and horizontal flip of both, then
//! brightness, contrast, gamma and noise of the pixels. Grey levels and boxes in, the same out; random numbers come
//! from the given generator only. Boxes are clipped to the image; boxes with too little area left inside are dropped.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Model;
use rand::{Rng, RngExt};

use crate::config::detector::AugmentConfig;

/// A box is dropped when less than this share of its area is inside the augmented image.
const VISIBLE_MIN: f32 = 0.3;
/// Mean and standard deviation of the sum of four uniform bytes, which approximates a normal number.
const BYTES_MEAN: f32 = 510.0;
const BYTES_STD: f32 = 147.8;

/// An annotated box. `S` is the pixel space of the box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelledBox<S = Model> {
    /// Index of the class.
    pub class_id: i32,
    pub region: BoxXyxy<S>,
}

/// `output = (input - centre) * scale + centre + shift`; where `mirrored`, x is mirrored first.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    size: f32,
    scale: f32,
    shift: (f32, f32),
    mirrored: bool,
}

impl Geometry {
    fn draw(size: u32, config: &AugmentConfig, rng: &mut impl Rng) -> Self {
        let size = size as f32;
        Self {
            size,
            scale: 1.0 + symmetric(rng, config.scale),
            shift: (size * symmetric(rng, config.shift), size * symmetric(rng, config.shift)),
            mirrored: config.hflip && rng.random::<bool>(),
        }
    }

    fn apply(&self, b: &BoxXyxy<Model>) -> BoxXyxy<Model> {
        let b = if self.mirrored { b.mirrored(self.size) } else { *b };
        let centre = self.size * 0.5;
        let x = |v: f32| (v - centre) * self.scale + centre + self.shift.0;
        let y = |v: f32| (v - centre) * self.scale + centre + self.shift.1;
        BoxXyxy::new(x(b.x_min), y(b.y_min), x(b.x_max), y(b.y_max))
    }

    /// Bilinear interpolation along one axis: for each output index two input indices and the weight of the second;
    /// `None` outside the input.
    fn taps(&self, shift: f32, mirrored: bool) -> Vec<Option<(usize, usize, f32)>> {
        let (centre, last) = (self.size * 0.5, self.size - 1.0);
        let tap = |i: usize| {
            let at = (i as f32 + 0.5 - centre - shift) / self.scale + centre - 0.5;
            let at = if mirrored { last - at } else { at };
            (-0.5..=last + 0.5).contains(&at).then(|| {
                let at = at.clamp(0.0, last);
                let low = at as usize;
                (low, (low + 1).min(last as usize), at - low as f32)
            })
        };
        (0..self.size as usize).map(tap).collect()
    }
}

/// A uniform number between `-bound` and `bound`.
fn symmetric(rng: &mut impl Rng, bound: f32) -> f32 {
    (rng.random::<f32>() * 2.0 - 1.0) * bound
}

/// The random parameters of one augmentation, applied to the pixels and to the boxes of an image.
#[derive(Debug)]
pub struct WeakAugmentation {
    geometry: Geometry,
    /// New grey level of each grey level.
    levels: [f32; 256],
    /// Standard deviation of the noise over that of the sum of four bytes.
    noise: f32,
}

impl WeakAugmentation {
    /// Draws the parameters for square images of `size` pixels.
    pub fn draw(size: u32, config: &AugmentConfig, rng: &mut impl Rng) -> Self {
        let geometry = Geometry::draw(size, config, rng);
        let levels = grey_levels(config, rng);
        let noise = rng.random::<f32>() * config.noise * 255.0 / BYTES_STD;
        Self { geometry, levels, noise }
    }

    /// Whether the image is flipped horizontally.
    pub fn mirrored(&self) -> bool {
        self.geometry.mirrored
    }

    /// The augmented pixels. `pixels`: `size * size` grey levels, row-major; `rng` draws the noise.
    pub fn apply_to_pixels(&self, pixels: &[u8], rng: &mut impl Rng) -> Vec<u8> {
        let mut out = warp(pixels, self.geometry.size as usize, &self.geometry);
        for pixel in &mut out {
            let bytes = rng.next_u32().to_le_bytes();
            let sum: u32 = bytes.iter().map(|b| u32::from(*b)).sum();
            let grey = self.levels[*pixel as usize] + (sum as f32 - BYTES_MEAN) * self.noise;
            *pixel = grey.round().clamp(0.0, 255.0) as u8;
        }
        out
    }

    /// The augmented box, clipped to the image; `None` when most of it is outside.
    pub fn apply_to_box(&self, region: &BoxXyxy<Model>) -> Option<BoxXyxy<Model>> {
        let size = self.geometry.size;
        let unclipped = self.geometry.apply(region);
        let region = unclipped.clip(size, size);
        (region.is_proper() && region.area() >= VISIBLE_MIN * unclipped.area()).then_some(region)
    }
}

/// An augmented copy of pixels and boxes. `pixels`: `size * size` grey levels, row-major.
pub fn augment(
    pixels: &[u8],
    size: u32,
    boxes: &[LabelledBox],
    config: &AugmentConfig,
    rng: &mut impl Rng,
) -> (Vec<u8>, Vec<LabelledBox>) {
    let augmentation = WeakAugmentation::draw(size, config, rng);
    let out = augmentation.apply_to_pixels(pixels, rng);
    let moved =
        |b: &LabelledBox| Some(LabelledBox { class_id: b.class_id, region: augmentation.apply_to_box(&b.region)? });
    (out, boxes.iter().filter_map(moved).collect())
}

/// The new grey level, 0 to 255, of each grey level.
fn grey_levels(config: &AugmentConfig, rng: &mut impl Rng) -> [f32; 256] {
    let offset = symmetric(rng, config.brightness);
    let contrast = 1.0 + symmetric(rng, config.contrast);
    let gamma = 1.0 + symmetric(rng, config.gamma);
    std::array::from_fn(|level| {
        let grey = (level as f32 / 255.0).powf(gamma);
        255.0 * ((grey - 0.5) * contrast + 0.5 + offset)
    })
}

/// The image under the geometry, by bilinear interpolation, black outside.
fn warp(pixels: &[u8], size: usize, geometry: &Geometry) -> Vec<u8> {
    let columns = geometry.taps(geometry.shift.0, geometry.mirrored);
    let rows = geometry.taps(geometry.shift.1, false);
    let mut out = vec![0; size * size];
    for (line, row) in out.chunks_exact_mut(size).zip(rows) {
        let Some((top, bottom, down)) = row else { continue };
        let (top, bottom) = (&pixels[top * size..][..size], &pixels[bottom * size..][..size]);
        for (pixel, column) in line.iter_mut().zip(&columns) {
            let Some((left, right, across)) = *column else { continue };
            let mix = |row: &[u8]| f32::from(row[left]) * (1.0 - across) + f32::from(row[right]) * across;
            *pixel = (mix(top) * (1.0 - down) + mix(bottom) * down).round() as u8;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::streams::sample_rng;

    const NONE: AugmentConfig =
        AugmentConfig { scale: 0.0, shift: 0.0, hflip: false, brightness: 0.0, contrast: 0.0, gamma: 0.0, noise: 0.0 };

    /// A white rectangle on black, and its box.
    fn rectangle(size: usize, [x0, y0, x1, y1]: [usize; 4]) -> (Vec<u8>, Vec<LabelledBox>) {
        let mut pixels = vec![0; size * size];
        for y in y0..y1 {
            pixels[y * size + x0..y * size + x1].fill(255);
        }
        let region = BoxXyxy::new(x0 as f32, y0 as f32, x1 as f32, y1 as f32);
        (pixels, vec![LabelledBox { class_id: 3, region }])
    }

    #[test]
    fn ranges_of_zero_change_nothing() {
        let (pixels, boxes) = rectangle(32, [4, 6, 20, 30]);
        let out = augment(&pixels, 32, &boxes, &NONE, &mut sample_rng(1, 2, 3));
        assert_eq!(out, (pixels, boxes));
    }

    #[test]
    fn boxes_move_with_their_pixels() {
        let (pixels, boxes) = rectangle(64, [20, 24, 40, 36]);
        let config = AugmentConfig { scale: 0.2, shift: 0.1, hflip: true, ..NONE };
        let mut mirrored = 0;
        for index in 0..20 {
            let (out, moved) = augment(&pixels, 64, &boxes, &config, &mut sample_rng(5, 0, index));
            let bright = |i: usize| out[i] > 127;
            let bright_pixels: Vec<usize> = (0..64 * 64).filter(|&i| bright(i)).collect();
            let (xs, ys) = (bright_pixels.iter().map(|i| i % 64), bright_pixels.iter().map(|i| i / 64));
            let bright_region = [
                xs.clone().min().unwrap() as f32,
                ys.clone().min().unwrap() as f32,
                xs.max().unwrap() as f32 + 1.0,
                ys.max().unwrap() as f32 + 1.0,
            ];
            for (a, b) in bright_region.iter().zip(moved[0].region.to_array()) {
                assert!((a - b).abs() <= 1.0, "pixels {bright_region:?}, box {:?}", moved[0].region);
            }
            mirrored += usize::from(moved[0].region.centre().0 > 34.0);
        }
        assert!((1..20).contains(&mirrored), "flipped and unflipped images occur");
    }

    #[test]
    fn a_box_outside_is_dropped() {
        let (pixels, boxes) = rectangle(64, [0, 0, 4, 4]);
        let config = AugmentConfig { shift: 0.5, ..NONE };
        let dropped = (0..40).filter(|&p| augment(&pixels, 64, &boxes, &config, &mut sample_rng(0, 0, p)).1.is_empty());
        let dropped = dropped.count();
        assert!((1..40).contains(&dropped), "{dropped}");
        let none = augment(&pixels, 64, &[], &config, &mut sample_rng(0, 0, 0));
        assert!(none.1.is_empty());
    }

    #[test]
    fn the_augmentation_depends_on_the_sample_only() {
        let (pixels, boxes) = rectangle(32, [4, 6, 20, 30]);
        let config = AugmentConfig { noise: 0.1, contrast: 0.2, ..NONE };
        let draw = |step| augment(&pixels, 32, &boxes, &config, &mut sample_rng(1, step, 0)).0;
        assert_eq!(draw(4), draw(4));
        assert_ne!(draw(4), draw(5));
    }
}
