//! The parts of a detector's loss, and functions for them: sigmoid focal loss (arXiv:1708.02002, alpha 0.25, gamma 2),
//! GIoU loss (arXiv:1902.09630), smooth L1, binary cross-entropy of objectness and centre-ness. All f32; sums, not
//! means. Over no points they are a differentiable 0.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// Weight of the positive class.
const ALPHA: f64 = 0.25;
/// Keeps quotients of empty boxes finite (torchvision's value).
const EPS: f64 = 1e-7;

/// A part of the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Classification of FCOS's points or of Faster R-CNN's regions.
    Class,
    /// Boxes of points or regions.
    Box,
    /// Centre-ness (FCOS).
    Centerness,
    /// Classification of anchors (Faster R-CNN).
    RpnClass,
    /// Boxes of anchors (Faster R-CNN).
    RpnBox,
}

impl Part {
    /// All parts, in the order of [`DetectionLosses::parts`].
    pub const ALL: [Self; 5] = [Self::Class, Self::Box, Self::Centerness, Self::RpnClass, Self::RpnBox];

    /// For messages and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Box => "box",
            Self::Centerness => "centerness",
            Self::RpnClass => "rpn_class",
            Self::RpnBox => "rpn_box",
        }
    }
}

/// Losses of one stage of Faster R-CNN, scalars with gradients.
#[derive(Debug)]
pub struct ClassAndBoxLoss {
    pub class: Tensor,
    pub boxes: Tensor,
}

/// The parts of the loss; scalars with gradients, `None` where the architecture has no such part.
#[derive(Debug)]
pub struct DetectionLosses {
    parts: [Option<Tensor>; 5],
}

impl DetectionLosses {
    /// Losses from their parts.
    pub fn new(parts: impl IntoIterator<Item = (Part, Tensor)>) -> Self {
        let mut losses = Self { parts: [const { None }; 5] };
        for (part, value) in parts {
            losses.parts[part as usize] = Some(value);
        }
        losses
    }

    /// One part.
    pub fn get(&self, part: Part) -> Option<&Tensor> {
        self.parts[part as usize].as_ref()
    }

    /// The sum of all parts: the loss of supervised training.
    pub fn total(&self) -> Tensor {
        self.weighted(|_| 1.0)
    }

    /// The sum with a weight per part; parts of weight 0 are left out.
    pub fn weighted(&self, weight: impl Fn(Part) -> f64) -> Tensor {
        let terms = Part::ALL.into_iter().filter_map(|p| Some((self.get(p)?, weight(p))));
        let terms = terms.filter(|(_, w)| *w != 0.0).map(|(t, w)| t * w);
        terms.reduce(|a, b| a + b).unwrap_or_else(|| Tensor::from(0.0f32))
    }

    /// The mean of two losses, part by part; a part that only one has is left out.
    pub fn mean(&self, other: &Self) -> Self {
        let both = Part::ALL.into_iter().filter_map(|p| Some((p, (self.get(p)? + other.get(p)?) * 0.5)));
        Self::new(both)
    }

    /// The parts in the order of [`Part::ALL`] as one tensor without gradients on the device, f32 `[5]`; 0 for missing
    /// ones.
    pub fn parts(&self) -> Tensor {
        let first = self.parts.iter().flatten().next().expect("losses have a part");
        let zero = first.detach().zeros_like();
        let value = |p: &Option<Tensor>| p.as_ref().map_or_else(|| zero.shallow_clone(), Tensor::detach);
        Tensor::stack(&self.parts.iter().map(value).collect::<Vec<_>>(), 0).to_kind(Kind::Float)
    }
}

/// The same parts, in the order of [`Part::ALL`], when all are finite.
///
/// # Errors
/// [`Error::BadData`] that names all terms when one is not finite.
pub fn finite_parts(parts: [f64; 5], step: i64) -> Result<[f64; 5]> {
    if parts.iter().any(|v| !v.is_finite()) {
        let terms: Vec<String> = Part::ALL.iter().zip(parts).map(|(p, v)| format!("{} {v}", p.name())).collect();
        let problem = format!("the loss is not finite ({}); lower detector.train.lr", terms.join(", "));
        return Err(Error::bad_data(format!("detector training, step {step}"), problem));
    }
    Ok(parts)
}

/// Weighted sum of the binary cross-entropy of anchors' objectness. All f32, of one shape.
pub fn objectness_loss(logits: &Tensor, wanted: &Tensor, weights: &Tensor) -> Tensor {
    ((softplus(logits) - logits * wanted) * weights).sum(Kind::Float)
}

/// Smooth L1 per entry: quadratic below `beta`, linear above; L1 for 0.
pub fn smooth_l1(predicted: &Tensor, wanted: &Tensor, beta: f64) -> Tensor {
    let difference = (predicted - wanted).abs();
    if beta == 0.0 {
        return difference;
    }
    let quadratic = difference.square() * (0.5 / beta);
    quadratic.where_self(&difference.lt(beta), &(&difference - 0.5 * beta))
}

/// Sum of the sigmoid focal loss. `logits`: f32 `[N, K]`; `positives`: i64 `[P]`, flat indices of the entries whose
/// target is 1. All entries are summed as negatives first, then the positives are replaced.
pub fn sigmoid_focal_sum(logits: &Tensor, positives: &Tensor) -> Tensor {
    let flat = logits.reshape([-1]);
    let chosen = flat.index_select(0, positives);
    let as_positive = ALPHA * (-&chosen).sigmoid().square() * softplus(&-&chosen);
    negative_focal(&flat).sum(Kind::Float) + (as_positive - negative_focal(&chosen)).sum(Kind::Float)
}

/// The same with a weight of 0 or 1 per image. `logits`: f32 `[B, N, K]`; `used`: f32 `[B]`; `positives` are in used
/// images.
pub fn sigmoid_focal_rows(logits: &Tensor, positives: &Tensor, used: &Tensor) -> Tensor {
    let unused = (-used + 1.0).view([-1, 1, 1]);
    sigmoid_focal_sum(logits, positives) - (negative_focal(logits) * unused).sum(Kind::Float)
}

/// The share of entries with target 0 in [`sigmoid_focal_sum`]: subtracted from it, they are ignored. `entries`: i64
/// `[P]`.
pub fn sigmoid_focal_background(logits: &Tensor, entries: &Tensor) -> Tensor {
    negative_focal(&logits.reshape([-1]).index_select(0, entries)).sum(Kind::Float)
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
/// top, right and bottom edge. Returns `[P]` in (0, 1].
pub fn centerness_target(ltrb: &Tensor) -> Tensor {
    let d = ltrb.unbind(1);
    let ratio = |a: &Tensor, b: &Tensor| a.minimum(b) / a.maximum(b);
    (ratio(&d[0], &d[2]) * ratio(&d[1], &d[3])).sqrt()
}

/// Sum of the binary cross-entropy of the centre-ness. Both f32 `[P]`.
pub fn centerness_sum(logits: &Tensor, wanted: &Tensor) -> Tensor {
    (softplus(logits) - logits * wanted).sum(Kind::Float)
}
