//! How similar two pictures are where they overlap: the normalised correlation of their fine structure, at the crop and
//! shift that block matching finds.

use super::blocks::{Blocks, Field, SHIFT_MAX, correlation, fitted_span};
use super::structure::{Scale, Span, structure};
use super::thumbnail::Thumbnail;

/// Where the second picture lies in the first one: its edges, as shares of the first one's width and height. They may
/// lie outside of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    pub x: Span,
    pub y: Span,
}

/// Least share of either picture's width and height that must overlap.
const OVERLAP_MIN: f64 = 0.6;
/// Corrections of the placement; four suffice for a copy.
const ROUNDS: usize = 4;
/// Correlation of the blocks after the first correction below which two pictures are no copies.
const HOPELESS: f32 = 0.5;

/// The parts of both pictures that overlap.
struct Overlap {
    in_first: [Span; 2],
    in_second: [Span; 2],
}

impl Placement {
    /// The second picture is all of the first one.
    pub const WHOLE: Self = Self { x: [0.0, 1.0], y: [0.0, 1.0] };

    fn overlap(self) -> Option<Overlap> {
        let axis = |[low, high]: Span| {
            let (from, to) = (low.max(0.0), high.min(1.0));
            let length = high - low;
            let enough = length > 0.0 && to - from >= OVERLAP_MIN * length.max(1.0);
            enough.then(|| ([from, to], [(from - low) / length, (to - low) / length]))
        };
        let ((first_x, second_x), (first_y, second_y)) = (axis(self.x)?, axis(self.y)?);
        Some(Overlap { in_first: [first_x, first_y], in_second: [second_x, second_y] })
    }

    /// The placement after the overlap of the second picture was found at `x` and `y` of the first one's overlap.
    fn corrected(self, x: Span, y: Span) -> Self {
        let axis = |[low, high]: Span, [from, to]: Span| {
            let (start, length) = (low.max(0.0), high.min(1.0) - low.max(0.0));
            [low, high].map(|edge| start + length * (from + (to - from) * (edge - start) / length))
        };
        Self { x: axis(self.x, x), y: axis(self.y, y) }
    }
}

/// Correlation of the overlap's fine structure, 0 to 1, at the best placement near `start`, and that placement. An
/// inverted copy has a high correlation too. 0 when the pictures hardly overlap.
pub fn aligned(first: &Thumbnail, second: &Thumbnail, start: Placement, scale: Scale) -> (f32, Placement) {
    let mut best = (0.0, start);
    let mut placement = start;
    for round in 0..=ROUNDS {
        let Some(overlap) = placement.overlap() else { break };
        let [x, y] = overlap.in_first;
        let a = structure(first, x, y, scale);
        let [x, y] = overlap.in_second;
        let b = structure(second, x, y, scale);
        let found = correlation(&a, &b);
        if round > 0 && found <= best.0 {
            break;
        }
        best = (found, placement);
        let (blocks, shifts) = Blocks::new(&b, scale.size).found_in(&Field::new(&a, scale.size), SHIFT_MAX);
        if round > 0 && blocks < HOPELESS {
            break;
        }
        placement = placement.corrected(fitted_span(&shifts, 0), fitted_span(&shifts, 1));
    }
    best
}
