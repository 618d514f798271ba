//! Configuration of the preview model: network, distillation, bundle.

use serde::{Deserialize, Serialize};

/// The small report model that runs in the browser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewConfig {
    pub model: PreviewModelConfig,
    pub train: DistillConfig,
    pub bundle: BundleConfig,
}

/// Mobile encoder and small decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewModelConfig {
    /// Size of the encoder.
    pub tier: Tier,
    /// Size of the square grey input, pixels; a multiple of 32.
    pub input_size: u32,
    /// Width of the decoder.
    pub d_model: i64,
    /// Width of its feed-forward layers.
    pub d_ff: i64,
    /// Attention heads.
    pub heads: i64,
    /// Decoder layers.
    pub layers: i64,
    /// Width of the word table, which is shared by input and output.
    pub embedding: i64,
    /// Longest report, words.
    pub max_words: i64,
    /// Dropout of the decoder.
    pub dropout: f64,
}

/// Size of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// 0.16 M parameters.
    A,
    /// 1.42 M parameters.
    B,
}

/// Distillation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// Passes over the training split.
    pub epochs: i64,
    /// The first epochs, which train the encoder alone: detections, labels, features.
    pub encoder_epochs: i64,
    /// Images per step.
    pub batch_size: usize,
    /// Peak learning rate; warm-up, then cosine.
    pub lr: f64,
    /// Weight decay; none on norms and biases.
    pub weight_decay: f64,
    /// Share of targets that are the report model's text instead of the reference, drawn anew each epoch.
    pub teacher_share: f64,
    /// Label smoothing of the words.
    pub label_smoothing: f64,
    /// Weight of the divergence between the word distributions of report model and preview model.
    pub word_weight: f64,
    /// Temperature of that divergence.
    pub temperature: f64,
    /// Weight of the features' cosine distance.
    pub feature_weight: f64,
    /// Weight of the heat map and the box edges.
    pub heat_weight: f64,
    /// Weight of the labels.
    pub label_weight: f64,
    /// Augmentation of the training images; no flips.
    pub augment: bool,
    /// Steps between log lines.
    pub log_every: i64,
}

/// The bundle for the browser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleConfig {
    /// Beam width; 1 is greedy.
    pub beam_size: usize,
    /// No n-gram of this length occurs twice; 0 allows all.
    pub block_ngram: usize,
    /// A cell of the heat map is a detection from this score on.
    pub score_min: f32,
    /// Detections of one class with a larger IoU are one.
    pub nms_iou: f32,
    /// Detections at most.
    pub max_detections: usize,
    /// Sample studies in the bundle.
    pub samples: usize,
}
