//! Configuration of the detector: model, training, annotation.

use d2r_contracts::preprocess::Fit;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    pub model: DetectorModelConfig,
    pub train: DetectorTrainConfig,
}

impl DetectorConfig {
    /// The shortest edges of a split's images: those of multi-scale training of the split that is trained on.
    pub fn short_edges(&self, split: &str) -> Option<ShortEdges> {
        self.train.short_edges.filter(|_| split == "train")
    }

    /// # Errors
    /// [`Error::Config`] for multi-scale training of letterboxed squares.
    pub fn check_scales(&self) -> Result<()> {
        if self.train.short_edges.is_none() || self.model.fit == Fit::ShortEdge {
            return Ok(());
        }
        let problem =
            "letterboxed squares have one size: set detector.model.input to \"short_edge\", or this to \"geometric\"";
        Err(Error::Config { place: "detector.train.augment".into(), problem: problem.into() })
    }
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

/// The kind of detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// One stage, a prediction per point.
    Fcos,
    /// Two stages, a prediction per proposal.
    FasterRcnn,
}

impl Architecture {
    /// The published IoU above which detections of one class are suppressed.
    pub fn nms_iou_max(self) -> f64 {
        match self {
            Self::Fcos => 0.6,
            Self::FasterRcnn => 0.5,
        }
    }
}

/// The published code whose conventions a detector follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Torchvision's.
    Torchvision,
    /// Those of Unbiased Teacher v2, with an uncertainty for each edge of a box.
    Utv2,
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

/// What Faster R-CNN needs beside the backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RcnnConfig {
    /// 3x3 convolutions before the proposal network's outputs.
    pub rpn_convs: i64,
    /// 3x3 convolutions in the box head, followed by one fully connected layer; 0: two fully connected layers alone.
    pub box_convs: i64,
    /// Width of the fully connected layers.
    pub box_features: i64,
    /// Batch norms in the feature pyramid.
    pub fpn_norm: bool,
    /// Candidates per level before suppression in training.
    pub candidates_train: i64,
    /// Candidates per level before suppression at inference.
    pub candidates_eval: i64,
    /// Proposals per image after suppression in training.
    pub proposals_train: i64,
    /// Proposals per image after suppression at inference.
    pub proposals_eval: i64,
    /// Anchors per image that enter the proposal network's loss.
    pub anchors_per_image: i64,
    /// Regions per image that enter the second stage's loss.
    pub rois_per_image: usize,
}

impl RcnnConfig {
    /// Torchvision's `fasterrcnn_resnet50_fpn`, with detectron2's 1000 proposals in training (torchvision has 2000).
    pub fn torchvision_v1() -> Self {
        Self {
            rpn_convs: 1,
            box_convs: 0,
            box_features: 1024,
            fpn_norm: false,
            candidates_train: 2000,
            candidates_eval: 1000,
            proposals_train: 1000,
            proposals_eval: 1000,
            anchors_per_image: 256,
            rois_per_image: 512,
        }
    }

    /// Torchvision's `fasterrcnn_resnet50_fpn_v2`, with the same numbers of proposals.
    pub fn torchvision_v2() -> Self {
        Self { rpn_convs: 2, box_convs: 4, fpn_norm: true, ..Self::torchvision_v1() }
    }
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine.
    Cosine,
    /// By a factor at each milestone.
    Steps,
}

/// A detector on a ResNet-FPN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorModelConfig {
    /// FCOS or Faster R-CNN.
    pub architecture: Architecture,
    /// The published code whose conventions apply.
    pub profile: Profile,
    /// Depth of the ResNet: 18, 34, 50 or 101.
    pub depth: u32,
    /// Channels of the first stage; 64 is the published width.
    pub width: i64,
    /// Norm of the backbone.
    pub norm: BackboneNorm,
    /// A bottleneck's stride in its first convolution, as the MSRA weights expect it.
    pub stride_in_1x1: bool,
    /// Stages of the backbone that are not trained, from the stem on; 2 with imported weights, as published.
    pub frozen_stages: usize,
    /// Finest level of FCOS's pyramid: 3 (stride 8) as published, 2 (stride 4) for small lesions.
    pub min_level: usize,
    /// Channels of the feature pyramid.
    pub fpn_channels: i64,
    /// Convolutions in each tower of FCOS's head.
    pub head_convs: i64,
    /// Groups of the head's GroupNorms; a divisor of `fpn_channels`.
    pub head_groups: i64,
    /// Size of the square input, a multiple of 32, or of the shortest edge at inference; pixels.
    pub input_size: u32,
    /// How an image gets this size. A letterbox is left out: cards of earlier versions do not name it.
    #[serde(default = "letterbox", skip_serializing_if = "is_letterbox")]
    pub fit: Fit,
    /// Subtracted from grey levels on the scale 0 to 1.
    pub input_mean: f32,
    /// Divides the result of the subtraction.
    pub input_std: f32,
    /// Faster R-CNN's sizes.
    pub rcnn: RcnnConfig,
    /// Keep the gradient out of the overlap that weights the likelihood of the edges (utv2).
    pub detach_iou: bool,
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
    /// Share of the training images whose boxes are used.
    pub labelled_share: f64,
    /// Seed of their choice, independent of the run's seed: detectors of an ensemble are trained on the same images.
    pub labelled_seed: u64,
    /// Optimizer steps.
    pub steps: i64,
    /// Images per step.
    pub batch_size: usize,
    /// Rule of the optimizer.
    pub optimizer: OptimizerKind,
    /// Peak learning rate.
    pub lr: f64,
    /// How it falls.
    pub schedule: Schedule,
    /// Share of the peak rate at the end of the cosine.
    pub lr_floor: f64,
    /// Steps at which a stepwise schedule multiplies the rate.
    pub milestones: Vec<i64>,
    /// The multiplier at each milestone.
    pub milestone_factor: f64,
    /// SGD momentum, or Adam's first decay.
    pub momentum: f64,
    /// Weight decay; none on norms, and on biases in profile `utv2` alone.
    pub weight_decay: f64,
    /// Linear warm-up, steps.
    pub warmup_steps: i64,
    /// The joint norm of all gradients is clipped to this; 0 does not clip.
    pub clip_norm: f64,
    /// Keep rate of the moving average that evaluation uses.
    pub ema_keep_rate: f64,
    /// Images with classes in fewer than this share of the images are drawn more often (repeat factors); 0 draws all
    /// equally.
    pub rare_share: f64,
    /// Weak augmentation.
    pub augment: AugmentConfig,
    /// Multi-scale training; without, every image has the size that it has at inference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_edges: Option<ShortEdges>,
    /// Decoded training images kept in memory at most, MiB; the rest is decoded again each time.
    pub cache_mib: u64,
    /// Steps between validations.
    pub eval_every: i64,
    /// Steps between checkpoints.
    pub save_every: i64,
    /// Steps between log lines.
    pub log_every: i64,
    /// Virtual shards of a batch; 1 is left out, so that it does not change the work keys.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: usize,
}

/// The fit of cards that name none.
fn letterbox() -> Fit {
    Fit::Letterbox
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_letterbox(fit: &Fit) -> bool {
    *fit == Fit::Letterbox
}

/// The shortest edges that multi-scale training draws from: every integer of the range, as detectron2's
/// `MIN_SIZE_TRAIN_SAMPLING = "range"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShortEdges {
    /// Smallest one, pixels.
    pub least: u32,
    /// Largest one, pixels.
    pub most: u32,
}

/// Virtual shards where nothing else is said.
pub(super) fn one() -> usize {
    1
}

/// Whether a batch is one shard.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_one(shards: &usize) -> bool {
    *shards == 1
}

/// Augmentation of training images; each range is drawn from uniformly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentConfig {
    /// Size is multiplied by up to 1 plus or minus this.
    pub scale: f32,
    /// Translation along each axis, up to this share of the image's size.
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

impl AugmentConfig {
    /// No change, apart from flips where `hflip`.
    pub fn none(hflip: bool) -> Self {
        Self { scale: 0.0, shift: 0.0, hflip, brightness: 0.0, contrast: 0.0, gamma: 0.0, noise: 0.0 }
    }

    /// Scale and translation.
    pub fn geometric(hflip: bool) -> Self {
        Self { scale: 0.15, shift: 0.06, ..Self::none(hflip) }
    }

    /// Scale, translation, brightness, contrast, gamma and noise.
    pub fn full(hflip: bool) -> Self {
        Self { brightness: 0.08, contrast: 0.15, gamma: 0.15, noise: 0.02, ..Self::geometric(hflip) }
    }
}

/// Writing detections into the lake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnotateConfig {
    /// Boxes below this score are not written.
    pub score_floor: f64,
    /// Boxes above this score are accepted; `None`: above the threshold of their class, which training chooses.
    pub threshold: Option<f64>,
    /// Images per forward pass.
    pub batch_size: usize,
    /// Flip test-time augmentation: boxes and scores are means over the image and its mirror image.
    pub flip_tta: bool,
}
