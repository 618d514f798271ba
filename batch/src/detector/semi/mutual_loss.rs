//! The loss of a step of the mutual phase: annotated boxes and pseudo-labels with the published weights, and a bound on
//! the share of pseudo-labels. Tensors stay on the device; the host does not wait for them.

use tch::{Kind, Tensor};

use crate::config::detector::Architecture;
use crate::config::semi::{GuardConfig, SemiConfig};
use crate::detector::losses::{DetectionLosses, Part};

/// Points of a level within one and a half strides of a box's centre.
const POINTS_PER_BOX: f64 = 9.0;

/// The two terms of the loss, scalars with gradients.
#[derive(Debug)]
pub struct MutualLoss {
    /// On annotated boxes.
    pub labelled: Tensor,
    /// On pseudo-labels, weighted and bounded.
    pub pseudo: Tensor,
    /// 1 if the bound took effect or the loss on pseudo-labels was not finite, else 0; f32, without gradient.
    pub bounded: Tensor,
}

/// Weights of one part of the loss.
struct PartWeights {
    labelled: f64,
    pseudo: f64,
}

/// Faster R-CNN adds the weighted losses on pseudo-labels (that of anchor boxes with weight 0); FCOS takes the weighted
/// mean of both. `class`, `boxes`: configured weights of pseudo-labels.
fn weights(architecture: Architecture, part: Part, class: f64, boxes: f64) -> PartWeights {
    let sum = |pseudo: f64| PartWeights { labelled: 1.0, pseudo };
    let mean = |pseudo: f64| PartWeights { labelled: 1.0 / (1.0 + pseudo), pseudo: pseudo / (1.0 + pseudo) };
    match (architecture, part) {
        (Architecture::FasterRcnn, Part::Class | Part::RpnClass) => sum(class),
        (Architecture::FasterRcnn, Part::Box) => sum(boxes),
        (Architecture::FasterRcnn, _) => sum(0.0),
        (Architecture::Fcos, Part::Box) => mean(boxes),
        (Architecture::Fcos, _) => mean(class),
    }
}

/// What the weights of pseudo-labels are multiplied with when a batch has `boxes` of them, and as many labelled images have
/// `expected` boxes. FCOS divides its losses by the positive points: with few pseudo-labels the background of their images
/// would weigh more than that of labelled images, by the ratio of both numbers
/// ([ADR 32](../../../../docs/adr/0032-few-pseudo-labels-weigh-less.md)).
pub fn share_of_boxes(architecture: Architecture, guard: &GuardConfig, boxes: usize, expected: f64) -> f64 {
    if !guard.few_boxes_weigh_less || architecture != Architecture::Fcos {
        return 1.0;
    }
    // Without a box FCOS divides by one point.
    let boxes = (boxes as f64).max(1.0 / POINTS_PER_BOX);
    boxes / boxes.max(expected)
}

#[cfg(test)]
thread_local! {
    /// Multiplies the loss on pseudo-labels in tests of the bound: another value than 1 stands for a runaway loss.
    pub(super) static PSEUDO_FACTOR: std::cell::Cell<f64> = const { std::cell::Cell::new(1.0) };
}

/// Combines the losses. `share`: factor of the weights of pseudo-labels at this step, 0 to 1.
pub fn combined(
    architecture: Architecture,
    config: &SemiConfig,
    share: f64,
    labelled: &DetectionLosses,
    pseudo: &DetectionLosses,
) -> MutualLoss {
    let of = |part| weights(architecture, part, config.unlabelled_weight * share, config.box_loss_weight * share);
    let labelled = labelled.weighted(|p| of(p).labelled);
    let pseudo = pseudo.weighted(|p| of(p).pseudo);
    #[cfg(test)]
    let pseudo = pseudo * PSEUDO_FACTOR.get();
    let bound = match config.guard.loss_ratio_max {
        0.0 => labelled.full_like(f64::INFINITY),
        ratio => labelled.detach().abs() * ratio,
    };
    let magnitude = pseudo.detach().abs();
    // A loss that is not finite compares as false and gets weight 0; the optimizer drops its gradient.
    let fits = magnitude.le_tensor(&bound);
    let scale = fits.to_kind(Kind::Float)
        + fits.logical_not().to_kind(Kind::Float) * (bound / magnitude).nan_to_num(0.0, 0.0, 0.0);
    MutualLoss { labelled, pseudo: pseudo * scale, bounded: fits.logical_not().to_kind(Kind::Float) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(values: [f32; 4]) -> DetectionLosses {
        let [class, boxes, rpn_class, rpn_box] = values.map(Tensor::from);
        DetectionLosses::new([
            (Part::Class, class),
            (Part::Box, boxes),
            (Part::RpnClass, rpn_class),
            (Part::RpnBox, rpn_box),
        ])
    }

    fn number(t: &Tensor) -> f64 {
        f64::try_from(t).unwrap()
    }

    fn config() -> SemiConfig {
        let guard = GuardConfig::standard();
        SemiConfig { unlabelled_weight: 2.0, box_loss_weight: 0.5, guard, ..SemiConfig::published() }
    }

    #[test]
    fn faster_rcnn_adds_pseudo_losses_but_not_those_of_anchor_boxes() {
        let combined =
            combined(Architecture::FasterRcnn, &config(), 1.0, &losses([1.0; 4]), &losses([1.0, 2.0, 3.0, 400.0]));
        assert_eq!(number(&combined.labelled), 4.0);
        assert_eq!(number(&combined.pseudo), 2.0 * (1.0 + 3.0) + 0.5 * 2.0);
        assert_eq!(number(&combined.bounded), 0.0);
    }

    #[test]
    fn fcos_takes_the_weighted_mean() {
        let parts =
            |c: f32, b: f32| DetectionLosses::new([(Part::Class, Tensor::from(c)), (Part::Box, Tensor::from(b))]);
        let combined = combined(Architecture::Fcos, &config(), 1.0, &parts(3.0, 3.0), &parts(3.0, 3.0));
        assert!((number(&combined.labelled) - 3.0).abs() < 1e-6, "3/3 of the class loss, 3/1.5 of the boxes'");
        assert!((number(&combined.pseudo) - 3.0).abs() < 1e-6);
    }

    #[test]
    fn without_weight_it_is_supervised_training() {
        let none = SemiConfig { unlabelled_weight: 0.0, box_loss_weight: 0.0, ..config() };
        for architecture in [Architecture::Fcos, Architecture::FasterRcnn] {
            let combined = combined(architecture, &none, 1.0, &losses([1.0, 2.0, 3.0, 4.0]), &losses([9.0; 4]));
            assert_eq!((number(&combined.labelled), number(&combined.pseudo)), (10.0, 0.0));
        }
    }

    #[test]
    fn few_pseudo_labels_weigh_less_in_fcos_under_guard_rails() {
        let (on, off) = (GuardConfig::standard(), GuardConfig::off());
        let fcos = |boxes| share_of_boxes(Architecture::Fcos, &on, boxes, 12.0);
        assert_eq!([fcos(3), fcos(12), fcos(40)], [0.25, 1.0, 1.0]);
        assert!((fcos(0) - 1.0 / 108.0).abs() < 1e-9, "one point of a box of nine");
        assert_eq!(share_of_boxes(Architecture::Fcos, &off, 3, 12.0), 1.0, "as published");
        assert_eq!(share_of_boxes(Architecture::FasterRcnn, &on, 3, 12.0), 1.0, "divides by samples");
        assert_eq!(share_of_boxes(Architecture::Fcos, &on, 0, 0.0), 1.0, "no boxes are expected");
    }

    #[test]
    fn a_large_or_not_finite_pseudo_loss_is_bounded() {
        let huge = combined(Architecture::FasterRcnn, &config(), 1.0, &losses([1.0; 4]), &losses([1e6, 0.0, 0.0, 0.0]));
        assert!((number(&huge.pseudo) - 40.0).abs() < 1e-3 && number(&huge.bounded) == 1.0);
        let off = SemiConfig { guard: GuardConfig::off(), ..config() };
        let free = combined(Architecture::FasterRcnn, &off, 1.0, &losses([1.0; 4]), &losses([1e6, 0.0, 0.0, 0.0]));
        assert_eq!((number(&free.pseudo), number(&free.bounded)), (2e6, 0.0), "as published");
        let not_finite =
            combined(Architecture::FasterRcnn, &config(), 1.0, &losses([1.0; 4]), &losses([f32::NAN, 0.0, 0.0, 0.0]));
        assert_eq!(number(&not_finite.bounded), 1.0);
    }
}
