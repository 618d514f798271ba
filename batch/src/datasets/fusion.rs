//! Weighted Boxes Fusion (Solovyev et al. 2021): the boxes that several annotators drew in one image, as one list.
//! Per class, boxes join the fused box with the highest IoU; a fused box is the score-weighted mean of its members.
//! Coordinates are fractions of the image, 0 to 1; inputs are clipped to it. The order of the annotators' boxes matters
//! only between equal scores: the later input goes first, as in the published implementation.

use std::collections::BTreeSet;

/// Boxes of one image that are fused or compared. Every two boxes may be compared, so their number is bounded; annotators
/// draw tens of boxes in a radiograph, detectors list hundreds.
pub const BOXES_PER_IMAGE_MAX: usize = 10_000;

/// How a fused box's score follows from its members'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Mean, scaled by boxes per annotator (at most 1 unless `allows_overflow`).
    Avg,
    /// Largest.
    Max,
    /// Weighted mean, scaled by the weight of the distinct annotators that contributed.
    BoxAndModelAvg,
    /// Weighted mean in which annotators without a box count as a score of 0.
    AbsentModelAwareAvg,
}

/// Parameters of the fusion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    /// A box joins a fused box above this IoU (strictly).
    pub iou_min: f64,
    /// Boxes below this score are left out.
    pub score_min: f64,
    pub confidence: Confidence,
    /// With [`Confidence::Avg`]: several boxes of one annotator may raise the score above 1.
    pub allows_overflow: bool,
}

impl Fusion {
    /// Fusion of annotators with equal weights and no scores: the fused score is the share of the annotators that
    /// marked the lesion, each counted once.
    pub fn of_annotators(iou_min: f64) -> Self {
        Self { iou_min, score_min: 0.0, confidence: Confidence::BoxAndModelAvg, allows_overflow: false }
    }
}

/// One box of one annotator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnnotatedBox {
    /// VinDr class id.
    pub label: i32,
    /// Confidence of the annotator or model.
    pub score: f64,
    /// `[x_min, y_min, x_max, y_max]`, fractions of the image.
    pub xyxy: [f64; 4],
}

/// All boxes of one annotator in the image; an empty list is a normal reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotator {
    /// Weight of the annotator's scores.
    pub weight: f64,
    pub boxes: Vec<AnnotatedBox>,
}

/// A lesion fused from the annotators' boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct Fused {
    /// VinDr class id.
    pub label: i32,
    /// See [`Confidence`].
    pub score: f64,
    /// `[x_min, y_min, x_max, y_max]`, fractions of the image.
    pub xyxy: [f64; 4],
    /// `(annotator, box)` of each member, as indices of the input.
    pub members: Vec<(usize, usize)>,
    /// Distinct annotators among the members.
    pub n_annotators: usize,
}

/// A box on its way into a cluster.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    label: i32,
    /// Score times weight.
    score: f64,
    weight: f64,
    annotator: usize,
    index: usize,
    xyxy: [f64; 4],
}

/// Boxes that are one lesion so far. Sums are kept, so that a further member costs the same whatever their number.
#[derive(Debug)]
struct Cluster {
    members: Vec<Candidate>,
    score: f64,
    weight: f64,
    xyxy: [f64; 4],
    sums: Sums,
}

/// Sums over the members of a cluster, in the order in which they joined.
#[derive(Debug)]
struct Sums {
    /// Score times coordinate, rounded to single precision at each step.
    weighted: [f64; 4],
    /// Coordinates alone, for members whose scores are all 0.
    plain: [f64; 4],
    score: f64,
    weight: f64,
    largest: f64,
}

impl Sums {
    const NONE: Self = Self { weighted: [0.0; 4], plain: [0.0; 4], score: 0.0, weight: 0.0, largest: f64::MIN };

    fn add(&mut self, member: &Candidate) {
        for (c, v) in member.xyxy.into_iter().enumerate() {
            self.weighted[c] = single(self.weighted[c] + member.score * v);
            self.plain[c] += v;
        }
        self.score += member.score;
        self.weight += member.weight;
        self.largest = self.largest.max(member.score);
    }
}

/// Rounded to single precision.
fn single(v: f64) -> f64 {
    f64::from(v as f32)
}

/// Fuses the annotators' boxes. The result is in order of falling score; among equal scores the later cluster first.
/// Boxes with non-finite numbers, without area, or below `score_min` are left out.
pub fn fuse(annotators: &[Annotator], fusion: &Fusion) -> Vec<Fused> {
    let mut classes: Vec<(i32, Vec<Candidate>)> = Vec::new();
    for candidate in candidates(annotators, fusion.score_min) {
        match classes.iter_mut().find(|(label, _)| *label == candidate.label) {
            Some((_, list)) => list.push(candidate),
            None => classes.push((candidate.label, vec![candidate])),
        }
    }
    let mut fused = Vec::new();
    for (label, mut list) in classes {
        list.sort_by(|a, b| a.score.total_cmp(&b.score));
        list.reverse();
        for cluster in clusters(list, fusion) {
            let distinct: BTreeSet<usize> = cluster.members.iter().map(|m| m.annotator).collect();
            fused.push(Fused {
                label,
                score: rescaled(&cluster, &distinct, annotators, fusion),
                xyxy: cluster.xyxy,
                members: cluster.members.iter().map(|m| (m.annotator, m.index)).collect(),
                n_annotators: distinct.len(),
            });
        }
    }
    fused.sort_by(|a, b| a.score.total_cmp(&b.score));
    fused.reverse();
    fused
}

fn candidates(annotators: &[Annotator], score_min: f64) -> impl Iterator<Item = Candidate> + '_ {
    annotators.iter().enumerate().flat_map(move |(annotator, a)| {
        a.boxes.iter().enumerate().filter_map(move |(index, b)| {
            let [x0, y0, x1, y1] = b.xyxy;
            let finite = b.xyxy.iter().all(|v| v.is_finite()) && b.score.is_finite();
            if !finite || b.score < score_min {
                return None;
            }
            let clip = |v: f64| v.clamp(0.0, 1.0);
            let xyxy = [clip(x0.min(x1)), clip(y0.min(y1)), clip(x0.max(x1)), clip(y0.max(y1))];
            let area = (xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1]);
            (area != 0.0).then_some(Candidate {
                label: b.label,
                score: b.score * a.weight,
                weight: a.weight,
                annotator,
                index,
                xyxy,
            })
        })
    })
}

/// Greedy clustering of one class's boxes, which come in order of falling score.
fn clusters(list: Vec<Candidate>, fusion: &Fusion) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for candidate in list {
        let mut best: Option<(usize, f64)> = None;
        for (k, cluster) in clusters.iter().enumerate() {
            let overlap = iou(&cluster.xyxy, &candidate.xyxy);
            if overlap > best.map_or(fusion.iou_min, |(_, o)| o) {
                best = Some((k, overlap));
            }
        }
        match best {
            Some((k, _)) => clusters[k].join(candidate, fusion.confidence),
            None => clusters.push(Cluster::of(candidate)),
        }
    }
    clusters
}

impl Cluster {
    fn of(first: Candidate) -> Self {
        let mut sums = Sums::NONE;
        sums.add(&first);
        Self { members: vec![first], score: first.score, weight: first.weight, xyxy: first.xyxy, sums }
    }

    /// Adds a member; box and score follow. Sums are rounded to single precision at each step, as in the published
    /// implementation, so that later overlaps fall on the same side of the threshold.
    fn join(&mut self, member: Candidate, confidence: Confidence) {
        self.sums.add(&member);
        self.members.push(member);
        let n = self.members.len() as f64;
        let sums = &self.sums;
        if sums.score > 0.0 {
            self.xyxy = sums.weighted.map(|sum| single(sum / sums.score));
        } else {
            // All scores 0: a weighted mean does not exist, the plain one does.
            self.xyxy = sums.plain.map(|sum| sum / n);
        }
        self.score = single(if confidence == Confidence::Max { sums.largest } else { sums.score / n });
        self.weight = single(sums.weight);
    }
}

fn rescaled(cluster: &Cluster, distinct: &BTreeSet<usize>, annotators: &[Annotator], fusion: &Fusion) -> f64 {
    let n = cluster.members.len() as f64;
    let all: f64 = annotators.iter().map(|a| a.weight).sum();
    let present: f64 = distinct.iter().map(|&a| annotators[a].weight).sum();
    let scaled = match fusion.confidence {
        Confidence::Avg if fusion.allows_overflow => cluster.score * n / all,
        Confidence::Avg => cluster.score * n.min(annotators.len() as f64) / all,
        Confidence::Max => cluster.score / annotators.iter().map(|a| a.weight).fold(f64::MIN, f64::max),
        Confidence::BoxAndModelAvg => cluster.score * n / cluster.weight * present / all,
        Confidence::AbsentModelAwareAvg => cluster.score * n / (cluster.weight + (all - present)),
    };
    if scaled.is_finite() { scaled } else { 0.0 }
}

fn iou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let w = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let h = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let area = |c: &[f64; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let union = area(a) + area(b) - w * h;
    if union > 0.0 { w * h / union } else { 0.0 }
}

#[cfg(test)]
mod tests;
