//! Average precision of the VinBigData challenge on Kaggle: PASCAL VOC 2010 matching at one IoU threshold,
//! overlap strictly greater, all-point or 101-point interpolation, optionally a 15th class "No finding".
//! Same input as [`crate::eval::detection::average_precision`]; the signature of a figure names its variant.

use crate::eval::detection::image_boxes::{ImageBoxes, iou};

/// How precision is integrated over recall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// The area under the monotone curve (VOC 2010).
    AllPoints,
    /// Mean over the recalls 0, 0.01 .. 1.
    Points101,
}

/// Which variant is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KaggleAp {
    /// A detection is a true positive above this IoU with a truth box of its class.
    pub iou: f64,
    /// How precision is integrated.
    pub interpolation: Interpolation,
    /// Whether "No finding" counts as a class. An image without truth boxes has the finding; its score is one
    /// minus the highest score of any detection in the image.
    pub include_no_finding: bool,
}

/// One detection after matching.
struct Outcome {
    score: f64,
    correct: bool,
}

impl KaggleAp {
    /// Mean over the classes that have truth boxes; `None` when none has.
    pub fn of(&self, images: &[ImageBoxes], classes: &[i32]) -> Option<f64> {
        let mut values: Vec<f64> = classes.iter().filter_map(|&c| self.class(images, c)).collect();
        if self.include_no_finding {
            values.extend(self.no_finding(images));
        }
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    fn class(&self, images: &[ImageBoxes], class_id: i32) -> Option<f64> {
        let mut outcomes = Vec::new();
        let mut total = 0;
        for image in images {
            let truths: Vec<_> = image.truths.iter().filter(|t| t.class_id == class_id).collect();
            total += truths.len();
            let mut found: Vec<_> = image.detections.iter().filter(|d| d.class_id == class_id).collect();
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            let mut taken = vec![false; truths.len()];
            for d in found {
                // A detection is compared with the truth box of highest IoU alone, taken or not.
                let mut best: Option<(usize, f64)> = None;
                for (g, t) in truths.iter().enumerate() {
                    let overlap = iou(&d.region, &t.region);
                    if best.is_none_or(|(_, most)| overlap > most) {
                        best = Some((g, overlap));
                    }
                }
                let correct =
                    best.is_some_and(|(g, overlap)| overlap > self.iou && !std::mem::replace(&mut taken[g], true));
                outcomes.push(Outcome { score: f64::from(d.score), correct });
            }
        }
        self.integrate(outcomes, total)
    }

    fn no_finding(&self, images: &[ImageBoxes]) -> Option<f64> {
        let highest = |i: &ImageBoxes| i.detections.iter().map(|d| f64::from(d.score)).fold(0.0, f64::max);
        let outcomes: Vec<Outcome> =
            images.iter().map(|i| Outcome { score: 1.0 - highest(i), correct: i.truths.is_empty() }).collect();
        let total = outcomes.iter().filter(|o| o.correct).count();
        self.integrate(outcomes, total)
    }

    fn integrate(&self, mut outcomes: Vec<Outcome>, total: usize) -> Option<f64> {
        if total == 0 {
            return None;
        }
        outcomes.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut correct = 0usize;
        let mut curve: Vec<(f64, f64)> = Vec::with_capacity(outcomes.len());
        for (n, outcome) in outcomes.iter().enumerate() {
            correct += usize::from(outcome.correct);
            curve.push((correct as f64 / total as f64, correct as f64 / (n + 1) as f64));
        }
        for i in (1..curve.len()).rev() {
            curve[i - 1].1 = curve[i - 1].1.max(curve[i].1);
        }
        Some(match self.interpolation {
            Interpolation::AllPoints => {
                let mut reached = 0.0;
                curve.iter().map(|&(r, p)| (r - std::mem::replace(&mut reached, r)) * p).sum()
            }
            Interpolation::Points101 => {
                let at = |i: usize| {
                    let wanted = i as f64 * 0.01;
                    curve.iter().find(|(r, _)| *r >= wanted).map_or(0.0, |c| c.1)
                };
                (0..=100).map(at).sum::<f64>() / 101.0
            }
        })
    }
}
