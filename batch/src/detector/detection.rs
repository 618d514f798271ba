//! A detection: bounding box, class, score and, in the `utv2` profile, an uncertainty of each edge.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::{Letterbox, Model, Original};

/// A box that a detector found. `S` is the pixel space of the box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection<S> {
    /// Index of the class.
    pub class_id: i32,
    /// 0 to 1. Faster R-CNN: class probability; FCOS: square root of class probability times centre-ness.
    pub score: f32,
    /// The bounding box, pixels of `S`.
    pub region: BoxXyxy<S>,
    /// Raw uncertainties of the edges, before the sigmoid; `None` without the `utv2` profile.
    pub edge_logits: Option<[f32; 4]>,
    /// Standard deviations of the edges (x_min, y_min, x_max, y_max), pixels of `S`.
    pub edge_stds: Option<[f32; 4]>,
}

impl Detection<Model> {
    /// The detection in the radiograph's pixels, clipped to it; `None` when nothing of the box is inside.
    pub fn in_original(&self, letterbox: &Letterbox) -> Option<Detection<Original>> {
        let region = letterbox.original_from_model(&self.region);
        let (x, y) = (1.0 / letterbox.scale_x, 1.0 / letterbox.scale_y);
        let edge_stds = self.edge_stds.map(|[a, b, c, d]| [a * x, b * y, c * x, d * y]);
        let Detection { class_id, score, edge_logits, .. } = *self;
        region.is_proper().then_some(Detection { class_id, score, region, edge_logits, edge_stds })
    }
}

/// A teacher's detections of a batch, one list per image.
#[derive(Debug, Clone)]
pub struct PseudoBoxes {
    /// Ranked by class probability.
    pub classes: Vec<Vec<Detection<Model>>>,
    /// Ranked by the certainty of the edges; the same boxes where the architecture ranks once.
    pub edges: Vec<Vec<Detection<Model>>>,
}
