//! The losses of FCOS: sigmoid focal loss (arXiv:1708.02002, alpha 0.25, gamma 2), GIoU loss (arXiv:1902.09630),
//! binary cross-entropy of the centre-ness; all in f32, each the sum over points divided by the number of
//! foreground points, at least 1. Without foreground the last two are a differentiable 0.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// Weight of the positive class.
const ALPHA: f64 = 0.25;
/// Keeps quotients of empty boxes finite (torchvision's value).
const EPS: f64 = 1e-7;

/// The parts of the loss; scalars with gradients.
#[derive(Debug)]
pub struct DetectionLosses {
    /// Sigmoid focal loss.
    pub class: Tensor,
    /// GIoU loss.
    pub box_giou: Tensor,
    /// Centre-ness.
    pub centerness: Tensor,
}

impl DetectionLosses {
    /// The sum that training descends.
    pub fn total(&self) -> Tensor {
        &self.class + &self.box_giou + &self.centerness
    }

    /// The parts as one tensor without gradients, `[3]`, to be read back later.
    pub fn parts(&self) -> Tensor {
        Tensor::stack(&[self.class.detach(), self.box_giou.detach(), self.centerness.detach()], 0)
    }
}

/// Reads `parts` (see [`DetectionLosses::parts`]) back: class, box, centre-ness.
///
/// # Errors
/// [`Error::BadData`] that names all terms when one is not finite.
pub fn read_parts(parts: &Tensor, step: i64) -> Result<[f64; 3]> {
    let values = Vec::<f64>::try_from(&parts.to_kind(Kind::Double))?;
    let [class, box_giou, centerness] = values[..] else {
        return Err(Error::Internal(format!("{} loss parts instead of 3", values.len())));
    };
    if values.iter().any(|v| !v.is_finite()) {
        let problem = format!(
            "the loss is not finite (class {class}, box {box_giou}, centre-ness {centerness}); lower detector.train.lr"
        );
        return Err(Error::bad_data(format!("detector training, step {step}"), problem));
    }
    Ok([class, box_giou, centerness])
}

/// Sum of the sigmoid focal loss. `logits`: f32 `[N, K]`; `positives`: i64 `[P]`, flat indices of the entries whose
/// target is 1. Every entry counts as negative first; the few positives are then exchanged.
pub fn sigmoid_focal_sum(logits: &Tensor, positives: &Tensor) -> Tensor {
    let flat = logits.reshape([-1]);
    let chosen = flat.index_select(0, positives);
    let as_positive = ALPHA * (-&chosen).sigmoid().square() * softplus(&-&chosen);
    negative_focal(&flat).sum(Kind::Float) + (as_positive - negative_focal(&chosen)).sum(Kind::Float)
}

fn negative_focal(logits: &Tensor) -> Tensor {
    (1.0 - ALPHA) * logits.sigmoid().square() * softplus(logits)
}

/// `log(1 + exp(x))`, stable at both ends.
fn softplus(xs: &Tensor) -> Tensor {
    -(-xs).log_sigmoid()
}

/// `1 - GIoU` per pair. Both f32 `[P, 4]`, corners. Returns `[P]`.
pub fn giou_loss(predicted: &Tensor, wanted: &Tensor) -> Tensor {
    let (p, w) = (predicted.unbind(1), wanted.unbind(1));
    let shared = (p[2].minimum(&w[2]) - p[0].maximum(&w[0])).clamp_min(0.0)
        * (p[3].minimum(&w[3]) - p[1].maximum(&w[1])).clamp_min(0.0);
    let union = (&p[2] - &p[0]) * (&p[3] - &p[1]) + (&w[2] - &w[0]) * (&w[3] - &w[1]) - &shared;
    let hull = (p[2].maximum(&w[2]) - p[0].minimum(&w[0])) * (p[3].maximum(&w[3]) - p[1].minimum(&w[1]));
    1.0 - shared / (&union + EPS) + (&hull - &union) / (&hull + EPS)
}

/// Centre-ness of points inside their boxes (FCOS equation 3). `ltrb`: f32 `[P, 4]`, positive distances to the left,
/// top, right and bottom side. Returns `[P]` in (0, 1].
pub fn centerness_target(ltrb: &Tensor) -> Tensor {
    let d = ltrb.unbind(1);
    let ratio = |a: &Tensor, b: &Tensor| a.minimum(b) / a.maximum(b);
    (ratio(&d[0], &d[2]) * ratio(&d[1], &d[3])).sqrt()
}

/// Sum of the binary cross-entropy of the centre-ness. Both f32 `[P]`.
pub fn centerness_sum(logits: &Tensor, wanted: &Tensor) -> Tensor {
    (softplus(logits) - logits * wanted).sum(Kind::Float)
}
