//! Configuration of the detector: model, training, annotation.

use serde::{Deserialize, Serialize};

/// The detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// The network.
    pub model: DetectorModelConfig,
    /// Its training.
    pub train: DetectorTrainConfig,
}

/// FCOS on a ResNet-FPN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorModelConfig {
    /// Depth of the ResNet: 18, 34, 50 or 101.
    pub depth: u32,
    /// Channels of the first stage; 64 is the published width.
    pub width: i64,
    /// Channels of the feature pyramid.
    pub fpn_channels: i64,
    /// Convolutions in each tower of the head.
    pub head_convs: i64,
    /// Side of the square input, pixels.
    pub input_side: u32,
    /// Candidates below this score are dropped before suppression.
    pub score_min: f64,
    /// Class-wise suppression above this IoU.
    pub nms_iou_max: f64,
    /// Candidates per pyramid level before suppression.
    pub candidates_per_level: i64,
    /// Detections per image at most.
    pub detections_per_image: usize,
}

/// Supervised training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorTrainConfig {
    /// Optimizer steps.
    pub steps: i64,
    /// Images per step.
    pub batch_size: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// SGD momentum.
    pub momentum: f64,
    /// Weight decay; none on norms and biases.
    pub weight_decay: f64,
    /// Linear warm-up, steps.
    pub warmup_steps: i64,
    /// Keep rate of the moving average that evaluation uses.
    pub ema_keep_rate: f64,
    /// Horizontal flips (they mirror the heart).
    pub hflip: bool,
    /// Validation every so many steps.
    pub eval_every: i64,
    /// Checkpoint every so many steps.
    pub save_every: i64,
    /// A log line every so many steps.
    pub log_every: i64,
}

/// Writing detections into the lake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnotateConfig {
    /// Boxes below this score are not written.
    pub score_floor: f64,
    /// Boxes from this score on are accepted.
    pub threshold: f64,
    /// Images per forward pass.
    pub batch_size: usize,
}
