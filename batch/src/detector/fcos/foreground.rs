//! The outputs of all FCOS levels as one tensor each, and the points among them that are assigned to a target.

use rayon::prelude::*;
use tch::Tensor;

use crate::detector::fcos::assignment::{PointRule, assign};
use crate::detector::fcos::head::LevelOutputs;
use crate::detector::fcos::points::Point;
use crate::detector::target::Target;

/// The predictions of all levels, concatenated. `N`: points per image.
pub(super) struct Predictions {
    /// `[B, N, K]`.
    pub class_logits: Tensor,
    /// `[B * N, 4]`, strides.
    pub ltrb: Tensor,
    /// `[B * N]`.
    pub centerness: Tensor,
    /// `[B * N, 4]`.
    pub edge_logits: Option<Tensor>,
}

impl Predictions {
    pub fn new(levels: &[LevelOutputs]) -> Self {
        let cat = |of: &dyn Fn(&LevelOutputs) -> Tensor| Tensor::cat(&levels.iter().map(of).collect::<Vec<_>>(), 1);
        let edges = levels.iter().all(|o| o.edge_logits.is_some());
        let edge = |o: &LevelOutputs| o.edge_logits.as_ref().map_or_else(Tensor::new, Tensor::shallow_clone);
        Self {
            class_logits: cat(&|o| o.class_logits.shallow_clone()),
            ltrb: cat(&|o| o.ltrb.shallow_clone()).reshape([-1, 4]),
            centerness: cat(&|o| o.centerness.shallow_clone()).reshape([-1]),
            edge_logits: edges.then(|| cat(&edge).reshape([-1, 4])),
        }
    }

    pub fn classes(&self) -> i64 {
        self.class_logits.size()[2]
    }
}

/// The `P` points of a batch that are assigned to a target.
pub(super) struct Foreground {
    count: usize,
    /// i64 `[P]`: rows among the `B * N` points.
    pub rows: Tensor,
    /// i64 `[P]`: flat entries of the class logits whose target is 1.
    pub entries: Tensor,
    /// The same on the host.
    pub host_entries: Vec<i64>,
    /// f32 `[P, 3]`: x, y and stride.
    pub locations: Tensor,
    /// f32 `[P, 4]`: corners of the targets, model pixels.
    pub boxes: Tensor,
    /// f32 `[P, 4]`: the teacher's raw uncertainties of the edges; infinite where it gave none.
    pub edge_logits: Tensor,
}

impl Foreground {
    /// `targets`: one list per image.
    pub fn new(points: &[Point], targets: &[Vec<Target>], rule: PointRule, predictions: &Predictions) -> Self {
        let (classes, device) = (predictions.classes(), predictions.class_logits.device());
        let assigned: Vec<Vec<Option<usize>>> = targets.par_iter().map(|t| assign(points, t, rule)).collect();
        let (mut rows, mut entries, mut locations) = (Vec::new(), Vec::new(), Vec::new());
        let (mut boxes, mut edges) = (Vec::new(), Vec::new());
        for (image, (matches, targets)) in assigned.iter().zip(targets).enumerate() {
            for (i, matched) in matches.iter().enumerate() {
                let Some(target) = matched.map(|m| &targets[m]) else { continue };
                let row = (image * points.len() + i) as i64;
                rows.push(row);
                entries.push(row * classes + i64::from(target.class_id));
                locations.extend([points[i].x, points[i].y, points[i].stride]);
                boxes.extend(target.region.to_array());
                edges.extend(target.edge_logits.unwrap_or([f32::INFINITY; 4]));
            }
        }
        let table = |values: &[f32], width: i64| Tensor::from_slice(values).reshape([-1, width]).to_device(device);
        Self {
            count: rows.len(),
            rows: Tensor::from_slice(&rows).to_device(device),
            entries: Tensor::from_slice(&entries).to_device(device),
            host_entries: entries,
            locations: table(&locations, 3),
            boxes: table(&boxes, 4),
            edge_logits: table(&edges, 4),
        }
    }

    /// Number of foreground points, at least 1: what losses are divided by.
    pub fn divisor(&self) -> f64 {
        self.count.max(1) as f64
    }
}
