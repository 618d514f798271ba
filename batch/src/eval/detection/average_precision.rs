//! Average precision after the COCO protocol (pycocotools' `COCOeval`).
//! Truths and detections of each image in, figures out. Matching is local to an image, so it is done once and
//! the curves are computed from ranked outcomes; resampling images only changes weights.
//! Crowd regions do not exist in radiographs and are left out. An image without boxes is an ordinary image.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Original;
use rayon::prelude::*;

pub use crate::eval::detection::image_boxes::{ImageBoxes, ScoredBox, TruthBox, by_image};
use crate::eval::detection::image_boxes::{area, iou};

const THRESHOLDS: usize = 10;
const RECALL_POINTS: usize = 101;
/// Most detections of one class in one image that count.
const MAX_DETECTIONS: usize = 100;
/// All, small, medium, large.
const AREAS: [AreaRange; 4] = [
    AreaRange { min: 0.0, max: 1e10 },
    AreaRange { min: 0.0, max: 1024.0 },
    AreaRange { min: 1024.0, max: 9216.0 },
    AreaRange { min: 9216.0, max: 1e10 },
];

/// Areas of boxes, square pixels, both ends inside.
#[derive(Debug, Clone, Copy)]
struct AreaRange {
    min: f64,
    max: f64,
}

/// `start + i * step`, the last exactly `stop`: the rounding that the reference implementation's grid has.
fn grid<const N: usize>(start: f64, stop: f64) -> [f64; N] {
    let step = (stop - start) / (N - 1) as f64;
    std::array::from_fn(|i| if i + 1 == N { stop } else { i as f64 * step + start })
}

/// COCO's twelve figures (0 to 1) without area-wise recall, and those of each class. `None`: no truth box to find.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CocoFigures {
    /// Mean over the IoU thresholds .50:.05:.95 and over the classes with truth boxes.
    pub ap: Option<f64>,
    /// AP at IoU 0.5.
    pub ap50: Option<f64>,
    /// AP at IoU 0.75.
    pub ap75: Option<f64>,
    /// Truth boxes below 32 x 32 pixels.
    pub ap_small: Option<f64>,
    /// Truth boxes of 32 x 32 to 96 x 96 pixels.
    pub ap_medium: Option<f64>,
    /// Truth boxes above 96 x 96 pixels.
    pub ap_large: Option<f64>,
    /// Mean recall with one detection per class and image.
    pub ar1: Option<f64>,
    /// Mean recall with 10 detections.
    pub ar10: Option<f64>,
    /// Mean recall with 100 detections.
    pub ar100: Option<f64>,
    /// One entry per class, in the order of the argument.
    pub per_class: Vec<ClassAp>,
}

/// The figures of one class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassAp {
    pub class_id: i32,
    /// Number of truth boxes.
    pub truths: usize,
    /// Mean over the IoU thresholds.
    pub ap: Option<f64>,
    /// AP at IoU 0.5.
    pub ap50: Option<f64>,
    /// Share of the truth boxes found at IoU 0.5 by at most 100 detections per image.
    pub recall50: Option<f64>,
}

/// One detection after matching; bit `t` belongs to IoU threshold `t`.
struct Ranked {
    image: u32,
    /// Rank in its image, from 0.
    position: u32,
    score: f32,
    matched: u16,
    ignored: u16,
}

/// One class in one area range: detections by descending score, and truth boxes per image.
struct Ranking {
    detections: Vec<Ranked>,
    truths_of_image: Vec<u32>,
}

/// Interpolated precision at 101 recalls, and the highest recall.
struct Curve {
    precision: [f64; RECALL_POINTS],
    recall: f64,
}

impl Ranking {
    fn new(images: &[ImageBoxes], class_id: i32, areas: AreaRange) -> Self {
        let mut detections = Vec::new();
        let mut truths_of_image = vec![0; images.len()];
        for (i, image) in images.iter().enumerate() {
            truths_of_image[i] = match_image(image, class_id, areas, i as u32, &mut detections);
        }
        // Stable: equal scores stay in image order.
        detections.sort_by(|a: &Ranked, b: &Ranked| b.score.total_cmp(&a.score));
        Self { detections, truths_of_image }
    }

    /// The curve at threshold `t`, counting image `i` `weights[i]` times; `None` without truth boxes.
    fn curve(&self, t: usize, max_detections: usize, weights: Option<&[u32]>) -> Option<Curve> {
        let weight = |image: usize| weights.map_or(1, |w| w[image]);
        let truths: u64 = self.truths_of_image.iter().enumerate().map(|(i, &n)| u64::from(n * weight(i))).sum();
        if truths == 0 {
            return None;
        }
        let bit = 1u16 << t;
        let (mut tp, mut fp) = (0u64, 0u64);
        let mut points: Vec<(f64, f64)> = Vec::with_capacity(self.detections.len());
        for d in self.detections.iter().filter(|d| (d.position as usize) < max_detections) {
            let w = u64::from(weight(d.image as usize));
            if w == 0 {
                continue;
            }
            if d.ignored & bit == 0 {
                if d.matched & bit != 0 {
                    tp += w;
                } else {
                    fp += w;
                }
            }
            points.push((tp as f64 / truths as f64, tp as f64 / (fp as f64 + tp as f64 + f64::EPSILON)));
        }
        let recall = points.last().map_or(0.0, |p| p.0);
        monotone_from_the_right(&mut points);
        let mut precision = [0.0; RECALL_POINTS];
        let mut next = 0;
        for (value, wanted) in precision.iter_mut().zip(grid::<RECALL_POINTS>(0.0, 1.0)) {
            while next < points.len() && points[next].0 < wanted {
                next += 1;
            }
            let Some(point) = points.get(next) else { break };
            *value = point.1;
        }
        Some(Curve { precision, recall })
    }

    fn ap(&self, t: usize, weights: Option<&[u32]>) -> Option<f64> {
        self.curve(t, MAX_DETECTIONS, weights).map(|c| c.precision.iter().sum::<f64>() / RECALL_POINTS as f64)
    }
}

fn monotone_from_the_right(points: &mut [(f64, f64)]) {
    for i in (1..points.len()).rev() {
        points[i - 1].1 = points[i - 1].1.max(points[i].1);
    }
}

/// Detections of one class, best first; ties keep their order.
fn ranked_detections(image: &ImageBoxes, class_id: i32) -> Vec<&ScoredBox> {
    let mut found: Vec<&ScoredBox> = image.detections.iter().filter(|d| d.class_id == class_id).collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

/// Matches one image and class, appends its detections, returns the number of truth boxes that count.
fn match_image(image: &ImageBoxes, class_id: i32, areas: AreaRange, index: u32, out: &mut Vec<Ranked>) -> u32 {
    let outside = |b: &BoxXyxy<Original>| area(b) < areas.min || area(b) > areas.max;
    let mut truths: Vec<(&TruthBox, bool)> =
        image.truths.iter().filter(|t| t.class_id == class_id).map(|t| (t, outside(&t.region))).collect();
    // Ignored truth boxes come last: a match with a counting one is preferred.
    truths.sort_by_key(|&(_, ignored)| ignored);
    let mut found = ranked_detections(image, class_id);
    found.truncate(MAX_DETECTIONS);
    let first = out.len();
    for (position, d) in found.iter().enumerate() {
        out.push(Ranked { image: index, position: position as u32, score: d.score, matched: 0, ignored: 0 });
    }
    let overlaps: Vec<f64> = found.iter().flat_map(|d| truths.iter().map(|(t, _)| iou(&d.region, &t.region))).collect();
    for (t, threshold) in grid::<THRESHOLDS>(0.5, 0.95).into_iter().enumerate() {
        let bit = 1u16 << t;
        let mut taken = vec![false; truths.len()];
        for (i, d) in found.iter().enumerate() {
            let row = &overlaps[i * truths.len()..(i + 1) * truths.len()];
            let ranked = &mut out[first + i];
            match best_truth(row, &truths, &taken, threshold) {
                Some(g) => {
                    taken[g] = true;
                    ranked.matched |= bit;
                    ranked.ignored |= if truths[g].1 { bit } else { 0 };
                }
                None if outside(&d.region) => ranked.ignored |= bit,
                None => {}
            }
        }
    }
    truths.iter().filter(|(_, ignored)| !ignored).count() as u32
}

/// The free truth box of highest IoU at or above the threshold, counting ones before ignored ones, the later
/// one in a tie.
fn best_truth(overlaps: &[f64], truths: &[(&TruthBox, bool)], taken: &[bool], threshold: f64) -> Option<usize> {
    let mut least = threshold.min(1.0 - 1e-10);
    let mut best: Option<usize> = None;
    for (g, &(_, ignored)) in truths.iter().enumerate() {
        if taken[g] {
            continue;
        }
        if ignored && best.is_some_and(|b| !truths[b].1) {
            break;
        }
        if overlaps[g] >= least {
            least = overlaps[g];
            best = Some(g);
        }
    }
    best
}

/// Matched boxes of a set of images, ready for figures.
pub struct Coco {
    classes: Vec<i32>,
    images: usize,
    /// `[area][class]`.
    rankings: Vec<Vec<Ranking>>,
}

impl Coco {
    /// Matches detections with truth boxes, for the classes given.
    pub fn new(images: &[ImageBoxes], classes: &[i32]) -> Self {
        let one = |&areas: &AreaRange| -> Vec<Ranking> {
            classes.par_iter().map(|&class_id| Ranking::new(images, class_id, areas)).collect()
        };
        Self { classes: classes.to_vec(), images: images.len(), rankings: AREAS.iter().map(one).collect() }
    }

    /// Number of images, the length of a weights slice.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Mean AP over the classes with truth boxes, over all thresholds (`None`) or at one (0 is IoU 0.5),
    /// counting image `i` `weights[i]` times.
    pub fn mean_ap(&self, threshold: Option<usize>, weights: Option<&[u32]>) -> Option<f64> {
        let (first, last) = threshold.map_or((0, THRESHOLDS), |t| (t, t + 1));
        mean(self.rankings[0].iter().flat_map(|r| (first..last).map(move |t| r.ap(t, weights))))
    }

    /// Precision at the recalls 0, 0.01 .. 1 of the class at `class_index`, at threshold index `t`.
    pub fn precision_curve(&self, class_index: usize, t: usize) -> Option<Vec<f64>> {
        self.rankings[0].get(class_index)?.curve(t, MAX_DETECTIONS, None).map(|c| c.precision.to_vec())
    }

    /// Free-response curve at threshold index `t`, classes pooled: (false positives per image, share of truth boxes
    /// found), by descending score. Empty without truth boxes or without images.
    pub fn froc(&self, t: usize) -> Vec<(f64, f64)> {
        let all = &self.rankings[0];
        let truths: u32 = all.iter().flat_map(|r| &r.truths_of_image).sum();
        if truths == 0 || self.images == 0 {
            return Vec::new();
        }
        let mut ranked: Vec<&Ranked> = all.iter().flat_map(|r| &r.detections).collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        let (mut tp, mut fp) = (0u32, 0u32);
        let mut points = Vec::with_capacity(ranked.len());
        for (i, d) in ranked.iter().enumerate() {
            if d.matched & (1 << t) != 0 {
                tp += 1;
            } else {
                fp += 1;
            }
            // Equal scores are one step: no threshold separates them.
            if ranked.get(i + 1).is_none_or(|next| next.score != d.score) {
                points.push((f64::from(fp) / self.images as f64, f64::from(tp) / f64::from(truths)));
            }
        }
        points
    }

    pub fn figures(&self) -> CocoFigures {
        let all = &self.rankings[0];
        let ap_in = |area: usize| mean(self.rankings[area].iter().flat_map(|r| (0..THRESHOLDS).map(|t| r.ap(t, None))));
        let recall = |most: usize| {
            mean(all.iter().flat_map(|r| (0..THRESHOLDS).map(move |t| r.curve(t, most, None).map(|c| c.recall))))
        };
        let class = |(&class_id, r): (&i32, &Ranking)| ClassAp {
            class_id,
            truths: r.truths_of_image.iter().map(|&n| n as usize).sum(),
            ap: mean((0..THRESHOLDS).map(|t| r.ap(t, None))),
            ap50: r.ap(0, None),
            recall50: r.curve(0, MAX_DETECTIONS, None).map(|c| c.recall),
        };
        CocoFigures {
            ap: ap_in(0),
            ap50: self.mean_ap(Some(0), None),
            ap75: self.mean_ap(Some(5), None),
            ap_small: ap_in(1),
            ap_medium: ap_in(2),
            ap_large: ap_in(3),
            ar1: recall(1),
            ar10: recall(10),
            ar100: recall(MAX_DETECTIONS),
            per_class: self.classes.iter().zip(all).map(class).collect(),
        }
    }
}

/// COCO figures in one call.
pub fn coco(images: &[ImageBoxes], classes: &[i32]) -> CocoFigures {
    Coco::new(images, classes).figures()
}

/// Mean of the values that exist.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, n) = values.flatten().fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests;
