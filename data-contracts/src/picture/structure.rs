//! The fine structure of a picture: what a Gaussian blur removes, divided by its local standard deviation.
//!
//! The coarse structure of two patients' chest radiographs correlates highly, and so does that of two
//! examinations of one patient. Ribs, vessels, markers and noise lie in the same places in one exposure only.

use super::thumbnail::Thumbnail;

/// The scale at which structure is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Columns and rows.
    pub size: usize,
    /// Standard deviation of the blur, pixels.
    pub blur: f64,
    /// Local contrast that is taken for noise, grey levels.
    pub noise: f32,
}

/// Part of a picture along one axis, as shares of its length.
pub type Span = [f64; 2];

/// Fine structure of a part of a picture, `scale.size` x `scale.size` values with mean 0 and norm 1; all 0 without any.
pub fn structure(picture: &Thumbnail, x: Span, y: Span, scale: Scale) -> Vec<f32> {
    let size = scale.size;
    let pixels = resampled(picture, x, y, size);
    let kernel = kernel(scale.blur);
    let coarse = blurred(&pixels, size, &kernel);
    let mut fine: Vec<f32> = pixels.iter().zip(&coarse).map(|(v, c)| v - c).collect();
    let squares: Vec<f32> = fine.iter().map(|v| v * v).collect();
    let power = blurred(&squares, size, &kernel);
    let floor = scale.noise * scale.noise;
    for (v, power) in fine.iter_mut().zip(power) {
        *v /= (power + floor).sqrt();
    }
    let mean = fine.iter().sum::<f32>() / fine.len() as f32;
    fine.iter_mut().for_each(|v| *v -= mean);
    let norm = dot(&fine, &fine).sqrt();
    if norm > 0.0 {
        fine.iter_mut().for_each(|v| *v /= norm);
    }
    fine
}

/// A part of a picture at `size` x `size` pixels, by the area that each pixel covers.
fn resampled(picture: &Thumbnail, x: Span, y: Span, size: usize) -> Vec<f32> {
    let along_x: Vec<(usize, Vec<f32>)> = (0..size).map(|i| weights(x, i, size, picture.size)).collect();
    let mut narrowed = vec![0.0f32; size * picture.size];
    for (row, out) in picture.pixels.chunks_exact(picture.size).zip(narrowed.chunks_exact_mut(size)) {
        for ((first, weights), out) in along_x.iter().zip(out) {
            *out = row[*first..].iter().zip(weights).map(|(v, w)| f32::from(*v) * w).sum();
        }
    }
    let mut found = vec![0.0f32; size * size];
    for (i, out) in found.chunks_exact_mut(size).enumerate() {
        let (first, weights) = weights(y, i, size, picture.size);
        for (row, weight) in narrowed.chunks_exact(size).skip(first).zip(weights) {
            for (out, v) in out.iter_mut().zip(row) {
                *out += v * weight;
            }
        }
    }
    found
}

/// First source pixel and weights of output pixel `i`.
fn weights([low, high]: Span, i: usize, size: usize, source: usize) -> (usize, Vec<f32>) {
    let at = |i: usize| (low + (high - low) * i as f64 / size as f64).clamp(0.0, 1.0) * source as f64;
    let (from, to) = (at(i), at(i + 1));
    let first = (from as usize).min(source - 1);
    let last = (to.ceil() as usize).clamp(first + 1, source);
    let covered = |pixel: usize| (to.min(pixel as f64 + 1.0) - from.max(pixel as f64)).max(0.0);
    let total = (to - from).max(f64::MIN_POSITIVE);
    (first, (first..last).map(|pixel| (covered(pixel) / total) as f32).collect())
}

/// The half of a Gaussian from its centre on, up to three standard deviations; both halves sum to 1.
fn kernel(deviation: f64) -> Vec<f32> {
    let radius = (3.0 * deviation).ceil() as usize;
    let half: Vec<f64> = (0..=radius).map(|i| (-((i * i) as f64) / (2.0 * deviation * deviation)).exp()).collect();
    let total = 2.0 * half.iter().sum::<f64>() - half[0];
    half.into_iter().map(|w| (w / total) as f32).collect()
}

/// Blurred along both axes; the outermost pixels continue beyond the edge.
fn blurred(pixels: &[f32], size: usize, kernel: &[f32]) -> Vec<f32> {
    let radius = kernel.len() - 1;
    let mut padded = vec![0.0f32; size + 2 * radius];
    let mut along_x = vec![0.0f32; size * size];
    for (row, out) in pixels.chunks_exact(size).zip(along_x.chunks_exact_mut(size)) {
        padded[..radius].fill(row[0]);
        padded[radius..radius + size].copy_from_slice(row);
        padded[radius + size..].fill(row[size - 1]);
        add_scaled(out, kernel[0], &padded[radius..], &[]);
        for (offset, weight) in kernel.iter().enumerate().skip(1) {
            add_scaled(out, *weight, &padded[radius - offset..], &padded[radius + offset..]);
        }
    }
    let mut found = vec![0.0f32; size * size];
    let row = |y: isize| {
        let y = y.clamp(0, size as isize - 1) as usize;
        &along_x[y * size..(y + 1) * size]
    };
    for (y, out) in found.chunks_exact_mut(size).enumerate() {
        let y = y as isize;
        add_scaled(out, kernel[0], row(y), &[]);
        for (offset, weight) in kernel.iter().enumerate().skip(1) {
            add_scaled(out, *weight, row(y - offset as isize), row(y + offset as isize));
        }
    }
    found
}

/// Adds `weight` times the sum of two rows; the second one may be absent.
fn add_scaled(out: &mut [f32], weight: f32, a: &[f32], b: &[f32]) {
    if b.is_empty() {
        out.iter_mut().zip(a).for_each(|(out, a)| *out += weight * a);
    } else {
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out += weight * (a + b));
    }
}

/// Sum of products; eight partial sums let the compiler use vector instructions.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0f32; LANES];
    let (a_whole, b_whole) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_whole.remainder().iter().zip(b_whole.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_whole.zip(b_whole) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { size: 32, blur: 1.5, noise: 2.0 };

    fn textured(size: usize, level: impl Fn(usize) -> usize) -> Thumbnail {
        let pixels = (0..size * size).map(|i| level((i % size * 53 + i / size * 97) % 200) as u8).collect();
        Thumbnail { size, pixels }
    }

    #[test]
    fn brightness_and_contrast_leave_the_structure() {
        let whole = [0.0, 1.0];
        let one = structure(&textured(64, |v| v), whole, whole, SCALE);
        let other = structure(&textured(64, |v| v / 2 + 90), whole, whole, SCALE);
        assert!((dot(&one, &one) - 1.0).abs() < 1e-4);
        assert!(dot(&one, &other) > 0.97, "{}", dot(&one, &other));
        assert!(one.iter().sum::<f32>().abs() < 1e-3);
    }

    #[test]
    fn a_uniform_picture_has_no_structure() {
        let flat = structure(&textured(64, |_| 80), [0.0, 1.0], [0.0, 1.0], SCALE);
        assert!(flat.iter().all(|v| *v == 0.0));
    }

    #[test]
    fn resampling_keeps_the_mean_and_takes_the_part() {
        let left_dark = Thumbnail { size: 4, pixels: [0, 0, 100, 200].repeat(4).into_boxed_slice() };
        assert_eq!(resampled(&left_dark, [0.0, 1.0], [0.0, 1.0], 2), [0.0, 150.0, 0.0, 150.0]);
        assert_eq!(resampled(&left_dark, [0.5, 1.0], [0.0, 1.0], 2), [100.0, 200.0, 100.0, 200.0]);
        assert_eq!(resampled(&left_dark, [0.0, 1.0], [0.0, 1.0], 8)[3..6], [0.0, 100.0, 100.0]);
    }

    #[test]
    fn a_kernel_sums_to_one() {
        let half = kernel(1.5);
        assert!((2.0 * half.iter().sum::<f32>() - half[0] - 1.0).abs() < 1e-6);
    }
}
