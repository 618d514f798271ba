//! Configuration of the report model: network, training, generation.

use serde::{Deserialize, Serialize};

/// The report model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportConfig {
    /// The network.
    pub model: ReportModelConfig,
    /// Its training.
    pub train: ReportTrainConfig,
}

/// Visual extractor, region branch and R2Gen decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportModelConfig {
    /// Depth of the ResNet trunk: 18, 34, 50 or 101.
    pub trunk_depth: u32,
    /// Channels of its first stage; 64 is the published width.
    pub trunk_width: i64,
    /// Side of the square input of the trunk, pixels.
    pub input_side: u32,
    /// Region tokens from crops of the original-resolution image.
    pub regions: bool,
    /// Regions per image at most, by score.
    pub max_regions: usize,
    /// Side of a region crop, pixels.
    pub region_side: u32,
    /// Context around a box, as a share of its side.
    pub region_margin: f32,
    /// Channels of the region network's first convolution.
    pub region_width: i64,
    /// Add an embedding of the detector's class and of the box's place to each region token.
    pub region_embedding: bool,
    /// Width of the transformer.
    pub d_model: i64,
    /// Width of its feed-forward layers.
    pub d_ff: i64,
    /// Attention heads.
    pub heads: i64,
    /// Encoder layers, and decoder layers.
    pub layers: i64,
    /// Dropout.
    pub dropout: f64,
    /// Dropout of the source tokens, once they are embedded.
    pub visual_dropout: f64,
    /// Slots of the relational memory; 0 switches it, and the conditional norm, off.
    pub memory_slots: i64,
}

/// Training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportTrainConfig {
    /// Passes over the training split at most.
    pub epochs: i64,
    /// Studies per step.
    pub batch_size: usize,
    /// Learning rate of trunk and region network.
    pub lr_visual: f64,
    /// Learning rate of the rest.
    pub lr: f64,
    /// Weight decay (coupled L2); none on norms and biases.
    pub weight_decay: f64,
    /// Linear warm-up, epochs.
    pub warmup_epochs: f64,
    /// Every gradient entry is clipped to plus or minus this.
    pub clip_value: f64,
    /// Words seen fewer times in the training split become `<unk>`.
    pub min_word_count: u32,
    /// Longest target, tokens, counting the leading one.
    pub max_tokens: usize,
    /// Weight of the loss that draws a sentence's attention to the boxes whose class it names.
    pub grounding_weight: f64,
    /// Epochs without a better validation score before training stops.
    pub patience: i64,
    /// Studies of the validation split decoded each epoch; 0 takes all.
    pub val_studies: usize,
    /// A log line every so many steps.
    pub log_every: i64,
}

/// Writing reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateConfig {
    /// Beam width; 1 is greedy.
    pub beam_size: usize,
    /// Longest report, words.
    pub max_words: usize,
    /// No n-gram of this length twice; 0 allows all.
    pub block_ngram: usize,
    /// Never write `<unk>`.
    pub ban_unknown: bool,
    /// Images per batch.
    pub batch_size: usize,
    /// A link needs at least this share of a sentence's region attention.
    pub link_weight_min: f64,
}
