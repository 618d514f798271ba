//! The loss of a mutual step: readers' boxes and pseudo-labels together, with the published weights, and with a bound
//! on what pseudo-labels may add. Tensors stay on the device; nothing waits for them.

use tch::{Kind, Tensor};

use crate::config::detector::Architecture;
use crate::config::semi::SemiConfig;
use crate::detector::losses::{DetectionLosses, Part};

/// Both halves of the loss, scalars with gradients.
#[derive(Debug)]
pub struct MutualLoss {
    /// From readers' boxes.
    pub labelled: Tensor,
    /// From pseudo-labels, weighted and bounded.
    pub pseudo: Tensor,
    /// 1 where the bound took effect or the pseudo-loss was not finite, else 0; f32, without gradient.
    pub bounded: Tensor,
}

/// Weights of one part: on labelled and on unlabelled images.
///
/// Faster R-CNN adds the pseudo-losses (boxes of anchors not at all); FCOS shares the weight between both.
fn weights(architecture: Architecture, part: Part, unlabelled: f64, edges: f64) -> (f64, f64) {
    match (architecture, part) {
        (Architecture::FasterRcnn, Part::Class | Part::RpnClass) => (1.0, unlabelled),
        (Architecture::FasterRcnn, Part::Box) => (1.0, edges),
        (Architecture::FasterRcnn, _) => (1.0, 0.0),
        (Architecture::Fcos, Part::Box) => (1.0 / (1.0 + edges), edges / (1.0 + edges)),
        (Architecture::Fcos, _) => (1.0 / (1.0 + unlabelled), unlabelled / (1.0 + unlabelled)),
    }
}

/// Joins the losses. `share`: how much of the unlabelled weight counts now, 0 to 1.
pub fn joined(
    architecture: Architecture,
    config: &SemiConfig,
    share: f64,
    labelled: &DetectionLosses,
    pseudo: &DetectionLosses,
) -> MutualLoss {
    let of = |part| weights(architecture, part, config.unlabelled_weight * share, config.box_loss_weight * share);
    let labelled = labelled.weighted(|p| of(p).0);
    let pseudo = pseudo.weighted(|p| of(p).1) * config.loss_scale;
    let most = labelled.detach().abs() * config.loss_ratio_max;
    let size = pseudo.detach().abs();
    // A pseudo-loss that is not finite compares as false and is weighted 0; its gradient is dropped by the optimizer.
    let fits = size.le_tensor(&most);
    let scale =
        fits.to_kind(Kind::Float) + fits.logical_not().to_kind(Kind::Float) * (most / size).nan_to_num(0.0, 0.0, 0.0);
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
        SemiConfig { unlabelled_weight: 2.0, box_loss_weight: 0.5, loss_ratio_max: 10.0, ..SemiConfig::default() }
    }

    #[test]
    fn faster_rcnn_adds_pseudo_losses_but_not_those_of_anchor_boxes() {
        let joined =
            joined(Architecture::FasterRcnn, &config(), 1.0, &losses([1.0; 4]), &losses([1.0, 2.0, 3.0, 400.0]));
        assert_eq!(number(&joined.labelled), 4.0);
        assert_eq!(number(&joined.pseudo), 2.0 * (1.0 + 3.0) + 0.5 * 2.0);
        assert_eq!(number(&joined.bounded), 0.0);
    }

    #[test]
    fn fcos_shares_the_weight() {
        let parts =
            |c: f32, b: f32| DetectionLosses::new([(Part::Class, Tensor::from(c)), (Part::Box, Tensor::from(b))]);
        let joined = joined(Architecture::Fcos, &config(), 1.0, &parts(3.0, 3.0), &parts(3.0, 3.0));
        assert!((number(&joined.labelled) - 3.0).abs() < 1e-6, "3/3 of the class loss, 3/1.5 of the boxes'");
        assert!((number(&joined.pseudo) - 3.0).abs() < 1e-6);
    }

    #[test]
    fn without_weight_it_is_supervised_training() {
        let none = SemiConfig { unlabelled_weight: 0.0, box_loss_weight: 0.0, ..config() };
        for architecture in [Architecture::Fcos, Architecture::FasterRcnn] {
            let joined = joined(architecture, &none, 1.0, &losses([1.0, 2.0, 3.0, 4.0]), &losses([9.0; 4]));
            assert_eq!((number(&joined.labelled), number(&joined.pseudo)), (10.0, 0.0));
        }
    }

    #[test]
    fn a_runaway_or_broken_pseudo_loss_is_bounded() {
        let huge = joined(Architecture::FasterRcnn, &config(), 1.0, &losses([1.0; 4]), &losses([1e6, 0.0, 0.0, 0.0]));
        assert!((number(&huge.pseudo) - 40.0).abs() < 1e-3 && number(&huge.bounded) == 1.0);
        let broken =
            joined(Architecture::FasterRcnn, &config(), 1.0, &losses([1.0; 4]), &losses([f32::NAN, 0.0, 0.0, 0.0]));
        assert_eq!(number(&broken.bounded), 1.0);
    }
}
