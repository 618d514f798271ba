//! Block matching: nine blocks of one picture's fine structure are searched near their places in another picture. A copy
//! has every one of them; the shifts at which they lie say how the copy was cropped.

use super::structure::dot;

/// Columns and rows of a block.
const BLOCK: usize = 16;
/// Where blocks begin along an axis, as shares of the size.
const STARTS: [(usize, usize); 3] = [(1, 16), (3, 8), (11, 16)];
/// Blocks of a picture.
const COUNT: usize = STARTS.len() * STARTS.len();
/// Largest shift that may be searched, pixels: the first block begins there.
pub const SHIFT_MAX: isize = 4;
/// Standard deviation of quantised structure.
const LEVELS: f32 = 32.0;

/// Fine structure in whole numbers, with the sums of squares that normalise it.
#[derive(Debug)]
pub struct Field {
    size: usize,
    values: Vec<i16>,
    /// Sum of squares of everything above and to the left, `(size + 1)` x `(size + 1)`.
    squares: Vec<i32>,
}

/// The blocks of a picture, one after the other; `i8` because one is kept for every picture of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks {
    size: usize,
    values: Box<[i8]>,
}

/// Where a block was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// Centre of the block, as shares of the size.
    pub at: [f64; 2],
    /// Displacement along x and along y, as shares of the size.
    pub by: [f64; 2],
    /// The correlation there.
    pub similarity: f32,
}

fn quantised(structure: &[f32]) -> impl Iterator<Item = i8> {
    // Structure has norm 1.
    let scale = LEVELS * (structure.len() as f32).sqrt();
    structure.iter().map(move |v| (v * scale).round().clamp(-127.0, 127.0) as i8)
}

fn starts(size: usize) -> impl Iterator<Item = (usize, usize)> {
    STARTS.into_iter().flat_map(move |(yn, yd)| STARTS.map(|(xn, xd)| (size * xn / xd, size * yn / yd)))
}

impl Field {
    /// `structure`: `size` x `size` values with norm 1.
    pub fn new(structure: &[f32], size: usize) -> Self {
        let values: Vec<i16> = quantised(structure).map(i16::from).collect();
        let mut squares = vec![0i32; (size + 1) * (size + 1)];
        for (y, row) in values.chunks_exact(size).enumerate() {
            let mut sum = 0;
            for (x, v) in row.iter().enumerate() {
                sum += i32::from(*v) * i32::from(*v);
                squares[(y + 1) * (size + 1) + x + 1] = squares[y * (size + 1) + x + 1] + sum;
            }
        }
        Self { size, values, squares }
    }

    fn power(&self, x: usize, y: usize) -> i32 {
        let at = |x: usize, y: usize| self.squares[y * (self.size + 1) + x];
        at(x + BLOCK, y + BLOCK) - at(x, y + BLOCK) - at(x + BLOCK, y) + at(x, y)
    }
}

impl Blocks {
    /// `structure`: `size` x `size` values with norm 1.
    pub fn new(structure: &[f32], size: usize) -> Self {
        let all: Vec<i8> = quantised(structure).collect();
        let row = |(x, y): (usize, usize), r: usize| all[(y + r) * size + x..][..BLOCK].to_vec();
        let values = starts(size).flat_map(|start| (0..BLOCK).flat_map(move |r| row(start, r)));
        Self { size, values: values.collect::<Vec<i8>>().into_boxed_slice() }
    }

    /// The best correlation of each block within `range` pixels of its place, and the mean correlation, weighted by the
    /// blocks' structure. Of an inverted copy the negative correlations are counted.
    pub fn found_in(&self, field: &Field, range: isize) -> (f32, Vec<Shift>) {
        let mut best = [[(f32::MIN, 0, 0); COUNT]; 2];
        let mut weights = [0.0f32; COUNT];
        let mut block = [0i16; BLOCK * BLOCK];
        for (i, ((x, y), values)) in starts(self.size).zip(self.values.chunks_exact(BLOCK * BLOCK)).enumerate() {
            block.iter_mut().zip(values).for_each(|(to, from)| *to = i16::from(*from));
            let own: i32 = block.iter().map(|v| i32::from(*v) * i32::from(*v)).sum();
            weights[i] = (own as f32).sqrt();
            for dy in -range..=range {
                for dx in -range..=range {
                    let (x, y) = ((x as isize + dx) as usize, (y as isize + dy) as usize);
                    let mut product = 0i32;
                    for (r, row) in block.chunks_exact(BLOCK).enumerate() {
                        let other = &field.values[(y + r) * self.size + x..][..BLOCK];
                        product += row.iter().zip(other).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>();
                    }
                    let norm = (own as f32 * field.power(x, y) as f32).sqrt().max(1.0);
                    let correlation = product as f32 / norm;
                    for (best, value) in best.iter_mut().zip([correlation, -correlation]) {
                        if value > best[i].0 {
                            best[i] = (value, dx, dy);
                        }
                    }
                }
            }
        }
        let mean = |best: &[(f32, isize, isize); COUNT]| {
            let sum: f32 = best.iter().zip(weights).map(|(b, w)| b.0 * w).sum();
            sum / weights.iter().sum::<f32>().max(1.0)
        };
        let [plain, inverted] = [mean(&best[0]), mean(&best[1])];
        let (mean, best) = if plain >= inverted { (plain, best[0]) } else { (inverted, best[1]) };
        let size = self.size as f64;
        let shift = |((x, y), (similarity, dx, dy)): ((usize, usize), (f32, isize, isize))| Shift {
            at: [x, y].map(|start| (start as f64 + BLOCK as f64 / 2.0) / size),
            by: [dx, dy].map(|d| d as f64 / size),
            similarity,
        };
        (mean, starts(self.size).zip(best).map(shift).collect())
    }
}

/// The span of the other picture in which the blocks' picture lies, along one axis (0 is x, 1 is y): a line through the
/// shifts, by least squares weighted by the squared correlations.
pub fn fitted_span(shifts: &[Shift], axis: usize) -> [f64; 2] {
    // Blocks of one picture cannot lie further apart or nearer than this.
    const SLOPE_MAX: f64 = 0.15;
    let mut sums = [0.0; 5];
    for shift in shifts {
        let weight = f64::from(shift.similarity.max(0.0).powi(2));
        let (at, by) = (shift.at[axis], shift.by[axis]);
        for (sum, term) in sums.iter_mut().zip([1.0, at, by, at * at, at * by]) {
            *sum += weight * term;
        }
    }
    let [w, wx, wy, wxx, wxy] = sums;
    let spread = w * wxx - wx * wx;
    if spread <= 1e-12 {
        return [0.0, 1.0];
    }
    let slope = ((w * wxy - wx * wy) / spread).clamp(-SLOPE_MAX, SLOPE_MAX);
    let offset = (wy - slope * wx) / w;
    [offset, 1.0 + offset + slope]
}

/// Correlation of two structures, whichever of them is inverted.
pub fn correlation(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 64;

    /// Noise with norm 1, displaced.
    fn noise(dx: usize, dy: usize, sign: f32) -> Vec<f32> {
        let value = |x: usize, y: usize| {
            let mut hash = (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77);
            hash = (hash ^ hash >> 15).wrapping_mul(0x2c1b_3c6d);
            ((hash >> 16) as f32 / 32768.0 - 1.0) * sign
        };
        let mut found: Vec<f32> = (0..SIZE * SIZE).map(|i| value(i % SIZE + dx, i / SIZE + dy)).collect();
        let norm = dot(&found, &found).sqrt();
        found.iter_mut().for_each(|v| *v /= norm);
        found
    }

    #[test]
    fn displaced_blocks_are_found_where_they_are() {
        for sign in [1.0, -1.0] {
            let field = Field::new(&noise(10, 10, 1.0), SIZE);
            let (mean, shifts) = Blocks::new(&noise(12, 9, sign), SIZE).found_in(&field, 4);
            assert!(mean > 0.99, "{mean}");
            assert_eq!(shifts.len(), COUNT);
            for shift in &shifts {
                assert_eq!(shift.by, [2.0 / 64.0, -1.0 / 64.0], "{sign}");
            }
            let [low, high] = fitted_span(&shifts, 0);
            assert!((low - 2.0 / 64.0).abs() < 1e-6 && (high - 1.0 - 2.0 / 64.0).abs() < 1e-6, "{low} {high}");
        }
    }

    #[test]
    fn other_noise_is_not_found() {
        let field = Field::new(&noise(500, 900, 1.0), SIZE);
        let (mean, _) = Blocks::new(&noise(0, 0, 1.0), SIZE).found_in(&field, 2);
        assert!(mean < 0.3, "{mean}");
    }

    #[test]
    fn a_wider_copy_has_a_wider_span() {
        let shift = |at: f64| Shift { at: [at, 0.5], by: [0.02 + 0.1 * at, 0.0], similarity: 0.9 };
        let [low, high] = fitted_span(&[shift(0.2), shift(0.5), shift(0.8)], 0);
        assert!((low - 0.02).abs() < 1e-9 && (high - 1.12).abs() < 1e-9, "{low} {high}");
        assert_eq!(fitted_span(&[], 1), [0.0, 1.0]);
    }
}
