//! From a teacher's detections to what a student learns: everything strictly above a threshold, and no more boxes per
//! image than the labelled set would lead one to expect.

use d2r_contracts::space::Model;

use crate::config::semi::SemiConfig;
use crate::detect::detector::{Detection, PseudoBoxes};
use crate::detect::target::{BatchTargets, Supervision, Target};

/// Pseudo-labels of a batch.
#[derive(Debug, Clone, Default)]
pub struct PseudoLabels {
    /// Those that teach classes, one list per image.
    pub classes: Vec<Vec<Target>>,
    /// Those that teach sides.
    pub sides: Vec<Vec<Target>>,
    /// Those that neither teach nor deny: too good for background, not good enough for the student.
    pub unsure: Vec<Vec<Target>>,
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
            sides: &self.sides,
            unsure: &self.unsure,
            supervision: Supervision::Pseudo,
        }
    }
}

/// Whether a box is a pseudo-label: the rule that annotation repeats on the stored scores.
pub fn accepted(score: f32, threshold: f64) -> bool {
    f64::from(score) > threshold
}

/// The pseudo-labels among a teacher's boxes. `most`: boxes in the batch, the best of which are kept.
pub fn select(boxes: &PseudoBoxes, config: &SemiConfig, most: usize) -> PseudoLabels {
    let (classes, found, capped) = above(&boxes.classes, config.threshold, most);
    let (sides, ..) = above(&boxes.sides, config.side_threshold(), most);
    let unsure =
        if config.unsure_min > 0.0 { between(&boxes.classes, config.unsure_min, &classes) } else { Vec::new() };
    PseudoLabels { classes, sides, unsure, found, capped }
}

/// Boxes above `least` that are not among the accepted ones.
fn between(images: &[Vec<Detection<Model>>], least: f64, accepted_boxes: &[Vec<Target>]) -> Vec<Vec<Target>> {
    let of_image = |(found, taken): (&Vec<Detection<Model>>, &Vec<Target>)| {
        let is_taken = |d: &Detection<Model>| taken.contains(&target(d));
        found.iter().filter(|d| accepted(d.score, least) && !is_taken(d)).map(target).collect()
    };
    images.iter().zip(accepted_boxes).map(of_image).collect()
}

fn target(d: &Detection<Model>) -> Target {
    Target { class_id: d.class_id, region: d.region, score: d.score, edge_logits: d.edge_logits }
}

fn above(images: &[Vec<Detection<Model>>], threshold: f64, most: usize) -> (Vec<Vec<Target>>, usize, usize) {
    let keep = |d: &&Detection<Model>| accepted(d.score, threshold);
    let mut scores: Vec<f32> = images.iter().flatten().filter(keep).map(|d| d.score).collect();
    let found = scores.len();
    scores.sort_by(|a, b| b.total_cmp(a));
    let least = if found > most { scores.get(most).copied() } else { None };
    let of_image = |found: &Vec<Detection<Model>>| {
        found.iter().filter(keep).filter(|d| least.is_none_or(|l| d.score > l)).map(target).collect::<Vec<_>>()
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
        let boxes = PseudoBoxes { classes: lists.clone(), sides: lists };
        let config = SemiConfig { threshold: f64::from(0.89f32), ..SemiConfig::default() };
        let all = select(&boxes, &config, 100);
        assert_eq!(all.classes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 2]);
        assert_eq!((all.found, all.capped), (3, 0));
        let best = select(&boxes, &config, 1);
        assert_eq!(best.classes.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!((best.found, best.capped), (3, 2));
        assert!(all.unsure.is_empty(), "as published, everything else is background");
        let kind = SemiConfig { unsure_min: 0.4, ..config.clone() };
        let scores = |labels: &PseudoLabels| -> Vec<f32> { labels.unsure.iter().flatten().map(|t| t.score).collect() };
        assert_eq!(select(&boxes, &kind, 100).unsure.len(), 3);
        assert_eq!(scores(&select(&boxes, &SemiConfig { unsure_min: 0.6, ..config.clone() }, 1)), [0.95, 0.89, 0.9]);
        assert_eq!(select(&boxes, &config, 0).classes.iter().map(Vec::len).sum::<usize>(), 0);
    }
}
