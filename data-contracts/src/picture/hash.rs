//! A perceptual hash of 64 bits: the signs of low frequencies of the discrete cosine transform (pHash), of the picture
//! and of 81 windows that leave out 0, 5 or 10 % at each edge. A cropped copy has, as a whole, nearly the hash of one of
//! the original's windows.
//!
//! Radiographs of one projection are nearly mirror-symmetric and alike, so that many signs are the same in all of them.
//! The bits are therefore taken where patients differ: the frequencies that are odd along x (the left half
//! against the right one), and of the even ones those from the second along y. A sign does not change with scale,
//! contrast or small noise; an inverted picture has the complement.

use std::sync::OnceLock;

use super::structure::{Span, dot};
use super::thumbnail::Thumbnail;

/// Columns and rows of the thumbnail that is hashed.
pub const HASHED_SIZE: usize = 64;
/// Shares of the width or height that a window may leave out at an edge.
const CUTS: [f64; 3] = [0.0, 0.05, 0.1];
/// Windows along one axis.
const AXIS: usize = CUTS.len() * CUTS.len();
/// Windows of a picture.
pub const WINDOWS: usize = AXIS * AXIS;
/// Frequencies along y and x that are computed.
const ROWS: usize = 10;
const COLUMNS: usize = 8;

/// Part of a picture, as shares of its width and height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    pub x: Span,
    pub y: Span,
}

impl Window {
    /// The window by its number; number 0 is the whole picture.
    pub fn of(number: usize) -> Self {
        let axis = |i: usize| [CUTS[i / CUTS.len()], 1.0 - CUTS[i % CUTS.len()]];
        Self { x: axis(number % AXIS), y: axis(number / AXIS % AXIS) }
    }
}

/// Hash of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowHash {
    pub bits: u64,
    /// How far each bit's coefficient is from its other sign, in units that are comparable between frequencies.
    pub margins: [f32; 64],
}

/// Row and column frequency of each bit.
fn frequencies() -> [(usize, usize); 64] {
    let odd = (0..ROWS).flat_map(|v| [1, 3, 5, 7].map(|u| (v, u)));
    let even = (1..9).flat_map(|v| [0, 2, 6].map(|u| (v, u)));
    let mut found = [(0, 0); 64];
    for (i, frequency) in odd.chain(even).enumerate() {
        // Neighbours, which depend on each other most, are in different bands of the index.
        found[(i + i / 4) % 4 * 16 + i / 4] = frequency;
    }
    found
}

/// For each window of an axis: the cosine basis integrated over the thumbnail's pixels, `[frequency][pixel]`.
type Basis = [[[f32; HASHED_SIZE]; ROWS]; AXIS];

fn basis() -> &'static Basis {
    static BASIS: OnceLock<Box<Basis>> = OnceLock::new();
    BASIS.get_or_init(|| {
        let mut basis = Box::new([[[0.0; HASHED_SIZE]; ROWS]; AXIS]);
        for (window, of_window) in basis.iter_mut().enumerate() {
            let [low, high] = Window::of(window).x;
            for (frequency, row) in of_window.iter_mut().enumerate() {
                for (pixel, weight) in row.iter_mut().enumerate() {
                    let edge = |i: usize| (i as f64 / HASHED_SIZE as f64).clamp(low, high);
                    let (from, to) = ((edge(pixel) - low) / (high - low), (edge(pixel + 1) - low) / (high - low));
                    let turn = std::f64::consts::PI * frequency as f64;
                    *weight = if frequency == 0 {
                        to - from
                    } else {
                        ((turn * to).sin() - (turn * from).sin()) / turn * std::f64::consts::SQRT_2
                    } as f32;
                }
            }
        }
        basis
    })
}

/// The hash of each window.
///
/// # Panics
/// Unless the thumbnail has [`HASHED_SIZE`] columns and rows.
pub fn window_hashes(thumbnail: &Thumbnail) -> Vec<WindowHash> {
    hashes(thumbnail, AXIS)
}

/// The hash of the whole picture.
///
/// # Panics
/// Unless the thumbnail has [`HASHED_SIZE`] columns and rows.
pub fn hash(thumbnail: &Thumbnail) -> u64 {
    hashes(thumbnail, 1)[0].bits
}

fn hashes(thumbnail: &Thumbnail, windows: usize) -> Vec<WindowHash> {
    assert_eq!(thumbnail.size, HASHED_SIZE, "the hash is of another thumbnail size");
    let frequencies = frequencies();
    let basis = basis();
    let pixels = equalised(&thumbnail.pixels);
    // For each window along x: `[frequency along x][row]`.
    let mut along_x = vec![[[0.0f32; HASHED_SIZE]; COLUMNS]; windows];
    for (of_window, weights) in along_x.iter_mut().zip(basis) {
        for (of_frequency, weights) in of_window.iter_mut().zip(weights) {
            for (sum, row) in of_frequency.iter_mut().zip(pixels.chunks_exact(HASHED_SIZE)) {
                *sum = dot(row, weights);
            }
        }
    }
    let mut found = Vec::with_capacity(windows * windows);
    for weights in &basis[..windows] {
        for of_window in &along_x {
            let mut hash = WindowHash { bits: 0, margins: [0.0; 64] };
            for (bit, &(v, u)) in frequencies.iter().enumerate() {
                let coefficient = dot(&of_window[u], &weights[v]);
                hash.bits |= u64::from(coefficient > 0.0) << bit;
                // Amplitudes fall with the frequency.
                hash.margins[bit] = coefficient.abs() * ((v * v + u * u) as f32).powf(0.65);
            }
            found.push(hash);
        }
    }
    found
}

/// One coefficient of the cosine transform of the whole picture.
pub(super) fn coefficient(pixels: &[f32], v: usize, u: usize) -> f32 {
    let weights = &basis()[0];
    pixels.chunks_exact(HASHED_SIZE).zip(weights[v]).map(|(row, weight)| weight * dot(row, &weights[u])).sum()
}

/// Grey levels replaced by the share of pixels that are darker: a hash of these is the same for any monotonous change of
/// brightness.
pub(super) fn equalised(pixels: &[u8]) -> Vec<f32> {
    let mut counts = [0u32; 256];
    for v in pixels {
        counts[usize::from(*v)] += 1;
    }
    let mut darker = 0;
    let ranks = counts.map(|count| {
        let middle = darker as f32 + count as f32 / 2.0;
        darker += count;
        middle / pixels.len() as f32
    });
    pixels.iter().map(|v| ranks[usize::from(*v)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thumbnail(level: impl Fn(usize, usize) -> u8) -> Thumbnail {
        let pixels = (0..HASHED_SIZE * HASHED_SIZE).map(|i| level(i % HASHED_SIZE, i / HASHED_SIZE)).collect();
        Thumbnail { size: HASHED_SIZE, pixels }
    }

    fn blob(x: usize, y: usize) -> u8 {
        let spot = |cx: f64, cy: f64, r: f64| (-((x as f64 - cx) / r).powi(2) - ((y as f64 - cy) / r).powi(2)).exp();
        (30.0
            + 90.0 * spot(20.0, 17.0, 11.0)
            + 60.0 * spot(45.0, 40.0, 7.0)
            + 50.0 * spot(11.0, 50.0, 6.0)
            + x as f64 / 4.0) as u8
    }

    #[test]
    fn brightness_keeps_the_hash_and_inversion_complements_it() {
        let plain = hash(&thumbnail(blob));
        let gamma = hash(&thumbnail(|x, y| (255.0 * (f64::from(blob(x, y)) / 255.0).powf(0.6)) as u8));
        assert!((plain ^ gamma).count_ones() <= 2, "{:b}", plain ^ gamma);
        let inverted = hash(&thumbnail(|x, y| 255 - blob(x, y)));
        assert!((plain ^ !inverted).count_ones() <= 2, "{:b}", plain ^ !inverted);
        let other = hash(&thumbnail(|x, y| blob(63 - x, y)));
        assert!((plain ^ other).count_ones() > 15);
    }

    #[test]
    fn a_window_has_the_hash_of_the_crop() {
        let hashes = window_hashes(&thumbnail(blob));
        assert_eq!(hashes.len(), WINDOWS);
        assert_eq!(hashes[0].bits, hash(&thumbnail(blob)));
        for number in [4, 40, 80] {
            let Window { x: [left, right], y: [top, bottom] } = Window::of(number);
            let at = |i: usize, low: f64, high: f64| ((low + (high - low) * (i as f64 + 0.5) / 64.0) * 64.0) as usize;
            let crop = hash(&thumbnail(|x, y| blob(at(x, left, right), at(y, top, bottom))));
            let distance = |w: &WindowHash| (w.bits ^ crop).count_ones();
            assert!(distance(&hashes[number]) <= 6, "{number}: {}", distance(&hashes[number]));
            assert!(distance(&hashes[number]) < distance(&hashes[0]), "{number}");
        }
    }

    #[test]
    fn every_bit_has_its_own_frequency() {
        let mut all = frequencies().to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 64);
        assert!(all.iter().all(|(v, u)| *v < ROWS && *u < COLUMNS && (*v, *u) != (0, 0)));
    }

    #[test]
    fn windows_are_numbered_from_the_whole_picture() {
        assert_eq!(Window::of(0), Window { x: [0.0, 1.0], y: [0.0, 1.0] });
        assert_eq!(Window::of(80), Window { x: [0.1, 0.9], y: [0.1, 0.9] });
    }
}
