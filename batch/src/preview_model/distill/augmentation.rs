//! Augmentation for distillation: small affine transforms of images and boxes, and changes of intensity. No flips, since reports name
//! the laterality.

use rand::{Rng, RngExt};
use tch::{Kind, Tensor};

/// Largest change of the scale.
const SCALE_MAX: f32 = 0.1;
/// Largest translation, as a share of the image size.
const TRANSLATION_MAX: f32 = 0.05;
/// Largest rotation, radians.
const ROTATION_MAX: f32 = 0.08;

/// Rotation and scaling about the image's centre, then translation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AffineTransform {
    /// Above 1 enlarges.
    pub scale: f32,
    /// Radians, from x to y.
    pub rotation: f32,
    /// Along x and y, as shares of the image size.
    pub translation: [f32; 2],
}

impl AffineTransform {
    /// Leaves an image unchanged.
    pub const IDENTITY: Self = Self { scale: 1.0, rotation: 0.0, translation: [0.0; 2] };

    /// A small random transform.
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut within = |most: f32| rng.random_range(-most..=most);
        Self {
            scale: 1.0 + within(SCALE_MAX),
            rotation: within(ROTATION_MAX),
            translation: [within(TRANSLATION_MAX), within(TRANSLATION_MAX)],
        }
    }

    /// The transformed box `x_min y_min x_max y_max`, shares of the image size: its centre rotates, its edges stay axis-aligned.
    pub fn apply_to_box(&self, [x_min, y_min, x_max, y_max]: [f32; 4]) -> [f32; 4] {
        let (x, y) = ((x_min + x_max) / 2.0 - 0.5, (y_min + y_max) / 2.0 - 0.5);
        let (sin, cos) = self.rotation.sin_cos();
        let x_new = (x * cos - y * sin) * self.scale + 0.5 + self.translation[0];
        let y_new = (x * sin + y * cos) * self.scale + 0.5 + self.translation[1];
        let (w, h) = ((x_max - x_min) / 2.0 * self.scale, (y_max - y_min) / 2.0 * self.scale);
        [x_new - w, y_new - h, x_new + w, y_new + h]
    }

    /// The inverse transform in normalised coordinates from -1 to 1, as two rows of an affine matrix.
    fn inverse(&self) -> [f32; 6] {
        let (sin, cos) = self.rotation.sin_cos();
        let (a, b) = (cos / self.scale, sin / self.scale);
        let [x, y] = self.translation.map(|s| 2.0 * s);
        [a, b, -a * x - b * y, -b, a, b * x - a * y]
    }
}

/// Values outside the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// 0: black, as in a letterbox.
    Zeros,
    /// The nearest value of the source.
    Border,
}

/// Applies a transform of its own to each of `[B, C, H, W]`, bilinear.
pub fn warped(maps: &Tensor, transforms: &[AffineTransform], padding: Padding) -> Tensor {
    let rows: Vec<f32> = transforms.iter().flat_map(AffineTransform::inverse).collect();
    let rows = Tensor::from_slice(&rows).view([-1, 2, 3]).to_device(maps.device());
    let grid = Tensor::affine_grid_generator(&rows, maps.size(), false);
    maps.grid_sampler(&grid, 0, i64::from(padding == Padding::Border), false)
}

/// Random gamma, contrast, brightness and noise for each image of `[B, 1, S, S]`.
pub fn with_random_intensity(images: &Tensor) -> Tensor {
    let shape = [images.size()[0], 1, 1, 1];
    let per_image = |low: f64, high: f64| images.new_empty(shape, (Kind::Float, images.device())).uniform_(low, high);
    let curved = images.clamp_min(1e-4).pow(&per_image(0.8, 1.25));
    let noisy = curved * per_image(0.85, 1.15) + per_image(-0.06, 0.06) + images.randn_like() * 0.01;
    noisy.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A black image of 64 x 64 pixels with a white square around a centre given as shares.
    fn square(x: f32, y: f32) -> Tensor {
        let image = Tensor::zeros([1, 1, 64, 64], (Kind::Float, tch::Device::Cpu));
        let at = |v: f32| (v * 64.0) as i64 - 3;
        let _ = image.narrow(2, at(y), 6).narrow(3, at(x), 6).fill_(1.0);
        image
    }

    #[test]
    fn an_image_and_its_boxes_are_transformed_alike() {
        let image = square(0.75, 0.25);
        for (scale, rotation, translation) in
            [(1.1, 0.0, [0.0, 0.0]), (1.0, 0.08, [0.0, 0.0]), (0.9, -0.08, [0.05, -0.03])]
        {
            let transform = AffineTransform { scale, rotation, translation };
            let [x_min, y_min, x_max, y_max] = transform.apply_to_box([0.7, 0.2, 0.8, 0.3]);
            let (x, y) = ((x_min + x_max) / 2.0, (y_min + y_max) / 2.0);
            let warped = warped(&image, &[transform], Padding::Zeros).squeeze();
            let total = f64::try_from(warped.sum(Kind::Float)).unwrap();
            let coordinates = (Tensor::arange(64, (Kind::Float, tch::Device::Cpu)) + 0.5) / 64.0;
            let mean = |axis: i64| {
                let along = warped.sum_dim_intlist([axis].as_slice(), false, Kind::Float);
                f64::try_from((along * &coordinates).sum(Kind::Float)).unwrap() / total
            };
            let (found_x, found_y) = (mean(0), mean(1));
            assert!(
                (found_x - f64::from(x)).abs() < 0.01 && (found_y - f64::from(y)).abs() < 0.01,
                "{transform:?}: {found_x} {found_y} against {x} {y}"
            );
        }
        let unchanged = warped(&image, &[AffineTransform::IDENTITY], Padding::Zeros);
        assert!(f64::try_from((unchanged - &image).abs().max()).unwrap() < 1e-5);
    }
}
