//! The losses of FCOS from its head's outputs: torchvision's criterion, and the two of Unbiased Teacher v2
//! (arXiv:2206.09500), on labelled images and on pseudo-labels, which measure distances in strides.

use std::collections::BTreeSet;

use tch::{Kind, Tensor};

use crate::config::detector::Profile;
use crate::detector::edge_losses::{NLL_WEIGHT, POINT_CERTAINTY, edge_nll, teacher_better};
use crate::detector::fcos::assignment::{PointRule, points_of};
use crate::detector::fcos::distances::{corners, edge_distances, stride_overlap};
use crate::detector::fcos::foreground::{Foreground, Predictions};
use crate::detector::fcos::head::FcosOutputs;
use crate::detector::fcos::points::{Point, points};
use crate::detector::losses::{
    DetectionLosses, Part, centerness_sum, centerness_target, giou_loss, sigmoid_focal_background, sigmoid_focal_rows,
    sigmoid_focal_sum,
};
use crate::detector::pyramid::Level;
use crate::detector::target::{BatchTargets, Supervision, Target};

/// The losses of a profile and a kind of supervision.
pub fn losses(profile: Profile, outputs: &FcosOutputs, targets: BatchTargets) -> DetectionLosses {
    let predictions = Predictions::new(&outputs.predictions);
    match (profile, targets.supervision) {
        (Profile::Torchvision, _) => torchvision_losses(&predictions, &outputs.levels, targets),
        (Profile::Utv2, Supervision::Labelled) => labelled_losses(&predictions, &outputs.levels, targets.classes),
        (Profile::Utv2, Supervision::Pseudo) => pseudo_losses(&predictions, &outputs.levels, targets),
    }
}

/// Torchvision's `FCOSHead.compute_loss`.
fn torchvision_losses(predictions: &Predictions, levels: &[Level], targets: BatchTargets) -> DetectionLosses {
    let (points, rule) = (points(levels, false), PointRule::NearCentre);
    let foreground = Foreground::new(&points, targets.classes, rule, predictions);
    let class = class_loss(predictions, &foreground, &points, targets.ignored, rule);
    let predicted = corners(&predictions.ltrb.index_select(0, &foreground.rows), &foreground.locations);
    let boxes = giou_loss(&predicted, &foreground.boxes).sum(Kind::Float) / foreground.divisor();
    let centerness = centerness_loss(predictions, &foreground);
    DetectionLosses::new([(Part::Class, class), (Part::Box, boxes), (Part::Centerness, centerness)])
}

/// Unbiased Teacher v2 on annotated boxes. Images without boxes are left out of the class loss; the box loss is GIoU
/// weighted with the centre-ness, plus the negative log-likelihood of the edges.
fn labelled_losses(predictions: &Predictions, levels: &[Level], targets: &[Vec<Target>]) -> DetectionLosses {
    let foreground = Foreground::new(&points(levels, true), targets, PointRule::Anywhere, predictions);
    let with_boxes: Vec<f32> = targets.iter().map(|t| f32::from(!t.is_empty())).collect();
    let with_boxes = Tensor::from_slice(&with_boxes).to_device(predictions.class_logits.device());
    let class = sigmoid_focal_rows(&predictions.class_logits, &foreground.entries, &with_boxes) / foreground.divisor();
    let of_foreground = |t: &Tensor| t.index_select(0, &foreground.rows);
    let wanted = edge_distances(&foreground.boxes, &foreground.locations);
    let edges = predictions.edge_logits.as_ref().map(of_foreground);
    let (boxes, centerness) = distance_losses(
        &of_foreground(&predictions.ltrb),
        &wanted,
        edges.as_ref(),
        &of_foreground(&predictions.centerness),
    );
    DetectionLosses::new([(Part::Class, class), (Part::Box, boxes), (Part::Centerness, centerness)])
}

/// Unbiased Teacher v2 on pseudo-labels. Every image counts; the box loss takes only edges of which the teacher is more
/// certain than the student.
fn pseudo_losses(predictions: &Predictions, levels: &[Level], targets: BatchTargets) -> DetectionLosses {
    let (points, rule) = (points(levels, true), PointRule::Anywhere);
    let foreground = Foreground::new(&points, targets.classes, rule, predictions);
    let class = class_loss(predictions, &foreground, &points, targets.ignored, rule);
    let centerness = centerness_loss(predictions, &foreground);

    let by_edges = Foreground::new(&points, targets.edges, rule, predictions);
    let difference =
        predictions.ltrb.index_select(0, &by_edges.rows) - edge_distances(&by_edges.boxes, &by_edges.locations);
    let boxes = match &predictions.edge_logits {
        None => difference.sum(Kind::Float) * 0.0,
        Some(edges) => better_edge_loss(&difference, &by_edges.edge_logits, &edges.index_select(0, &by_edges.rows)),
    };
    DetectionLosses::new([(Part::Class, class), (Part::Box, boxes), (Part::Centerness, centerness)])
}

/// Focal loss over all entries except those of ignore regions that are no positives of a target.
fn class_loss(
    predictions: &Predictions,
    foreground: &Foreground,
    points: &[Point],
    ignored: &[Vec<Target>],
    rule: PointRule,
) -> Tensor {
    let all = sigmoid_focal_sum(&predictions.class_logits, &foreground.entries);
    let entries = ignored_entries(foreground, points, ignored, rule, predictions.classes());
    if entries.is_empty() {
        return all / foreground.divisor();
    }
    let entries = Tensor::from_slice(&entries).to_device(predictions.class_logits.device());
    (all - sigmoid_focal_background(&predictions.class_logits, &entries)) / foreground.divisor()
}

/// Flat entries of the class logits that ignore regions cover and that are no positives, each once.
fn ignored_entries(
    foreground: &Foreground,
    points: &[Point],
    ignored: &[Vec<Target>],
    rule: PointRule,
    classes: i64,
) -> Vec<i64> {
    let mut entries = BTreeSet::new();
    for (image, targets) in ignored.iter().enumerate() {
        for target in targets {
            let first = (image * points.len()) as i64;
            let of_point = |point| (first + point as i64) * classes + i64::from(target.class_id);
            entries.extend(points_of(points, target, rule).into_iter().map(of_point));
        }
    }
    for positive in &foreground.host_entries {
        entries.remove(positive);
    }
    entries.into_iter().collect()
}

/// Binary cross-entropy of the centre-ness over the foreground points.
fn centerness_loss(predictions: &Predictions, foreground: &Foreground) -> Tensor {
    let wanted = centerness_target(&edge_distances(&foreground.boxes, &foreground.locations));
    centerness_sum(&predictions.centerness.index_select(0, &foreground.rows), &wanted) / foreground.divisor()
}

/// Box and centre-ness loss of the foreground points on labelled images. `predicted`, `wanted`: distances `[P, 4]` in
/// strides; `edges`: raw uncertainties `[P, 4]`; `centerness`: logits `[P]`. Without points both are 0.
pub fn distance_losses(
    predicted: &Tensor,
    wanted: &Tensor,
    edges: Option<&Tensor>,
    centerness: &Tensor,
) -> (Tensor, Tensor) {
    let count = predicted.size()[0].max(1) as f64;
    let centre = centerness_target(wanted);
    let (iou, giou) = stride_overlap(predicted, wanted);
    let mut boxes = (&centre * (-giou + 1.0)).sum(Kind::Float) / centre.sum(Kind::Float).clamp_min(1e-6);
    if let Some(edges) = edges {
        let nll = edge_nll(&(wanted - predicted), edges);
        boxes = boxes + (iou.detach() * nll).sum(Kind::Float) / count * NLL_WEIGHT;
    }
    (boxes, centerness_sum(centerness, &centre) / count)
}

/// Mean absolute difference over the edges of which the teacher is more certain; 0 without any. `difference`: of the
/// distances, in strides; `teacher`, `student`: raw uncertainties. All `[P, 4]`.
pub fn better_edge_loss(difference: &Tensor, teacher: &Tensor, student: &Tensor) -> Tensor {
    let better = teacher_better(teacher, student, POINT_CERTAINTY);
    (difference.abs() * &better).sum(Kind::Float) / better.sum(Kind::Float).clamp_min(1.0)
}

#[cfg(test)]
mod tests {
    use d2r_contracts::boxes::BoxXyxy;
    use d2r_contracts::space::ImageSize;
    use tch::Device;

    use super::*;
    use crate::detector::fcos::head::LevelOutputs;
    use crate::detector::pyramid::levels_of;

    #[test]
    fn ignore_regions_contribute_no_class_loss() {
        let classes = 3;
        let levels = levels_of(ImageSize { width: 64, height: 64 }, &[[8, 8], [4, 4]], 3);
        let target = |class_id, corners: [f32; 4]| {
            let [a, b, c, d] = corners;
            Target::truth(class_id, BoxXyxy::new(a, b, c, d))
        };
        let positives = vec![vec![target(0, [4.0, 4.0, 24.0, 24.0])], vec![]];
        // The same region in another class, and another region in the other image.
        let ignored = vec![vec![target(1, [4.0, 4.0, 24.0, 24.0])], vec![target(2, [30.0, 30.0, 50.0, 50.0])]];
        for profile in [Profile::Torchvision, Profile::Utv2] {
            let gradient = |ignored: &[Vec<Target>]| {
                let logits: Vec<Tensor> = levels
                    .iter()
                    .map(|l| Tensor::zeros([2, l.cells(), classes], (Kind::Float, Device::Cpu)).set_requires_grad(true))
                    .collect();
                let predictions = logits
                    .iter()
                    .map(|l| LevelOutputs {
                        class_logits: l.shallow_clone(),
                        ltrb: Tensor::ones([2, l.size()[1], 4], (Kind::Float, Device::Cpu)),
                        centerness: Tensor::zeros([2, l.size()[1]], (Kind::Float, Device::Cpu)),
                        edge_logits: None,
                    })
                    .collect();
                let targets =
                    BatchTargets { classes: &positives, edges: &positives, ignored, supervision: Supervision::Pseudo };
                let outputs = FcosOutputs { levels: levels.clone(), predictions };
                losses(profile, &outputs, targets).weighted(|p| f64::from(p == Part::Class)).backward();
                Tensor::cat(&logits.iter().map(Tensor::grad).collect::<Vec<_>>(), 1)
            };
            let (without, with) = (gradient(&[]), gradient(&ignored));
            assert_eq!(
                i64::try_from(without.eq(0.0).sum(Kind::Int64)).unwrap(),
                0,
                "as published every entry has a gradient"
            );
            let ignored_entries = with.eq(0.0);
            let of_class = |image: i64, class: i64| {
                i64::try_from(ignored_entries.get(image).select(1, class).sum(Kind::Int64)).unwrap()
            };
            assert!(of_class(0, 1) > 0 && of_class(1, 2) > 0);
            assert_eq!((of_class(0, 0), of_class(0, 2), of_class(1, 0), of_class(1, 1)), (0, 0, 0, 0));
            let gap = ((&with - &without) * ignored_entries.logical_not().to_kind(Kind::Float)).abs().max();
            assert_eq!(f64::try_from(gap).unwrap(), 0.0, "nothing else changes");
        }
    }
}
