//! The edge coder of Unbiased Teacher v2 (arXiv:2206.09500): one delta per edge, so that each edge can have an
//! uncertainty. Channels are x_min, x_max, y_min, y_max, as in published weights; only here and in the losses of the
//! second stage. Encoding divides by the size plus one, decoding does not multiply by it: the two are not inverses, as
//! published.

use tch::Tensor;

/// Deltas are multiples of the reference's size times this.
pub const WEIGHT: f64 = 10.0;
/// Largest shift that is decoded, in units of the reference's size.
const SHIFT_MAX: f64 = 62.5;

/// Deltas `[P, 4]` (x_min, x_max, y_min, y_max) from `references` to `boxes`, corners f32 `[P, 4]`.
pub fn encode(boxes: &Tensor, references: &Tensor) -> Tensor {
    let (g, r) = (boxes.unbind(1), references.unbind(1));
    let (width, height) = (&r[2] - &r[0] + 1.0, &r[3] - &r[1] + 1.0);
    let x = |i: usize| (&g[i] - &r[i]) / &width * WEIGHT;
    let y = |i: usize| (&g[i] - &r[i]) / &height * WEIGHT;
    Tensor::stack(&[x(0), x(2), y(1), y(3)], 1)
}

/// `references` with their edges moved by `deltas`; the result may be inverted.
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

/// Values per edge from channel order (x_min, x_max, y_min, y_max) to edge order (x_min, y_min, x_max, y_max).
pub fn edge_order([x_min, x_max, y_min, y_max]: [f32; 4]) -> [f32; 4] {
    [x_min, y_min, x_max, y_max]
}

/// Values per edge from edge order to channel order.
pub fn channel_order([x_min, y_min, x_max, y_max]: [f32; 4]) -> [f32; 4] {
    [x_min, x_max, y_min, y_max]
}
