//! The edge coder of Unbiased Teacher v2 (arXiv:2206.09500): each side of a box moves on its own, in the channel
//! order x1, x2, y1, y2, so that each has an uncertainty of its own. Encoding divides by the size plus one, decoding
//! does not multiply by it: the two are not inverses, as published. Boxes are corners f32 `[P, 4]`.

use tch::Tensor;

/// Units of a delta per size of the reference.
pub const WEIGHT: f64 = 10.0;
/// Largest shift that is decoded, in units of the reference's size.
const SHIFT_MAX: f64 = 62.5;

/// Deltas `[P, 4]` (x1, x2, y1, y2) of `boxes` seen from `references`.
pub fn encode(boxes: &Tensor, references: &Tensor) -> Tensor {
    let (g, r) = (boxes.unbind(1), references.unbind(1));
    let (width, height) = (&r[2] - &r[0] + 1.0, &r[3] - &r[1] + 1.0);
    let x = |i: usize| (&g[i] - &r[i]) / &width * WEIGHT;
    let y = |i: usize| (&g[i] - &r[i]) / &height * WEIGHT;
    Tensor::stack(&[x(0), x(2), y(1), y(3)], 1)
}

/// `references` with their sides moved; the result may be inverted.
pub fn decode(deltas: &Tensor, references: &Tensor) -> Tensor {
    let r = references.unbind(1);
    let (width, height) = (&r[2] - &r[0], &r[3] - &r[1]);
    let shifts = (deltas / WEIGHT).clamp(-SHIFT_MAX, SHIFT_MAX).unbind(1);
    let corners = [
        &r[0] + &shifts[0] * &width,
        &r[1] + &shifts[2] * &height,
        &r[2] + &shifts[1] * width,
        &r[3] + &shifts[3] * height,
    ];
    Tensor::stack(&corners, 1)
}

/// Raw values per side from coder order (x1, x2, y1, y2) to corner order (x1, y1, x2, y2); its own inverse.
pub fn reordered([a, b, c, d]: [f32; 4]) -> [f32; 4] {
    [a, c, b, d]
}
