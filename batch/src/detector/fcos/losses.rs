//! What FCOS learns from its head's outputs, in torchvision's profile and in that of Unbiased Teacher v2
//! (arXiv:2206.09500), where everything is measured in strides.

use std::collections::BTreeSet;

use rayon::prelude::*;
use tch::{Kind, Tensor};

use crate::config::detector::Profile;
use crate::detector::edge_losses::{NLL_WEIGHT, POINT_CERTAINTY, edge_nll, teacher_better};
use crate::detector::fcos::assignment::{PointRule, assign, points_of};
use crate::detector::fcos::head::LevelOutputs;
use crate::detector::fcos::points::{Level, Point, points};
use crate::detector::losses::{
    DetectionLosses, Part, centerness_sum, centerness_target, giou_loss, sigmoid_focal_background, sigmoid_focal_rows,
    sigmoid_focal_sum,
};
use crate::detector::target::{BatchTargets, Supervision, Target};

/// The outputs of all levels, one after the other.
struct Joined {
    /// `[B, N, K]`.
    class_logits: Tensor,
    /// `[B * N, 4]`, strides.
    ltrb: Tensor,
    /// `[B * N]`.
    centerness: Tensor,
    /// `[B * N, 4]`.
    edge_logits: Option<Tensor>,
}

impl Joined {
    fn new(outputs: &[LevelOutputs]) -> Self {
        let cat = |of: &dyn Fn(&LevelOutputs) -> Tensor| Tensor::cat(&outputs.iter().map(of).collect::<Vec<_>>(), 1);
        let edges = outputs.iter().all(|o| o.edge_logits.is_some());
        let edge = |o: &LevelOutputs| o.edge_logits.as_ref().map_or_else(Tensor::new, Tensor::shallow_clone);
        Self {
            class_logits: cat(&|o| o.class_logits.shallow_clone()),
            ltrb: cat(&|o| o.ltrb.shallow_clone()).reshape([-1, 4]),
            centerness: cat(&|o| o.centerness.shallow_clone()).reshape([-1]),
            edge_logits: edges.then(|| cat(&edge).reshape([-1, 4])),
        }
    }
}

/// The points that learn a box, over the whole batch.
struct Foreground {
    count: usize,
    /// i64 `[P]`: rows among the `B * N` points.
    rows: Tensor,
    /// i64 `[P]`: flat entries of the class logits whose target is 1.
    entries: Tensor,
    /// The same on the host.
    taught: Vec<i64>,
    /// f32 `[P, 3]`: x, y and stride.
    anchors: Tensor,
    /// f32 `[P, 4]`: corners, model pixels.
    boxes: Tensor,
    /// f32 `[P, 4]`: the teacher's raw uncertainties.
    edge_logits: Tensor,
}

impl Foreground {
    fn new(points: &[Point], targets: &[Vec<Target>], rule: PointRule, classes: i64, like: &Tensor) -> Self {
        let assigned: Vec<Vec<Option<usize>>> = targets.par_iter().map(|t| assign(points, t, rule)).collect();
        let (mut rows, mut entries, mut anchors) = (Vec::new(), Vec::new(), Vec::new());
        let (mut boxes, mut edges) = (Vec::new(), Vec::new());
        for (image, (matches, targets)) in assigned.iter().zip(targets).enumerate() {
            for (i, matched) in matches.iter().enumerate() {
                let Some(target) = matched.map(|m| &targets[m]) else { continue };
                let row = (image * points.len() + i) as i64;
                rows.push(row);
                entries.push(row * classes + i64::from(target.class_id));
                anchors.extend([points[i].x, points[i].y, points[i].stride]);
                boxes.extend(target.region.to_array());
                edges.extend(target.edge_logits.unwrap_or([f32::INFINITY; 4]));
            }
        }
        let table =
            |values: &[f32], width: i64| Tensor::from_slice(values).reshape([-1, width]).to_device(like.device());
        Self {
            count: rows.len(),
            rows: Tensor::from_slice(&rows).to_device(like.device()),
            entries: Tensor::from_slice(&entries).to_device(like.device()),
            taught: entries,
            anchors: table(&anchors, 3),
            boxes: table(&boxes, 4),
            edge_logits: table(&edges, 4),
        }
    }

    fn divisor(&self) -> f64 {
        self.count.max(1) as f64
    }
}

/// Losses of given head outputs.
pub fn losses(profile: Profile, levels: &[Level], outputs: &[LevelOutputs], targets: BatchTargets) -> DetectionLosses {
    let joined = Joined::new(outputs);
    match (profile, targets.supervision) {
        (Profile::Torchvision, _) => torchvision_losses(&joined, levels, targets),
        (Profile::Utv2, Supervision::Labelled) => labelled_losses(&joined, levels, targets.classes),
        (Profile::Utv2, Supervision::Pseudo) => pseudo_losses(&joined, levels, targets),
    }
}

/// Focal loss over all entries but those of unsure boxes that nothing else claims.
fn class_loss(
    found: &Joined,
    foreground: &Foreground,
    points: &[Point],
    ignored: &[Vec<Target>],
    rule: PointRule,
) -> Tensor {
    let all = sigmoid_focal_sum(&found.class_logits, &foreground.entries);
    let entries = ignored_entries(foreground, points, ignored, rule, found.class_logits.size()[2]);
    if entries.is_empty() {
        return all / foreground.divisor();
    }
    let entries = Tensor::from_slice(&entries).to_device(found.class_logits.device());
    (all - sigmoid_focal_background(&found.class_logits, &entries)) / foreground.divisor()
}

/// Flat entries of the class logits that unsure boxes cover and no target claims, each once.
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
    for taught in &foreground.taught {
        entries.remove(taught);
    }
    entries.into_iter().collect()
}

/// Torchvision's `FCOSHead.compute_loss`.
fn torchvision_losses(found: &Joined, levels: &[Level], targets: BatchTargets) -> DetectionLosses {
    let (classes, points, rule) = (found.class_logits.size()[2], points(levels, false), PointRule::NearCentre);
    let foreground = Foreground::new(&points, targets.classes, rule, classes, &found.class_logits);
    let class = class_loss(found, &foreground, &points, targets.ignored, rule);
    let predicted = corners(&found.ltrb.index_select(0, &foreground.rows), &foreground.anchors);
    let boxes = giou_loss(&predicted, &foreground.boxes).sum(Kind::Float) / foreground.divisor();
    let centre = centerness_target(&edge_distances(&foreground.boxes, &foreground.anchors));
    let centerness =
        centerness_sum(&found.centerness.index_select(0, &foreground.rows), &centre) / foreground.divisor();
    DetectionLosses::new([(Part::Class, class), (Part::Box, boxes), (Part::Centerness, centerness)])
}

/// On readers' boxes: images without any take no part; boxes by GIoU weighted with the centre-ness, and the likelihood
/// of their sides.
fn labelled_losses(found: &Joined, levels: &[Level], targets: &[Vec<Target>]) -> DetectionLosses {
    let classes = found.class_logits.size()[2];
    let foreground = Foreground::new(&points(levels, true), targets, PointRule::Anywhere, classes, &found.class_logits);
    let used: Vec<f32> = targets.iter().map(|t| f32::from(!t.is_empty())).collect();
    let used = Tensor::from_slice(&used).to_device(found.class_logits.device());
    let class = sigmoid_focal_rows(&found.class_logits, &foreground.entries, &used) / foreground.divisor();
    let at = |t: &Tensor| t.index_select(0, &foreground.rows);
    let wanted = edge_distances(&foreground.boxes, &foreground.anchors);
    let edges = found.edge_logits.as_ref().map(at);
    let (boxes, centerness) = distance_losses(&at(&found.ltrb), &wanted, edges.as_ref(), &at(&found.centerness));
    DetectionLosses::new([(Part::Class, class), (Part::Box, boxes), (Part::Centerness, centerness)])
}

/// Box and centre-ness loss of the points that learn a box. `predicted`, `wanted`: distances `[P, 4]` in strides;
/// `edges`: raw uncertainties `[P, 4]`; `centerness`: logits `[P]`. Without points both are 0.
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

/// Mean distance over the sides that the teacher knows better; 0 without any. All `[P, 4]`, strides and raw
/// uncertainties.
pub fn better_edge_loss(gap: &Tensor, teacher: &Tensor, student: &Tensor) -> Tensor {
    let better = teacher_better(teacher, student, POINT_CERTAINTY);
    (gap.abs() * &better).sum(Kind::Float) / better.sum(Kind::Float).clamp_min(1.0)
}

/// On a teacher's boxes: every image counts; of the sides only those that the teacher knows better.
fn pseudo_losses(found: &Joined, levels: &[Level], targets: BatchTargets) -> DetectionLosses {
    let (classes, like) = (found.class_logits.size()[2], &found.class_logits);
    let points = points(levels, true);
    let foreground = Foreground::new(&points, targets.classes, PointRule::Anywhere, classes, like);
    let class = class_loss(found, &foreground, &points, targets.ignored, PointRule::Anywhere);
    let centre = centerness_target(&edge_distances(&foreground.boxes, &foreground.anchors));
    let centerness =
        centerness_sum(&found.centerness.index_select(0, &foreground.rows), &centre) / foreground.divisor();

    let of_edges = Foreground::new(&points, targets.edges, PointRule::Anywhere, classes, like);
    let gap = found.ltrb.index_select(0, &of_edges.rows) - edge_distances(&of_edges.boxes, &of_edges.anchors);
    let boxes = match &found.edge_logits {
        None => gap.sum(Kind::Float) * 0.0,
        Some(edges) => better_edge_loss(&gap, &of_edges.edge_logits, &edges.index_select(0, &of_edges.rows)),
    };
    DetectionLosses::new([(Part::Class, class), (Part::Box, boxes), (Part::Centerness, centerness)])
}

/// IoU with one added above and below, and GIoU from it, of two boxes around one point. `[P, 4]` distances in strides.
pub fn stride_overlap(predicted: &Tensor, wanted: &Tensor) -> (Tensor, Tensor) {
    let (p, w) = (predicted.unbind(1), wanted.unbind(1));
    let area = |d: &[Tensor]| (&d[0] + &d[2]) * (&d[1] + &d[3]);
    let shared = (p[0].minimum(&w[0]) + p[2].minimum(&w[2])) * (p[1].minimum(&w[1]) + p[3].minimum(&w[3]));
    let hull = (p[0].maximum(&w[0]) + p[2].maximum(&w[2])) * (p[1].maximum(&w[1]) + p[3].maximum(&w[3]));
    let union = area(&p) + area(&w) - &shared;
    let iou = (shared + 1.0) / (&union + 1.0);
    let giou = &iou - (&hull - union) / hull;
    (iou, giou)
}

/// Boxes `[P, 4]` from distances `ltrb` `[P, 4]` in strides; `anchors`: `[P, 3]`, x, y and stride.
pub fn corners(ltrb: &Tensor, anchors: &Tensor) -> Tensor {
    let place = anchors.narrow(1, 0, 2);
    let reach = ltrb * anchors.narrow(1, 2, 1);
    Tensor::cat(&[&place - reach.narrow(1, 0, 2), &place + reach.narrow(1, 2, 2)], 1)
}

/// Distances `[P, 4]` in strides of boxes `[P, 4]`: the inverse of [`corners`].
pub fn edge_distances(boxes: &Tensor, anchors: &Tensor) -> Tensor {
    let place = anchors.narrow(1, 0, 2);
    Tensor::cat(&[&place - boxes.narrow(1, 0, 2), boxes.narrow(1, 2, 2) - &place], 1) / anchors.narrow(1, 2, 1)
}

#[cfg(test)]
mod tests {
    use d2r_contracts::boxes::BoxXyxy;
    use tch::Device;

    use super::*;
    use crate::detector::fcos::points::levels;

    #[test]
    fn unsure_boxes_are_neither_taught_nor_denied() {
        let (levels, classes) = (levels((64, 64), &[(8, 8), (4, 4)], 3), 3);
        let target = |class_id, corners: [f32; 4]| {
            let [a, b, c, d] = corners;
            Target::truth(class_id, BoxXyxy::new(a, b, c, d))
        };
        let sure = vec![vec![target(0, [4.0, 4.0, 24.0, 24.0])], vec![]];
        // The same place in another class, and a place of its own in the other image.
        let ignored = vec![vec![target(1, [4.0, 4.0, 24.0, 24.0])], vec![target(2, [30.0, 30.0, 50.0, 50.0])]];
        for profile in [Profile::Torchvision, Profile::Utv2] {
            let gradient = |ignored: &[Vec<Target>]| {
                let logits: Vec<Tensor> = levels
                    .iter()
                    .map(|l| {
                        Tensor::zeros([2, l.points(), classes], (Kind::Float, Device::Cpu)).set_requires_grad(true)
                    })
                    .collect();
                let outputs: Vec<LevelOutputs> = logits
                    .iter()
                    .map(|l| LevelOutputs {
                        class_logits: l.shallow_clone(),
                        ltrb: Tensor::ones([2, l.size()[1], 4], (Kind::Float, Device::Cpu)),
                        centerness: Tensor::zeros([2, l.size()[1]], (Kind::Float, Device::Cpu)),
                        edge_logits: None,
                    })
                    .collect();
                let targets = BatchTargets { classes: &sure, edges: &sure, ignored, supervision: Supervision::Pseudo };
                losses(profile, &levels, &outputs, targets).weighted(|p| f64::from(p == Part::Class)).backward();
                Tensor::cat(&logits.iter().map(Tensor::grad).collect::<Vec<_>>(), 1)
            };
            let (without, with) = (gradient(&[]), gradient(&ignored));
            assert_eq!(i64::try_from(without.eq(0.0).sum(Kind::Int64)).unwrap(), 0, "as published every entry learns");
            let silent = with.eq(0.0);
            let of_class =
                |image: i64, class: i64| i64::try_from(silent.get(image).select(1, class).sum(Kind::Int64)).unwrap();
            assert!(of_class(0, 1) > 0 && of_class(1, 2) > 0);
            assert_eq!((of_class(0, 0), of_class(0, 2), of_class(1, 0), of_class(1, 1)), (0, 0, 0, 0));
            let gap = ((&with - &without) * silent.logical_not().to_kind(Kind::Float)).abs().max();
            assert_eq!(f64::try_from(gap).unwrap(), 0.0, "nothing else changes");
        }
    }
}
