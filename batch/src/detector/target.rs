//! Training targets of a detector: boxes of one image, annotated or pseudo-labels, and those of a batch as tensors.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Model;
use tch::{Device, Tensor};

/// A target box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Index of the class.
    pub class_id: i32,
    /// The bounding box, model pixels.
    pub region: BoxXyxy<Model>,
    /// 1 for an annotated box, the teacher's score for a pseudo-label.
    pub score: f32,
    /// The teacher's raw uncertainties of the edges (x_min, y_min, x_max, y_max).
    pub edge_logits: Option<[f32; 4]>,
}

impl Target {
    /// An annotated box.
    pub fn truth(class_id: i32, region: BoxXyxy<Model>) -> Self {
        Self { class_id, region, score: 1.0, edge_logits: None }
    }
}

/// Source of the target boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervision {
    /// Annotators.
    Labelled,
    /// The teacher: pseudo-labels.
    Pseudo,
}

/// Targets of a batch: boxes for the class losses and for the box losses (the same unless a teacher ranked them twice).
#[derive(Debug, Clone, Copy)]
pub struct BatchTargets<'a> {
    /// For the class losses: one list per image, which may be empty.
    pub classes: &'a [Vec<Target>],
    /// For the box losses: one list per image.
    pub edges: &'a [Vec<Target>],
    /// Ignore regions: inside, their class (in Faster R-CNN: any class) is neither a positive nor a negative example.
    /// One list per image, or no list.
    pub ignored: &'a [Vec<Target>],
    pub supervision: Supervision,
}

impl<'a> BatchTargets<'a> {
    /// Annotated boxes.
    pub fn labelled(boxes: &'a [Vec<Target>]) -> Self {
        Self { classes: boxes, edges: boxes, ignored: &[], supervision: Supervision::Labelled }
    }
}

/// Boxes of a batch, padded to the same number per image, at least one.
#[derive(Debug)]
pub struct PaddedTargets {
    /// f32 `[B, G, 4]`, model pixels.
    pub boxes: Tensor,
    /// f32 `[B, G]`, 0 in the padding.
    pub scores: Tensor,
    /// bool `[B, G]`, false in the padding.
    pub present: Tensor,
}

impl PaddedTargets {
    /// From one list per image; boxes without area are left out.
    pub fn new(targets: &[Vec<Target>], device: Device) -> Self {
        let count = targets.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let (mut boxes, mut scores, mut present) = (Vec::new(), Vec::new(), Vec::new());
        for image in targets {
            let proper = image.iter().filter(|t| t.region.is_proper());
            let before = present.len();
            for target in proper {
                boxes.extend(target.region.to_array());
                scores.push(target.score);
                present.push(true);
            }
            present.resize(before + count, false);
            scores.resize(before + count, 0.0);
            boxes.resize((before + count) * 4, 0.0);
        }
        let shape = [targets.len() as i64, count as i64];
        Self {
            boxes: Tensor::from_slice(&boxes).view([shape[0], shape[1], 4]).to_device(device),
            scores: Tensor::from_slice(&scores).view(shape).to_device(device),
            present: Tensor::from_slice(&present).view(shape).to_device(device),
        }
    }
}
