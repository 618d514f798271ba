//! Weak augmentation of a training image and its boxes: random scale, shift and horizontal flip of both, then
//! brightness, contrast, gamma and noise of the pixels. An image and boxes in, the same out; random numbers come
//! from the given generator only. Boxes are clipped to the image; boxes with too little area left inside are dropped.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::{ImageSize, Model};
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
    size: ImageSize,
    scale: f32,
    shift: (f32, f32),
    mirrored: bool,
}

impl Geometry {
    fn draw(size: ImageSize, config: &AugmentConfig, rng: &mut impl Rng) -> Self {
        Self {
            size,
            scale: 1.0 + symmetric(rng, config.scale),
            shift: (
                size.width as f32 * symmetric(rng, config.shift),
                size.height as f32 * symmetric(rng, config.shift),
            ),
            mirrored: config.hflip && rng.random::<bool>(),
        }
    }

    fn apply(&self, b: &BoxXyxy<Model>) -> BoxXyxy<Model> {
        let (width, height) = (self.size.width as f32, self.size.height as f32);
        let b = if self.mirrored { b.mirrored(width) } else { *b };
        let (centre_x, centre_y) = (width * 0.5, height * 0.5);
        let x = |v: f32| (v - centre_x) * self.scale + centre_x + self.shift.0;
        let y = |v: f32| (v - centre_y) * self.scale + centre_y + self.shift.1;
        BoxXyxy::new(x(b.x_min), y(b.y_min), x(b.x_max), y(b.y_max))
    }

    /// Bilinear interpolation along an axis of `length` pixels: for each output index two input indices and the weight of
    /// the second; `None` outside the input.
    fn taps(&self, length: u32, shift: f32, mirrored: bool) -> Vec<Option<(usize, usize, f32)>> {
        let (centre, last) = (length as f32 * 0.5, length as f32 - 1.0);
        let tap = |i: usize| {
            let at = (i as f32 + 0.5 - centre - shift) / self.scale + centre - 0.5;
            let at = if mirrored { last - at } else { at };
            (-0.5..=last + 0.5).contains(&at).then(|| {
                let at = at.clamp(0.0, last);
                let low = at as usize;
                (low, (low + 1).min(last as usize), at - low as f32)
            })
        };
        (0..length as usize).map(tap).collect()
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
    /// Draws the parameters for images of this size.
    pub fn draw(size: ImageSize, config: &AugmentConfig, rng: &mut impl Rng) -> Self {
        let geometry = Geometry::draw(size, config, rng);
        let levels = grey_levels(config, rng);
        let noise = rng.random::<f32>() * config.noise * 255.0 / BYTES_STD;
        Self { geometry, levels, noise }
    }

    /// Whether the image is flipped horizontally.
    pub fn mirrored(&self) -> bool {
        self.geometry.mirrored
    }

    /// The augmented pixels. `pixels`: grey levels of the image, row-major; `rng` draws the noise.
    pub fn apply_to_pixels(&self, pixels: &[u8], rng: &mut impl Rng) -> Vec<u8> {
        let mut out = warp(pixels, &self.geometry);
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
        visible(&self.geometry.apply(region), self.geometry.size)
    }
}

/// The box, clipped to an image of this size; `None` when most of it is outside.
pub fn visible(unclipped: &BoxXyxy<Model>, size: ImageSize) -> Option<BoxXyxy<Model>> {
    let region = unclipped.clip(size.width as f32, size.height as f32);
    (region.is_proper() && region.area() >= VISIBLE_MIN * unclipped.area()).then_some(region)
}

/// An augmented copy of an image and its boxes.
pub fn augment(
    image: &Radiograph,
    boxes: &[LabelledBox],
    config: &AugmentConfig,
    rng: &mut impl Rng,
) -> (Radiograph, Vec<LabelledBox>) {
    let augmentation = WeakAugmentation::draw(image.size(), config, rng);
    let out = Radiograph { pixels: augmentation.apply_to_pixels(&image.pixels, rng), ..*image };
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
fn warp(pixels: &[u8], geometry: &Geometry) -> Vec<u8> {
    let ImageSize { width, height } = geometry.size;
    let columns = geometry.taps(width, geometry.shift.0, geometry.mirrored);
    let rows = geometry.taps(height, geometry.shift.1, false);
    let width = width as usize;
    let mut out = vec![0; width * height as usize];
    for (line, row) in out.chunks_exact_mut(width).zip(rows) {
        let Some((top, bottom, down)) = row else { continue };
        let (top, bottom) = (&pixels[top * width..][..width], &pixels[bottom * width..][..width]);
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
    fn rectangle(size: [usize; 2], [x0, y0, x1, y1]: [usize; 4]) -> (Radiograph, Vec<LabelledBox>) {
        let [width, height] = size;
        let mut pixels = vec![0; width * height];
        for y in y0..y1 {
            pixels[y * width + x0..y * width + x1].fill(255);
        }
        let region = BoxXyxy::new(x0 as f32, y0 as f32, x1 as f32, y1 as f32);
        let image = Radiograph::new(width as u32, height as u32, pixels).unwrap();
        (image, vec![LabelledBox { class_id: 3, region }])
    }

    #[test]
    fn ranges_of_zero_change_nothing() {
        let (image, boxes) = rectangle([32, 48], [4, 6, 20, 30]);
        let out = augment(&image, &boxes, &NONE, &mut sample_rng(1, 2, 3));
        assert_eq!(out, (image, boxes));
    }

    #[test]
    fn boxes_move_with_their_pixels() {
        let config = AugmentConfig { scale: 0.2, shift: 0.1, hflip: true, ..NONE };
        let unflipped = AugmentConfig { hflip: false, ..config.clone() };
        for [width, height] in [[64, 64], [80, 64], [64, 96]] {
            let (image, boxes) = rectangle([width, height], [20, 24, 40, 36]);
            let mut mirrored = 0;
            for index in 0..20 {
                let (out, moved) = augment(&image, &boxes, &config, &mut sample_rng(5, 0, index));
                assert_eq!(out.size(), image.size());
                let bright = |i: &usize| out.pixels[*i] > 127;
                let bright_pixels: Vec<usize> = (0..width * height).filter(bright).collect();
                let (xs, ys) = (bright_pixels.iter().map(|i| i % width), bright_pixels.iter().map(|i| i / width));
                let bright_region = [
                    xs.clone().min().unwrap() as f32,
                    ys.clone().min().unwrap() as f32,
                    xs.max().unwrap() as f32 + 1.0,
                    ys.max().unwrap() as f32 + 1.0,
                ];
                for (a, b) in bright_region.iter().zip(moved[0].region.to_array()) {
                    assert!((a - b).abs() <= 1.0, "pixels {bright_region:?}, box {:?}", moved[0].region);
                }
                mirrored += usize::from(out != augment(&image, &boxes, &unflipped, &mut sample_rng(5, 0, index)).0);
            }
            assert!((1..20).contains(&mirrored), "flipped and unflipped images occur");
        }
    }

    #[test]
    fn a_box_outside_is_dropped() {
        let (image, boxes) = rectangle([64, 64], [0, 0, 4, 4]);
        let config = AugmentConfig { shift: 0.5, ..NONE };
        let dropped = (0..40).filter(|&p| augment(&image, &boxes, &config, &mut sample_rng(0, 0, p)).1.is_empty());
        let dropped = dropped.count();
        assert!((1..40).contains(&dropped), "{dropped}");
        let none = augment(&image, &[], &config, &mut sample_rng(0, 0, 0));
        assert!(none.1.is_empty());
    }

    #[test]
    fn the_augmentation_depends_on_the_sample_only() {
        let (image, boxes) = rectangle([32, 32], [4, 6, 20, 30]);
        let config = AugmentConfig { noise: 0.1, contrast: 0.2, ..NONE };
        let draw = |step| augment(&image, &boxes, &config, &mut sample_rng(1, step, 0)).0;
        assert_eq!(draw(4), draw(4));
        assert_ne!(draw(4), draw(5));
    }
}
