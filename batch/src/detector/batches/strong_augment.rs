//! Strong augmentation of a grey image (Unbiased Teacher v2): brightness and contrast in random order, Gaussian blur,
//! up to three erased rectangles. Geometry and boxes stay. Arithmetic as in Pillow, to within a grey level.

use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::ImageSize;
use rand::{Rng, RngExt};

use crate::config::semi::StrongConfig;

/// The smallest standard deviation of a blur, pixels.
const BLUR_MIN: f32 = 0.1;
/// Area and aspect (height over width, log-uniform) of the erased rectangles.
const ERASED: [Rectangle; 3] = [
    Rectangle { area: (0.05, 0.2), aspect: (0.3, 3.3) },
    Rectangle { area: (0.02, 0.2), aspect: (0.1, 6.0) },
    Rectangle { area: (0.02, 0.2), aspect: (0.05, 8.0) },
];
/// Attempts to draw a rectangle that fits into the image.
const TRIES: usize = 10;
/// Box blurs that approximate one Gaussian.
const PASSES: usize = 3;

struct Rectangle {
    area: (f64, f64),
    aspect: (f64, f64),
}

/// A strongly augmented copy.
pub fn strong_augment(image: &Radiograph, config: &StrongConfig, rng: &mut impl Rng) -> Radiograph {
    let mut out = image.pixels.clone();
    if rng.random::<f64>() < config.jitter_share {
        let mut factor = || 1.0 + (rng.random::<f32>() * 2.0 - 1.0) * config.jitter;
        let (bright, contrasty) = (factor(), factor());
        if rng.random::<bool>() {
            brightness(&mut out, bright);
            contrast(&mut out, contrasty);
        } else {
            contrast(&mut out, contrasty);
            brightness(&mut out, bright);
        }
    }
    if rng.random::<f64>() < config.blur_share {
        let std = BLUR_MIN + rng.random::<f32>() * (config.blur_max - BLUR_MIN).max(0.0);
        out = blur(&out, image.width as usize, std);
    }
    for (rectangle, share) in ERASED.iter().zip(config.erase_shares) {
        if rng.random::<f64>() < share {
            erase(&mut out, image.size(), rectangle, rng);
        }
    }
    Radiograph { pixels: out, ..*image }
}

/// Grey levels times `factor`.
pub fn brightness(pixels: &mut [u8], factor: f32) {
    for pixel in pixels {
        *pixel = (f32::from(*pixel) * factor).clamp(0.0, 255.0) as u8;
    }
}

/// Distances from the mean grey level times `factor`.
pub fn contrast(pixels: &mut [u8], factor: f32) {
    let sum: u64 = pixels.iter().map(|p| u64::from(*p)).sum();
    let mean = (sum as f64 / pixels.len().max(1) as f64 + 0.5).floor() as f32;
    for pixel in pixels {
        *pixel = (mean + factor * (f32::from(*pixel) - mean)).clamp(0.0, 255.0) as u8;
    }
}

/// A Gaussian blur with a standard deviation of `std` pixels by three box blurs with fractional ends (Gwosdek et al.
/// 2011); border pixels are repeated. Rows are `width` pixels long.
pub fn blur(pixels: &[u8], width: usize, std: f32) -> Vec<u8> {
    let variance = f64::from(std) * f64::from(std) / PASSES as f64;
    let whole = (((12.0 * variance + 1.0).sqrt() - 1.0) / 2.0).floor();
    let rest = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
        / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
    let (whole, rest) = (whole as usize, rest as f32);
    let mut out = pixels.to_vec();
    for _ in 0..PASSES {
        out = box_rows(&out, width, whole, rest);
    }
    let height = pixels.len() / width.max(1);
    out = transposed(&out, width);
    for _ in 0..PASSES {
        out = box_rows(&out, height, whole, rest);
    }
    transposed(&out, height)
}

fn transposed(pixels: &[u8], width: usize) -> Vec<u8> {
    let height = pixels.len() / width;
    (0..pixels.len()).map(|i| pixels[(i % height) * width + i / height]).collect()
}

/// The mean over `whole` neighbours on either side and a share `rest` of the next ones, along each row.
fn box_rows(pixels: &[u8], width: usize, whole: usize, rest: f32) -> Vec<u8> {
    let mut out = vec![0; pixels.len()];
    let weight = 1.0 / (2.0 * (whole as f32 + rest) + 1.0);
    for (row, line) in pixels.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let at = |x: isize| f32::from(row[x.clamp(0, width as isize - 1) as usize]);
        let reach = whole as isize;
        let mut sum: f32 = (-reach..=reach).map(at).sum();
        for (x, pixel) in line.iter_mut().enumerate() {
            let x = x as isize;
            let ends = at(x - reach - 1) + at(x + reach + 1);
            *pixel = ((sum + ends * rest) * weight + 0.5).clamp(0.0, 255.0) as u8;
            sum += at(x + reach + 1) - at(x - reach);
        }
    }
    out
}

/// The size of a rectangle that covers a share `area` of an image; `aspect`: height over width. `None` where it does
/// not fit into the image.
pub fn erased_size(image: ImageSize, area: f64, aspect: f64) -> Option<ImageSize> {
    let (rows, columns) = (f64::from(image.height), f64::from(image.width));
    let pixels = area * (rows * columns);
    let (height, width) = ((pixels * aspect).sqrt().round_ties_even(), (pixels / aspect).sqrt().round_ties_even());
    (height < rows && width < columns).then_some(ImageSize { width: width as u32, height: height as u32 })
}

fn erase(pixels: &mut [u8], image: ImageSize, rectangle: &Rectangle, rng: &mut impl Rng) {
    for _ in 0..TRIES {
        let between = |(low, high): (f64, f64), share: f64| low + (high - low) * share;
        let area = between(rectangle.area, rng.random());
        let aspect = between((rectangle.aspect.0.ln(), rectangle.aspect.1.ln()), rng.random()).exp();
        let Some(erased) = erased_size(image, area, aspect) else { continue };
        let (height, width) = (erased.height as usize, erased.width as usize);
        let top = rng.random_range(0..=image.height as usize - height);
        let left = rng.random_range(0..=image.width as usize - width);
        for line in pixels.chunks_exact_mut(image.width as usize).skip(top).take(height) {
            for pixel in &mut line[left..left + width] {
                // A standard normal number times 255 modulo 256, as in the published code: noise over the whole range.
                *pixel = wrapped(normal(rng));
            }
        }
        return;
    }
}

/// A grey level on the scale 0 to 1 as a byte: times 255, truncated, modulo 256.
pub fn wrapped(level: f32) -> u8 {
    (level * 255.0).trunc().rem_euclid(256.0) as u8
}

/// A standard normal number (Box and Muller 1958).
fn normal(rng: &mut impl Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.random::<f32>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::streams::sample_rng;

    #[test]
    fn a_blur_keeps_the_sum_and_adds_its_variance() {
        let size = 41;
        let mut pixels = vec![0u8; size * size];
        pixels[20 * size + 20] = 255;
        for y in 18..=22 {
            pixels[y * size + 18..y * size + 23].fill(255);
        }
        let out = blur(&pixels, size, 2.0);
        let moment = |p: &[u8]| {
            let total: f64 = p.iter().map(|v| f64::from(*v)).sum();
            let at = |i: usize| (i % size) as f64 - 20.0;
            (total, p.iter().enumerate().map(|(i, v)| f64::from(*v) * at(i) * at(i)).sum::<f64>() / total)
        };
        let ((before, spread_before), (after, spread_after)) = (moment(&pixels), moment(&out));
        assert!((before - after).abs() / before < 0.05, "{before} {after}");
        assert!(
            (spread_after - spread_before - 4.0).abs() < 0.5,
            "variance grows by 4: {spread_before} {spread_after}"
        );
    }

    #[test]
    fn probabilities_of_zero_change_nothing() {
        let none = StrongConfig::none();
        let strong = StrongConfig::published();
        for (width, height) in [(64, 64), (96, 40), (40, 96)] {
            let pixels: Vec<u8> = (0..width * height).map(|i| (i % 251) as u8).collect();
            let image = Radiograph::new(width, height, pixels).unwrap();
            assert_eq!(strong_augment(&image, &none, &mut sample_rng(1, 2, 3)), image);
            let once = strong_augment(&image, &strong, &mut sample_rng(1, 2, 3));
            assert_eq!(once, strong_augment(&image, &strong, &mut sample_rng(1, 2, 3)));
            assert!(once != image && once.size() == image.size());
        }
    }

    #[test]
    fn rectangles_that_do_not_fit_are_rejected() {
        let image = ImageSize { width: 100, height: 100 };
        assert_eq!(erased_size(image, 0.2, 1.0), Some(ImageSize { width: 45, height: 45 }));
        assert_eq!(erased_size(image, 0.2, 8.0), None);
    }
}

#[cfg(test)]
mod parity_tests;
