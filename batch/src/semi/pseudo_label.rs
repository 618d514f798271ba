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
    /// Boxes above the threshold before the cap, over all images.
    pub found: usize,
    /// Boxes that the cap left out.
    pub capped: usize,
}

impl PseudoLabels {
    /// What a detector learns from them.
    pub fn targets(&self) -> BatchTargets<'_> {
        BatchTargets { classes: &self.classes, sides: &self.sides, supervision: Supervision::Pseudo }
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
    PseudoLabels { classes, sides, found, capped }
}

fn above(images: &[Vec<Detection<Model>>], threshold: f64, most: usize) -> (Vec<Vec<Target>>, usize, usize) {
    let keep = |d: &&Detection<Model>| accepted(d.score, threshold);
    let mut scores: Vec<f32> = images.iter().flatten().filter(keep).map(|d| d.score).collect();
    let found = scores.len();
    scores.sort_by(|a, b| b.total_cmp(a));
    let least = if found > most { scores.get(most).copied() } else { None };
    let target = |d: &Detection<Model>| Target {
        class_id: d.class_id,
        region: d.region,
        score: d.score,
        edge_logits: d.edge_logits,
    };
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
        assert_eq!(select(&boxes, &config, 0).classes.iter().map(Vec::len).sum::<usize>(), 0);
    }
}
