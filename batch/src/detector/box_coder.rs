//! The classic box coder (R-CNN, Girshick et al. 2014): shifts of the centre in units of the reference's size and
//! logarithms of the size ratios, each times a weight. Boxes are corners; inputs and outputs f32 `[P, 4]`.

use tch::Tensor;

/// Weights of the region proposal network.
pub const RPN_WEIGHTS: [f64; 4] = [1.0, 1.0, 1.0, 1.0];
/// Weights of the box head.
pub const ROI_WEIGHTS: [f64; 4] = [10.0, 10.0, 5.0, 5.0];
/// Bound of the decoded logarithms: ln(1000 / 16).
pub const LOG_MAX: f64 = 4.135_166_556_742_356;

/// Width, height, centre x, centre y.
fn size_and_centre(boxes: &Tensor) -> [Tensor; 4] {
    let c = boxes.unbind(1);
    let (width, height) = (&c[2] - &c[0], &c[3] - &c[1]);
    let (x, y) = (&c[0] + &width * 0.5, &c[1] + &height * 0.5);
    [width, height, x, y]
}

/// Deltas from `references` to `boxes`.
pub fn encode(boxes: &Tensor, references: &Tensor, weights: [f64; 4]) -> Tensor {
    let [width, height, x, y] = size_and_centre(references);
    let [wanted_width, wanted_height, wanted_x, wanted_y] = size_and_centre(boxes);
    let dx = (wanted_x - x) / &width * weights[0];
    let dy = (wanted_y - y) / &height * weights[1];
    let dw = (wanted_width / width).log() * weights[2];
    let dh = (wanted_height / height).log() * weights[3];
    Tensor::stack(&[dx, dy, dw, dh], 1)
}

/// `references` moved by `deltas`.
pub fn decode(deltas: &Tensor, references: &Tensor, weights: [f64; 4]) -> Tensor {
    let [width, height, x, y] = size_and_centre(references);
    let d = deltas.unbind(1);
    let x = &d[0] / weights[0] * &width + x;
    let y = &d[1] / weights[1] * &height + y;
    let half_width = (&d[2] / weights[2]).clamp_max(LOG_MAX).exp() * width * 0.5;
    let half_height = (&d[3] / weights[3]).clamp_max(LOG_MAX).exp() * height * 0.5;
    Tensor::stack(&[&x - &half_width, &y - &half_height, x + half_width, y + half_height], 1)
}
