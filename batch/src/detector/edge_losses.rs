//! The losses of Unbiased Teacher v2 (arXiv:2206.09500) for boxes whose edges have uncertainties, and its focal loss.
//! Uncertainties are logits `s`; the standard deviation is `sigmoid(s)`, the certainty `1 - sigmoid(s)`. All f32.

use std::f64::consts::PI;

use tch::{Kind, Tensor};

use super::edge_box_coder;
use crate::detector::iou::paired_iou;

/// Exponent of the softmax focal loss.
const FOCAL_GAMMA: f64 = 1.5;
/// Weight of the negative log-likelihood beside the L1 or GIoU loss.
pub const NLL_WEIGHT: f64 = 0.05;

/// When an edge of a pseudo-label enters the box loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Certainty {
    /// The teacher's certainty must be above this.
    pub min: f64,
    /// And must exceed the student's by this.
    pub margin: f64,
}

/// The rule of Faster R-CNN.
pub const ROI_CERTAINTY: Certainty = Certainty { min: 0.5, margin: 0.1 };
/// The rule of FCOS.
pub const POINT_CERTAINTY: Certainty = Certainty { min: 0.8, margin: 0.1 };

/// Mean over rows of `(1 - p)^1.5 * -ln p`, p the probability of the row's class. `logits`: `[R, K + 1]`; `classes`:
/// i64 `[R]`. Background counts as a class; without rows it is 0.
pub fn softmax_focal(logits: &Tensor, classes: &Tensor) -> Tensor {
    let rows = logits.size()[0].max(1) as f64;
    let log_p = logits.log_softmax(-1, Kind::Float).gather(1, &classes.unsqueeze(1), false).squeeze_dim(1);
    // At p = 1 the gradient of the power would be infinite times 0.
    let complement = (-log_p.exp() + 1.0).clamp_min(1e-12);
    (complement.pow_tensor_scalar(FOCAL_GAMMA) * -log_p).sum(Kind::Float) / rows
}

/// Gaussian negative log-likelihood of the edges, summed over the four, plus `2 ln 2 pi`: `[P]`.
/// `residuals`: `[P, 4]`, wanted minus predicted; `edge_logits`: `[P, 4]`.
pub fn edge_nll(residuals: &Tensor, edge_logits: &Tensor) -> Tensor {
    let log_std = edge_logits.log_sigmoid();
    let terms = residuals.square() * (&log_std * -2.0).exp() * 0.5 + log_std;
    terms.sum_dim_intlist([1i64].as_slice(), false, Kind::Float) + 2.0 * (2.0 * PI).ln()
}

/// Sum over regions of the L1 loss of the deltas and of the negative log-likelihood of the edges, the latter weighted
/// with the IoU of box and prediction. `boxes`, `references`: corners `[P, 4]`; `deltas`, `edge_logits`: `[P, 4]`. As
/// published the gradient also flows through the IoU, which a positive likelihood term then decreases; `detach_iou`
/// stops it.
pub fn edge_regression_loss(
    boxes: &Tensor,
    references: &Tensor,
    deltas: &Tensor,
    edge_logits: &Tensor,
    detach_iou: bool,
) -> Tensor {
    let residuals = edge_box_coder::encode(boxes, references) - deltas;
    let iou = paired_iou(boxes, &edge_box_coder::decode(deltas, references));
    let iou = if detach_iou { iou.detach() } else { iou };
    let nll = (iou * edge_nll(&residuals, edge_logits)).sum(Kind::Float);
    residuals.abs().sum(Kind::Float) + nll * NLL_WEIGHT
}

/// Which edges the teacher is more certain of than the student, f32 `[P, 4]` of 0 and 1, without gradient. `teacher`,
/// `student`: raw uncertainties `[P, 4]`.
pub fn teacher_better(teacher: &Tensor, student: &Tensor, rule: Certainty) -> Tensor {
    let _no_grad = tch::no_grad_guard();
    let (of_teacher, of_student) = ((-teacher).sigmoid(), (-student).sigmoid());
    of_teacher.gt_tensor(&(of_student + rule.margin)).logical_and(&of_teacher.gt(rule.min)).to_kind(Kind::Float)
}
