//! From a teacher's detections to what a student learns: everything strictly above a threshold, and no more boxes per
//! image than the labelled set would lead one to expect.

use d2r_contracts::space::Model;

use crate::config::semi::SemiConfig;
use crate::detector::detection::{Detection, PseudoBoxes};
use crate::detector::target::{BatchTargets, Supervision, Target};

/// Pseudo-labels of a batch.
#[derive(Debug, Clone, Default)]
pub struct PseudoLabels {
    /// Those that teach classes, one list per image.
    pub classes: Vec<Vec<Target>>,
    /// Those that teach sides.
    pub edges: Vec<Vec<Target>>,
    /// Those that neither teach nor deny: too good for background, not good enough for the student.
    pub ignored: Vec<Vec<Target>>,
    /// Boxes above the threshold before the cap, over all images.
    pub found: usize,
    /// Boxes that the cap left out.
    pub capped: usize,
}

impl PseudoLabels {
    /// What a detector learns from them.
    pub fn targets(&self) -> BatchTargets<'_> {
        BatchTargets {
            classes: &self.classes,
            edges: &self.edges,
            ignored: &self.ignored,
            supervision: Supervision::Pseudo,
        }
    }
}

/// Whether a box is a pseudo-label: the rule that annotation repeats on the stored scores.
pub fn accepted(score: f32, threshold: f64) -> bool {
    f64::from(score) > threshold
}

/// The pseudo-labels among a teacher's boxes. `named`: classes that each image's report names, where one was read; `most`: boxes
/// in the batch, the best of which are kept.
pub fn select(boxes: &PseudoBoxes, named: &[Option<Vec<i32>>], config: &SemiConfig, most: usize) -> PseudoLabels {
    let report = |image: usize| named.get(image).and_then(Option::as_deref);
    let above = |found: &[Detection<Model>], threshold: f64| -> Vec<Detection<Model>> {
        found.iter().filter(|d| accepted(d.score, threshold)).copied().collect()
    };
    let classes = |(image, found): (usize, &Vec<Detection<Model>>)| match report(image) {
        Some(classes) => named_boxes(found, classes, config.report_threshold),
        None => above(found, config.threshold),
    };
    // A report says nothing of where a box ends.
    let edges = |(image, found): (usize, &Vec<Detection<Model>>)| {
        let mut edges = above(found, config.edge_threshold());
        edges.retain(|d| report(image).is_none_or(|classes| classes.contains(&d.class_id)));
        edges
    };
    let (classes, found, capped) = best_of(&boxes.classes.iter().enumerate().map(classes).collect::<Vec<_>>(), most);
    let (edges, ..) = best_of(&boxes.edges.iter().enumerate().map(edges).collect::<Vec<_>>(), most);
    // A report that is silent about a class does not deny it.
    let ignored_from = |image: usize| match (config.ignore_min > 0.0, report(image)) {
        (true, _) => Some(config.ignore_min),
        (false, Some(_)) => Some(config.threshold),
        (false, None) => None,
    };
    let rest = |(image, found): (usize, &Vec<Detection<Model>>)| {
        ignored_from(image).map(|least| between(found, least, &classes[image])).unwrap_or_default()
    };
    let ignored = boxes.classes.iter().enumerate().map(rest).collect();
    PseudoLabels { classes, edges, ignored, found, capped }
}

/// Of each named class the boxes above the threshold, and without any the best one.
fn named_boxes(found: &[Detection<Model>], classes: &[i32], threshold: f64) -> Vec<Detection<Model>> {
    let of_class = |class: &i32| {
        let own: Vec<Detection<Model>> = found.iter().filter(|d| d.class_id == *class).copied().collect();
        let sure: Vec<Detection<Model>> = own.iter().filter(|d| accepted(d.score, threshold)).copied().collect();
        let best = own.into_iter().max_by(|a, b| a.score.total_cmp(&b.score));
        if sure.is_empty() { best.into_iter().collect() } else { sure }
    };
    classes.iter().flat_map(of_class).collect()
}

/// Boxes above `least` that are not among the accepted ones.
fn between(found: &[Detection<Model>], least: f64, taken: &[Target]) -> Vec<Target> {
    found.iter().filter(|d| accepted(d.score, least)).map(target).filter(|t| !taken.contains(t)).collect()
}

fn target(d: &Detection<Model>) -> Target {
    Target { class_id: d.class_id, region: d.region, score: d.score, edge_logits: d.edge_logits }
}

/// The `most` best boxes of all images (none of those that tie where the bound falls), the number there were, and that of those
/// left out.
fn best_of(images: &[Vec<Detection<Model>>], most: usize) -> (Vec<Vec<Target>>, usize, usize) {
    let mut scores: Vec<f32> = images.iter().flatten().map(|d| d.score).collect();
    let found = scores.len();
    scores.sort_by(|a, b| b.total_cmp(a));
    let least = if found > most { scores.get(most).copied() } else { None };
    let of_image = |found: &Vec<Detection<Model>>| {
        found.iter().filter(|d| least.is_none_or(|l| d.score > l)).map(target).collect::<Vec<_>>()
    };
    let kept: Vec<Vec<Target>> = images.iter().map(of_image).collect();
    let left = kept.iter().map(Vec::len).sum::<usize>();
    (kept, found, found - left)
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
    fn the_threshold_is_strict_and_the_cap_keeps_the_best() {
        let lists = vec![found(&[0.95, 0.89, 0.5]), found(&[]), found(&[0.99, 0.9])];
        let boxes = PseudoBoxes { classes: lists.clone(), edges: lists };
        let config = SemiConfig { threshold: f64::from(0.89f32), ..SemiConfig::default() };
        let all = select(&boxes, &[], &config, 100);
        assert_eq!(all.classes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 2]);
        assert_eq!((all.found, all.capped), (3, 0));
        let best = select(&boxes, &[], &config, 1);
        assert_eq!(best.classes.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!((best.found, best.capped), (3, 2));
        assert!(all.ignored.iter().all(Vec::is_empty), "as published, everything else is background");
        let kind = SemiConfig { ignore_min: 0.4, ..config.clone() };
        let scores = |labels: &PseudoLabels| -> Vec<f32> { labels.ignored.iter().flatten().map(|t| t.score).collect() };
        assert_eq!(select(&boxes, &[], &kind, 100).ignored.len(), 3);
        assert_eq!(
            scores(&select(&boxes, &[], &SemiConfig { ignore_min: 0.6, ..config.clone() }, 1)),
            [0.95, 0.89, 0.9]
        );
        assert_eq!(select(&boxes, &[], &config, 0).classes.iter().map(Vec::len).sum::<usize>(), 0);
    }
    #[test]
    fn a_report_points_at_weak_boxes_and_sets_unnamed_ones_aside() {
        let region = |x: f32| BoxXyxy::new(x, 0.0, x + 4.0, 4.0);
        let at =
            |class_id, score, x| Detection { class_id, score, region: region(x), edge_logits: None, edge_stds: None };
        // Class 1 is sure, 2 is sure twice at the lower threshold, 3 is weak twice, 4 is not named.
        let film = vec![
            at(1, 0.9, 0.0),
            at(4, 0.8, 10.0),
            at(2, 0.4, 20.0),
            at(2, 0.35, 30.0),
            at(2, 0.2, 40.0),
            at(3, 0.15, 50.0),
            at(3, 0.1, 60.0),
            at(4, 0.3, 70.0),
        ];
        let boxes = PseudoBoxes { classes: vec![film.clone(), film.clone()], edges: vec![film.clone(), film] };
        let config = SemiConfig { threshold: 0.5, report_threshold: 0.3, ..SemiConfig::default() };
        let labels = select(&boxes, &[Some(vec![1, 2, 3, 7]), None], &config, 100);
        let list = |targets: &[Target]| -> Vec<(i32, f32)> { targets.iter().map(|t| (t.class_id, t.score)).collect() };
        assert_eq!(list(&labels.classes[0]), [(1, 0.9), (2, 0.4), (2, 0.35), (3, 0.15)]);
        assert_eq!(list(&labels.edges[0]), [(1, 0.9)], "sides keep their threshold");
        assert_eq!(list(&labels.ignored[0]), [(4, 0.8)], "silence does not deny");
        assert_eq!(list(&labels.classes[1]), [(1, 0.9), (4, 0.8)], "a film without a report");
        assert!(labels.ignored[1].is_empty());
        let normal = select(&boxes, &[Some(vec![]), Some(vec![])], &config, 100);
        assert_eq!((normal.found, normal.ignored[0].len()), (0, 2));
    }
}
