//! Section `[preview]`: the preview model by its size.

use serde::{Deserialize, Serialize};

use crate::config::preview::{BundleConfig, DistillConfig, PreviewConfig, PreviewModelConfig, Tier};

/// One in so many passes trains the encoder alone, before the others.
const ENCODER_SHARE: i64 = 6;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewSettings {
    pub size: PreviewSize,
    pub epochs: i64,
    pub batch_size: usize,
    pub lr: f64,
}

/// Sizes of encoder and decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreviewSize {
    /// An encoder of 0.16 M parameters.
    A,
    /// An encoder of 1.42 M parameters.
    B,
    /// That of tests.
    Tiny,
}

impl PreviewSize {
    fn model(self) -> PreviewModelConfig {
        let a = PreviewModelConfig {
            tier: Tier::A,
            input_size: 224,
            d_model: 128,
            d_ff: 256,
            heads: 4,
            layers: 2,
            embedding: 64,
            max_words: 80,
            dropout: 0.1,
        };
        match self {
            Self::A => a,
            Self::B => PreviewModelConfig { tier: Tier::B, ..a },
            Self::Tiny => PreviewModelConfig {
                input_size: 64,
                d_model: 16,
                d_ff: 16,
                heads: 2,
                layers: 1,
                embedding: 8,
                max_words: 20,
                ..a
            },
        }
    }
}

impl PreviewSettings {
    pub fn config(&self, log_every: i64) -> PreviewConfig {
        PreviewConfig {
            model: self.size.model(),
            train: DistillConfig {
                epochs: self.epochs,
                encoder_epochs: (self.epochs / ENCODER_SHARE).max(1),
                batch_size: self.batch_size,
                lr: self.lr,
                weight_decay: 1e-4,
                teacher_share: 0.5,
                label_smoothing: 0.1,
                word_weight: 0.5,
                temperature: 2.0,
                feature_weight: 1.0,
                heat_weight: 1.0,
                label_weight: 0.5,
                augment: true,
                log_every,
            },
            bundle: BundleConfig {
                beam_size: 1,
                block_ngram: 0,
                score_min: 0.3,
                nms_iou: 0.4,
                max_detections: 20,
                samples: if self.size == PreviewSize::Tiny { 3 } else { 12 },
            },
        }
    }
}
