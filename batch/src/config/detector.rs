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

/// The norm of the backbone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackboneNorm {
    /// Trained batch normalisation: for training from scratch.
    Batch,
    /// Fixed statistics and scale: for imported weights and small batches.
    FrozenBatch,
}

/// The optimizer's rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// SGD with momentum.
    Sgd,
    /// Adam; `momentum` is its first decay.
    Adam,
}

/// FCOS on a ResNet-FPN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorModelConfig {
    /// Depth of the ResNet: 18, 34, 50 or 101.
    pub depth: u32,
    /// Channels of the first stage; 64 is the published width.
    pub width: i64,
    /// Norm of the backbone.
    pub norm: BackboneNorm,
    /// Finest level of the pyramid: 3 (stride 8) as published, 2 (stride 4) for small lesions.
    pub min_level: usize,
    /// Channels of the feature pyramid.
    pub fpn_channels: i64,
    /// Convolutions in each tower of the head.
    pub head_convs: i64,
    /// Groups of the head's GroupNorms; a divisor of `fpn_channels`.
    pub head_groups: i64,
    /// Side of the square input, pixels; a multiple of 32.
    pub input_side: u32,
    /// Subtracted from grey levels on the scale 0 to 1.
    pub input_mean: f32,
    /// Divides what is left.
    pub input_std: f32,
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
    /// Rule of the optimizer.
    pub optimizer: OptimizerKind,
    /// Peak learning rate.
    pub lr: f64,
    /// Share of the peak rate at the end of the cosine.
    pub lr_floor: f64,
    /// SGD momentum, or Adam's first decay.
    pub momentum: f64,
    /// Weight decay; none on norms and biases.
    pub weight_decay: f64,
    /// Linear warm-up, steps.
    pub warmup_steps: i64,
    /// The joint norm of all gradients is clipped to this; 0 leaves them.
    pub clip_norm: f64,
    /// Keep rate of the moving average that evaluation uses.
    pub ema_keep_rate: f64,
    /// Images with classes in fewer than this share of the images are drawn more often (repeat factors); 0 draws all
    /// equally.
    pub rare_share: f64,
    /// Weak augmentation.
    pub augment: AugmentConfig,
    /// Decoded training images kept in memory at most, MiB; the rest is decoded again each time.
    pub cache_mib: u64,
    /// Validation every so many steps.
    pub eval_every: i64,
    /// Checkpoint every so many steps.
    pub save_every: i64,
    /// A log line every so many steps.
    pub log_every: i64,
}

/// Weak augmentation of training images; each range is drawn from uniformly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentConfig {
    /// Size is multiplied by up to 1 plus or minus this.
    pub scale: f32,
    /// Moved by up to this share of the side, along each axis.
    pub shift: f32,
    /// Horizontal flips (they mirror the heart).
    pub hflip: bool,
    /// Added to grey levels on the scale 0 to 1, plus or minus.
    pub brightness: f32,
    /// Contrast is multiplied by up to 1 plus or minus this.
    pub contrast: f32,
    /// The exponent of grey levels is up to 1 plus or minus this.
    pub gamma: f32,
    /// Largest standard deviation of the noise, on the scale 0 to 1.
    pub noise: f32,
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
