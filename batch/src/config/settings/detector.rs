//! Section `[detector]`: the model by named sizes, and its training.

use d2r_contracts::preprocess::Fit;
use serde::{Deserialize, Serialize};

use super::number_or::{CosineOrSteps, NumberOrOff};
use crate::config::detector::{
    Architecture, AugmentConfig, BackboneNorm, DetectorConfig, DetectorModelConfig, DetectorTrainConfig, OptimizerKind,
    Profile, RcnnConfig, Schedule, ShortEdges,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorSettings {
    pub model: DetectorModelSettings,
    pub train: DetectorTrainSettings,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorModelSettings {
    pub architecture: DetectorKind,
    pub profile: Profile,
    pub network: DetectorNetwork,
    pub backbone: Backbone,
    pub input: DetectorInput,
    pub input_size: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorTrainSettings {
    pub labelled_share: f64,
    pub labelled_seed: u64,
    pub steps: i64,
    pub batch_size: usize,
    pub optimizer: OptimizerKind,
    pub lr: f64,
    pub schedule: CosineOrSteps,
    pub warmup_steps: i64,
    pub clip_norm: NumberOrOff<f64>,
    pub ema_keep_rate: f64,
    pub rare_share: NumberOrOff<f64>,
    pub augment: DetectorAugment,
    pub hflip: bool,
    pub cache_mib: u64,
    pub eval_every: i64,
    pub save_every: i64,
}

/// The kind of detector; of Faster R-CNN both of torchvision's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorKind {
    Fcos,
    FasterRcnn,
    FasterRcnnV2,
}

/// Sizes of backbone, pyramid and head. Those named after a ResNet are the published ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorNetwork {
    Resnet18,
    Resnet34,
    Resnet50,
    Resnet101,
    /// The demo's.
    Small,
    /// The benches': a finest stride of 4 for small lesions on small inputs.
    Mini,
    /// That of tests.
    Tiny,
}

struct NetworkSizes {
    depth: u32,
    width: i64,
    min_level: usize,
    fpn_channels: i64,
    head_convs: i64,
    head_groups: i64,
    candidates_per_level: i64,
}

impl DetectorNetwork {
    fn sizes(self) -> NetworkSizes {
        let published = |depth| NetworkSizes {
            depth,
            width: 64,
            min_level: 3,
            fpn_channels: 256,
            head_convs: 4,
            head_groups: 32,
            candidates_per_level: 1000,
        };
        match self {
            Self::Resnet18 => published(18),
            Self::Resnet34 => published(34),
            Self::Resnet50 => published(50),
            Self::Resnet101 => published(101),
            Self::Small => NetworkSizes { width: 16, fpn_channels: 48, head_convs: 2, head_groups: 8, ..published(18) },
            Self::Mini => NetworkSizes {
                width: 16,
                min_level: 2,
                fpn_channels: 32,
                head_convs: 1,
                head_groups: 8,
                candidates_per_level: 300,
                ..published(18)
            },
            Self::Tiny => NetworkSizes { width: 8, fpn_channels: 16, head_convs: 1, head_groups: 4, ..published(18) },
        }
    }
}

/// Where the backbone's weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backbone {
    /// Random weights; batch norms and all stages are trained.
    Scratch,
    /// Imported weights: frozen batch norms, stem and first stage fixed, as published.
    Imported,
    /// The same for MSRA's weights, whose bottlenecks have their stride in the first convolution.
    ImportedMsra,
}

/// How a radiograph becomes the detector's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorInput {
    /// Letterboxed to a square of `input_size`.
    Letterbox,
    /// Shortest edge `input_size`, longest at most 1333 of 800 (detectron2).
    ShortEdge,
}

/// Augmentation of a detector's training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorAugment {
    None,
    Geometric,
    Full,
    /// Shortest edges from half of `input_size` to `input_size`: 400 to 800 in D2R-Net's configuration (W2).
    MultiScale,
    /// From half of `input_size` to one and a half: 400 to 1200 in Unbiased Teacher v2 on COCO.
    MultiScaleWide,
}

impl DetectorAugment {
    fn config(self, hflip: bool) -> AugmentConfig {
        match self {
            Self::None | Self::MultiScale | Self::MultiScaleWide => AugmentConfig::none(hflip),
            Self::Geometric => AugmentConfig::geometric(hflip),
            Self::Full => AugmentConfig::full(hflip),
        }
    }

    fn short_edges(self, input_size: u32) -> Option<ShortEdges> {
        let most = match self {
            Self::None | Self::Geometric | Self::Full => return None,
            Self::MultiScale => input_size,
            Self::MultiScaleWide => input_size + input_size / 2,
        };
        Some(ShortEdges { least: input_size / 2, most })
    }
}

impl DetectorSettings {
    pub fn config(&self, log_every: i64, accumulate: usize) -> DetectorConfig {
        let short_edges = self.train.augment.short_edges(self.model.input_size);
        let train = DetectorTrainConfig { short_edges, ..self.train.config(log_every, accumulate) };
        DetectorConfig { model: self.model.config(), train }
    }
}

impl DetectorModelSettings {
    fn config(&self) -> DetectorModelConfig {
        let (architecture, rcnn) = match self.architecture {
            DetectorKind::Fcos => (Architecture::Fcos, RcnnConfig::torchvision_v1()),
            DetectorKind::FasterRcnn => (Architecture::FasterRcnn, RcnnConfig::torchvision_v1()),
            DetectorKind::FasterRcnnV2 => (Architecture::FasterRcnn, RcnnConfig::torchvision_v2()),
        };
        let (norm, frozen_stages) = match self.backbone {
            Backbone::Scratch => (BackboneNorm::Batch, 0),
            Backbone::Imported | Backbone::ImportedMsra => (BackboneNorm::FrozenBatch, 2),
        };
        let sizes = self.network.sizes();
        DetectorModelConfig {
            architecture,
            profile: self.profile,
            depth: sizes.depth,
            width: sizes.width,
            norm,
            stride_in_1x1: self.backbone == Backbone::ImportedMsra,
            frozen_stages,
            min_level: sizes.min_level,
            fpn_channels: sizes.fpn_channels,
            head_convs: sizes.head_convs,
            head_groups: sizes.head_groups,
            input_size: self.input_size,
            fit: match self.input {
                DetectorInput::Letterbox => Fit::Letterbox,
                DetectorInput::ShortEdge => Fit::ShortEdge,
            },
            // ImageNet's statistics, averaged over the colours.
            input_mean: 0.449,
            input_std: 0.226,
            rcnn,
            detach_iou: false,
            score_min: 0.05,
            nms_iou_max: architecture.nms_iou_max(),
            candidates_per_level: sizes.candidates_per_level,
            detections_per_image: 100,
        }
    }
}

impl DetectorTrainSettings {
    fn config(&self, log_every: i64, accumulate: usize) -> DetectorTrainConfig {
        let (schedule, milestones) = match &self.schedule {
            CosineOrSteps::Cosine => (Schedule::Cosine, Vec::new()),
            CosineOrSteps::Steps(steps) => (Schedule::Steps, steps.clone()),
        };
        DetectorTrainConfig {
            labelled_share: self.labelled_share,
            labelled_seed: self.labelled_seed,
            steps: self.steps,
            batch_size: self.batch_size,
            optimizer: self.optimizer,
            lr: self.lr,
            schedule,
            lr_floor: 0.01,
            milestones,
            milestone_factor: 0.1,
            momentum: 0.9,
            weight_decay: 1e-4,
            warmup_steps: self.warmup_steps,
            clip_norm: self.clip_norm.or_zero(),
            ema_keep_rate: self.ema_keep_rate,
            rare_share: self.rare_share.or_zero(),
            augment: self.augment.config(self.hflip),
            short_edges: None,
            cache_mib: self.cache_mib,
            eval_every: self.eval_every,
            save_every: self.save_every,
            log_every,
            accumulate,
        }
    }
}
