//! Configuration of the report model: network, training, generation.

use d2r_contracts::preprocess::Fit;
use serde::{Deserialize, Serialize};

use crate::config::detector::AugmentConfig;

/// The report model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportConfig {
    /// The network.
    pub model: ReportModelConfig,
    /// Image-text alignment, a loss of training alone.
    pub align: AlignmentConfig,
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
    pub input_size: u32,
    /// Views of a study that the model sees; their tokens stand one after the other. A study with fewer shows its first one again.
    #[serde(default = "one_view")]
    pub views: usize,
    /// How a film becomes a square: with its proportions, or stretched as R2Gen's evaluation does.
    pub fit: Fit,
    /// Each film as three channels with ImageNet's own statistics, as imported weights expect; else one grey channel.
    pub rgb: bool,
    /// CPCA (channel prior convolutional attention) after the trunk, as in D2R-Net.
    pub cpca: bool,
    /// D2R-Net's 1x1 convolution to twice `d_model`; without it the decoder is given the trunk's own channels, as in R2Gen.
    pub local_embedder: bool,
    /// Region tokens from crops of the original-resolution image.
    pub regions: bool,
    /// Regions per image at most, by score.
    pub max_regions: usize,
    /// Side of a region crop, pixels.
    pub region_size: u32,
    /// Context around a box, as a share of its side.
    pub region_margin: f32,
    /// Channels of the region network's first convolution.
    pub region_width: i64,
    /// Zero padding in the region network's convolutions; published: none.
    pub region_padding: bool,
    /// Lesion region enhancement (LERA) of the crops before the region network.
    pub lera: Lera,
    /// Channels that LERA works in; published: 3.
    pub lera_filters: i64,
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

/// Of cards that were written before a study could have several views.
fn one_view() -> usize {
    1
}

#[cfg(test)]
impl ReportModelConfig {
    /// A network that fits a unit test.
    pub fn small() -> Self {
        Self {
            trunk_depth: 18,
            trunk_width: 8,
            input_size: 64,
            views: 1,
            fit: Fit::Letterbox,
            rgb: false,
            cpca: false,
            local_embedder: true,
            regions: true,
            max_regions: 3,
            region_size: 32,
            region_margin: 0.1,
            region_width: 4,
            region_padding: true,
            lera: Lera::Off,
            lera_filters: 3,
            region_embedding: true,
            d_model: 16,
            d_ff: 32,
            heads: 4,
            layers: 2,
            dropout: 0.1,
            visual_dropout: 0.5,
            memory_slots: 3,
        }
    }
}

/// Lesion region enhancement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lera {
    /// Crops go to the region network as they are.
    Off,
    /// The reconstruction from HCF-Net's PPA with its two faults mended: every patch is averaged over its own pixels, and
    /// the hidden layer of a patch is wide enough for its norm to pass anything on.
    Mended,
    /// The reconstruction as HCF-Net's PPA is published, for comparison.
    Literal,
}

/// Alignment of image and report while the report model trains (D2R-Net's LAB and GAB). No part of it is needed to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlignmentConfig {
    /// Weight of the local loss, lesion regions against sentences (LAB); 0 switches it off.
    pub lab_weight: f64,
    /// Weight of the global loss, film against report (GAB); 0 switches it off.
    pub gab_weight: f64,
    /// Sharpness of the attention over image tokens (`lambda_softmax`).
    pub temperature: f64,
    /// Margin of the ranking losses.
    pub margin: f64,
    /// Least share of the margin between reports that resemble each other (`margin_ratio`).
    pub margin_ratio: f64,
    /// Similarity from which a word counts as matched (`thres`).
    pub boundary: f64,
    /// Move it while training to where matched and mismatched words part (NAAF's adaptive boundary).
    pub adaptive_boundary: bool,
    /// Reports whose mean text vectors are this similar are not taken as mismatches of each other.
    pub same_report: f64,
    /// Epochs in which all mismatches count before only the hardest one does.
    pub all_negatives_epochs: i64,
    /// Sum the ranking losses over the batch, as published, instead of averaging.
    pub sum: bool,
    /// The text encoder.
    pub text: TextEncoderConfig,
}

impl AlignmentConfig {
    /// Anything to align?
    pub fn is_on(&self) -> bool {
        self.lab_weight > 0.0 || self.gab_weight > 0.0
    }
}

/// BERT over reports and sentences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEncoderConfig {
    /// One encoder for reports and sentences, one for each, or one that does not learn.
    pub mode: TextEncoderMode,
    /// Folder with `model.safetensors` and `vocab.txt` of a BERT (bert-base-uncased); empty trains one of the sizes below
    /// from scratch on the report model's own words.
    pub weights: String,
    /// Width.
    pub width: i64,
    /// Layers.
    pub layers: i64,
    /// Attention heads.
    pub heads: i64,
    /// Feed-forward width.
    pub d_ff: i64,
    /// Longest text, tokens.
    pub max_tokens: i64,
    /// Dropout.
    pub dropout: f64,
    /// Learning rate.
    pub lr: f64,
}

/// Who encodes what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextEncoderMode {
    /// One encoder, a projection each for reports and sentences.
    Shared,
    /// Two encoders, as published.
    Two,
    /// One encoder whose weights stay; only the projections learn.
    Frozen,
}

/// Mentions of an earlier examination in reference reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriorMentions {
    /// They are learnt like everything else.
    Keep,
    /// The sentences are left out; a report that has no others is left out whole.
    DropSentences,
    /// Reports with such a sentence are left out.
    DropReports,
}

/// How the report model's learning rates fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportSchedule {
    /// Half a cosine over all epochs.
    Cosine,
    /// A factor after every few epochs.
    Epochs,
}

/// A validation score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The mean of the other two.
    Mean,
    /// BLEU-4.
    Bleu4,
    /// Micro F1 of the 14 labels.
    LabelF1,
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
    /// Weight decay on norms and biases too, as published.
    pub decay_all: bool,
    /// How the learning rates fall.
    pub schedule: ReportSchedule,
    /// Schedule `epochs`: times `epoch_factor` after every so many.
    pub epoch_step: i64,
    /// See `epoch_step`.
    pub epoch_factor: f64,
    /// Linear warm-up, epochs.
    pub warmup_epochs: f64,
    /// Every gradient entry is clipped to plus or minus this.
    pub clip_value: f64,
    /// Words seen fewer times in the training split become `<unk>`.
    pub min_word_count: u32,
    /// Longest target, tokens, counting the leading one.
    pub max_tokens: usize,
    /// What is done with sentences of the training split that speak of an earlier examination, which no film shows.
    pub prior_mentions: PriorMentions,
    /// Changes to the films of the training split and, with them, to boxes and words.
    pub augment: AugmentConfig,
    /// What a word that names a side counts in the word loss, others 1.
    pub laterality_weight: f64,
    /// Weight of the loss that draws a sentence's attention to the boxes whose class it names.
    pub grounding_weight: f64,
    /// Epochs without a better validation score before training stops.
    pub patience: i64,
    /// Studies of the validation split decoded each epoch; 0 takes all.
    pub val_studies: usize,
    /// Validation writes as `[generate]` says instead of greedily.
    pub val_beam: bool,
    /// The validation score that the best weights are chosen by.
    pub selection: Selection,
    /// A log line every so many steps.
    pub log_every: i64,
}
