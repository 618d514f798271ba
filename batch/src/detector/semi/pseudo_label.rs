//! Pseudo-labels and ignore regions from a teacher's detections: boxes that score strictly above a threshold are
//! pseudo-labels, up to a number per batch; reports of unlabelled images can select classes.

use d2r_contracts::space::Model;

use crate::config::semi::SemiConfig;
use crate::detector::detection::{Detection, PseudoBoxes};
use crate::detector::target::{BatchTargets, Supervision, Target};

/// Pseudo-labels of a batch.
#[derive(Debug, Clone, Default)]
pub struct PseudoLabels {
    /// For the class losses, one list per image.
    pub classes: Vec<Vec<Target>>,
    /// For the box losses, one list per image.
    pub edges: Vec<Vec<Target>>,
    /// Ignore regions, one list per image: boxes that are neither pseudo-labels nor background.
    pub ignored: Vec<Vec<Target>>,
    /// Number of boxes for the class losses before the limit, over all images.
    pub found: usize,
    /// Number of them above the limit, which are dropped.
    pub capped: usize,
}

impl PseudoLabels {
    /// The targets of a batch.
    pub fn targets(&self) -> BatchTargets<'_> {
        BatchTargets {
            classes: &self.classes,
            edges: &self.edges,
            ignored: &self.ignored,
            supervision: Supervision::Pseudo,
        }
    }
}

/// Whether a score is accepted: strictly above the threshold. The same rule for pseudo-labels and for the column
/// `accepted` of `lesions`.
pub fn accepted(score: f32, threshold: f64) -> bool {
    f64::from(score) > threshold
}

/// Pseudo-labels from a teacher's boxes. `report_classes`: classes that each image's report gives as present, where one
/// was read; `limit`: largest number in the batch, of which the highest-scoring are kept.
pub fn select(
    boxes: &PseudoBoxes,
    report_classes: &[Option<Vec<i32>>],
    config: &SemiConfig,
    limit: usize,
) -> PseudoLabels {
    let report = |image: usize| report_classes.get(image).and_then(Option::as_deref);
    let above = |found: &[Detection<Model>], threshold: f64| -> Vec<Detection<Model>> {
        found.iter().filter(|d| accepted(d.score, threshold)).copied().collect()
    };
    let classes = |(image, found): (usize, &Vec<Detection<Model>>)| match report(image) {
        Some(classes) => boxes_of_classes(found, classes, config.report_threshold),
        None => above(found, config.threshold),
    };
    // A report gives no information about edges: their threshold stays the same.
    let edges = |(image, found): (usize, &Vec<Detection<Model>>)| {
        let mut edges = above(found, config.threshold);
        edges.retain(|d| report(image).is_none_or(|classes| classes.contains(&d.class_id)));
        edges
    };
    let by_class: Vec<_> = boxes.classes.iter().enumerate().map(classes).collect();
    let by_edges: Vec<_> = boxes.edges.iter().enumerate().map(edges).collect();
    let found = by_class.iter().map(Vec::len).sum();
    let (classes, edges) = (top_of_batch(&by_class, limit), top_of_batch(&by_edges, limit));
    let capped = found - classes.iter().map(Vec::len).sum::<usize>();
    // A class that the report does not mention can still be present: its boxes above the threshold are ignored.
    let ignore_min = |image: usize| match (config.ignore_min > 0.0, report(image)) {
        (true, _) => Some(config.ignore_min),
        (false, Some(_)) => Some(config.threshold),
        (false, None) => None,
    };
    let ignored = |(image, found): (usize, &Vec<Detection<Model>>)| {
        ignore_min(image).map(|min| ignore_regions(found, min, &classes[image])).unwrap_or_default()
    };
    let ignored = boxes.classes.iter().enumerate().map(ignored).collect();
    PseudoLabels { classes, edges, ignored, found, capped }
}

/// For each class of the report the boxes above the threshold, or the best one if there is none.
fn boxes_of_classes(found: &[Detection<Model>], classes: &[i32], threshold: f64) -> Vec<Detection<Model>> {
    let of_class = |class: &i32| {
        let own: Vec<Detection<Model>> = found.iter().filter(|d| d.class_id == *class).copied().collect();
        let above: Vec<Detection<Model>> = own.iter().filter(|d| accepted(d.score, threshold)).copied().collect();
        let best = own.into_iter().max_by(|a, b| a.score.total_cmp(&b.score));
        if above.is_empty() { best.into_iter().collect() } else { above }
    };
    classes.iter().flat_map(of_class).collect()
}

/// Boxes that score above `score_min` and are not among the pseudo-labels.
fn ignore_regions(found: &[Detection<Model>], score_min: f64, pseudo_labels: &[Target]) -> Vec<Target> {
    found.iter().filter(|d| accepted(d.score, score_min)).map(target).filter(|t| !pseudo_labels.contains(t)).collect()
}

fn target(d: &Detection<Model>) -> Target {
    Target { class_id: d.class_id, region: d.region, score: d.score, edge_logits: d.edge_logits }
}

/// The `limit` highest-scoring boxes of all images, without those that tie with the first one above the limit.
fn top_of_batch(images: &[Vec<Detection<Model>>], limit: usize) -> Vec<Vec<Target>> {
    let mut scores: Vec<f32> = images.iter().flatten().map(|d| d.score).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    let bound = scores.get(limit).copied();
    let of_image = |found: &Vec<Detection<Model>>| {
        found.iter().filter(|d| bound.is_none_or(|bound| d.score > bound)).map(target).collect()
    };
    images.iter().map(of_image).collect()
}

#[cfg(test)]
mod tests {
    use d2r_contracts::boxes::BoxXyxy;

    use super::*;

    fn found(scores: &[f32]) -> Vec<Detection<Model>> {
        let region = BoxXyxy::new(0.0, 0.0, 4.0, 4.0);
        scores
            .iter()
            .map(|&score| Detection { class_id: 1, score, region, edge_logits: None, edge_stds: None })
            .collect()
    }

    #[test]
    fn the_threshold_is_strict_and_the_limit_keeps_the_best() {
        let lists = vec![found(&[0.95, 0.89, 0.5]), found(&[]), found(&[0.99, 0.9])];
        let boxes = PseudoBoxes { classes: lists.clone(), edges: lists };
        let config = SemiConfig { threshold: f64::from(0.89f32), ..SemiConfig::published() };
        let all = select(&boxes, &[], &config, 100);
        assert_eq!(all.classes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 2]);
        assert_eq!((all.found, all.capped), (3, 0));
        let best = select(&boxes, &[], &config, 1);
        assert_eq!(best.classes.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!((best.found, best.capped), (3, 2));
        assert!(all.ignored.iter().all(Vec::is_empty), "as published, everything else is background");
        let with_ignored = SemiConfig { ignore_min: 0.4, ..config.clone() };
        let scores = |labels: &PseudoLabels| -> Vec<f32> { labels.ignored.iter().flatten().map(|t| t.score).collect() };
        assert_eq!(select(&boxes, &[], &with_ignored, 100).ignored.len(), 3);
        assert_eq!(
            scores(&select(&boxes, &[], &SemiConfig { ignore_min: 0.6, ..config.clone() }, 1)),
            [0.95, 0.89, 0.9]
        );
        assert_eq!(select(&boxes, &[], &config, 0).classes.iter().map(Vec::len).sum::<usize>(), 0);
    }

    #[test]
    fn a_report_selects_low_scoring_boxes_of_its_classes_and_ignores_other_classes() {
        let region = |x: f32| BoxXyxy::new(x, 0.0, x + 4.0, 4.0);
        let at =
            |class_id, score, x| Detection { class_id, score, region: region(x), edge_logits: None, edge_stds: None };
        // Class 1 is above the threshold, 2 twice above the lower one, 3 twice below both, 4 is not in the report.
        let image = vec![
            at(1, 0.9, 0.0),
            at(4, 0.8, 10.0),
            at(2, 0.4, 20.0),
            at(2, 0.35, 30.0),
            at(2, 0.2, 40.0),
            at(3, 0.15, 50.0),
            at(3, 0.1, 60.0),
            at(4, 0.3, 70.0),
        ];
        let boxes = PseudoBoxes { classes: vec![image.clone(), image.clone()], edges: vec![image.clone(), image] };
        let config = SemiConfig { threshold: 0.5, report_threshold: 0.3, ..SemiConfig::published() };
        let labels = select(&boxes, &[Some(vec![1, 2, 3, 7]), None], &config, 100);
        let list = |targets: &[Target]| -> Vec<(i32, f32)> { targets.iter().map(|t| (t.class_id, t.score)).collect() };
        assert_eq!(list(&labels.classes[0]), [(1, 0.9), (2, 0.4), (2, 0.35), (3, 0.15)]);
        assert_eq!(list(&labels.edges[0]), [(1, 0.9)], "edges keep their threshold");
        assert_eq!(list(&labels.ignored[0]), [(4, 0.8)], "a class that is not mentioned is ignored");
        assert_eq!(list(&labels.classes[1]), [(1, 0.9), (4, 0.8)], "an image without a report");
        assert!(labels.ignored[1].is_empty());
        let normal = select(&boxes, &[Some(vec![]), Some(vec![])], &config, 100);
        assert_eq!((normal.found, normal.ignored[0].len()), (0, 2));
    }
}
