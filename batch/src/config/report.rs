//! Configuration of the report model: network, training, generation.

use d2r_contracts::preprocess::Fit;
use serde::{Deserialize, Serialize};

use crate::config::detector::AugmentConfig;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportConfig {
    pub model: ReportModelConfig,
    /// Image-text alignment, a loss of training alone.
    pub align: AlignmentConfig,
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
    /// Size of the square input of the trunk, pixels.
    pub input_size: u32,
    /// Views of a study in the model's input, their tokens one after the other. A study with fewer repeats its first
    /// one.
    #[serde(default = "one_view")]
    pub views: usize,
    /// How an image becomes a square: with its proportions, or stretched as in R2Gen's evaluation.
    pub fit: Fit,
    /// Each image as three channels with ImageNet's statistics, as imported weights expect; else one grey channel.
    pub rgb: bool,
    /// CPCA (channel prior convolutional attention) after the trunk, as in D2R-Net.
    pub cpca: bool,
    /// D2R-Net's 1x1 convolution to twice `d_model`; without it the decoder's source has the trunk's channels, as in
    /// R2Gen.
    pub local_embedder: bool,
    /// Region tokens from crops of the original-resolution image.
    pub regions: bool,
    /// Regions per image at most, by score.
    pub max_regions: usize,
    /// Size of a region crop, pixels.
    pub region_size: u32,
    /// Context around a box, as a share of its width and height.
    pub region_margin: f32,
    /// Whose mean and standard deviation crops are normalised with. Model cards that were written before there was a choice have
    /// no such entry.
    #[serde(default)]
    pub region_normalisation: RegionNormalisation,
    /// Channels of the region network's first convolution.
    pub region_width: i64,
    /// Zero padding in the region network's convolutions; published: none.
    pub region_padding: bool,
    /// A linear layer after the region network; published: none. Where the network's last convolution and the tokens differ in
    /// width there is one in any case. Model cards that were written before there was a choice have one.
    #[serde(default = "projected")]
    pub region_projection: bool,
    /// Lesion region enhancement (LERA) of the crops before the region network.
    pub lera: Lera,
    /// Channels that LERA works in; published: 3.
    pub lera_filters: i64,
    /// Add an embedding of the detector's class and of the box's position to each region token.
    pub region_embedding: bool,
    /// Width of the transformer.
    pub d_model: i64,
    /// Width of its feed-forward layers.
    pub d_ff: i64,
    /// Attention heads.
    pub heads: i64,
    /// Encoder layers, and decoder layers.
    pub layers: i64,
    pub dropout: f64,
    /// Dropout of the source tokens, once they are embedded.
    pub visual_dropout: f64,
    /// Slots of the relational memory; 0: neither memory nor memory-driven conditional norm.
    pub memory_slots: i64,
}

/// Model cards that were written before a study could have several views have no such entry.
fn one_view() -> usize {
    1
}

fn projected() -> bool {
    true
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
            region_normalisation: RegionNormalisation::Image,
            region_width: 4,
            region_padding: true,
            region_projection: true,
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

/// The mean and standard deviation that grey levels of a crop are normalised with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionNormalisation {
    /// Those of images.
    #[default]
    Image,
    /// The crop's own, as in D2R-Net.
    Crop,
}

/// Where the trunk's initial weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrunkWeights {
    /// Random weights.
    Scratch,
    /// Imported weights or those of an earlier run, given by `--init`; training does not start without them.
    Imported,
    /// The backbone of the detector whose boxes are used; it has the trunk's depth and width.
    Detector,
}

/// Lesion region enhancement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lera {
    /// Crops go to the region network as they are.
    Off,
    /// The reconstruction from HCF-Net's PPA with its two faults corrected: every patch is averaged over its own
    /// pixels, and the hidden layer of a patch is at least 8 wide.
    Corrected,
    /// The reconstruction as HCF-Net's PPA is published, for comparison.
    Literal,
}

/// Alignment of image and report (D2R-Net's LAB and GAB): losses of training alone, not needed at inference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlignmentConfig {
    /// Weight of the local loss, lesion regions against sentences (LAB); 0 switches it off.
    pub lab_weight: f64,
    /// Weight of the global loss, image against report (GAB); 0 switches it off.
    pub gab_weight: f64,
    /// Sharpness of the attention over image tokens (`lambda_softmax`).
    pub temperature: f64,
    /// Margin of the ranking losses.
    pub margin: f64,
    /// Least share of the margin between similar reports (`margin_ratio`).
    pub margin_ratio: f64,
    /// Similarity from which a word counts as matched (`thres`).
    pub boundary: f64,
    /// Estimate the boundary in training from similarities of matched and mismatched words (NAAF, section 3.2).
    pub adaptive_boundary: bool,
    /// Reports whose mean text vectors have at least this cosine similarity are not mismatches of each other.
    pub same_report: f64,
    /// Epochs in which the loss counts all mismatches; after them it counts the hardest one.
    pub all_negatives_epochs: i64,
    /// Sum the ranking losses over the batch, as published, instead of averaging.
    pub sum: bool,
    /// The text encoder.
    pub text: TextEncoderConfig,
}

impl AlignmentConfig {
    /// Whether any of the two losses has a weight.
    pub fn is_on(&self) -> bool {
        self.lab_weight > 0.0 || self.gab_weight > 0.0
    }
}

/// BERT over reports and sentences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEncoderConfig {
    /// One encoder for reports and sentences, one for each, or one with fixed weights.
    pub mode: TextEncoderMode,
    /// Folder with `model.safetensors` and `vocab.txt` of a BERT (bert-base-uncased); empty trains one of the sizes
    /// below from scratch on the report model's own words.
    pub weights: String,
    pub width: i64,
    pub layers: i64,
    /// Attention heads.
    pub heads: i64,
    /// Feed-forward width.
    pub d_ff: i64,
    /// Longest text, tokens.
    pub max_tokens: i64,
    pub dropout: f64,
    /// Learning rate.
    pub lr: f64,
}

impl TextEncoderConfig {
    /// Whether it has the sizes of `bert-base-uncased`.
    pub fn is_bert(&self) -> bool {
        (self.width, self.layers, self.heads, self.d_ff) == (768, 12, 12, 3072)
    }
}

/// Encoders of reports and sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextEncoderMode {
    /// One encoder, a projection each for reports and sentences.
    Shared,
    /// Two encoders, as published.
    Two,
    /// One encoder with fixed weights; only the projections are trained.
    Frozen,
}

/// Mentions of an earlier examination in reference reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriorMentions {
    /// They stay.
    Keep,
    /// The sentences are left out, and reports that have no others.
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportTrainConfig {
    /// Where the initial weights of the trunk come from.
    pub trunk: TrunkWeights,
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
    /// Schedule `epochs`: epochs between two falls.
    pub epoch_step: i64,
    /// Schedule `epochs`: the rate is multiplied by this at each fall.
    pub epoch_factor: f64,
    /// Linear warm-up, epochs.
    pub warmup_epochs: f64,
    /// Every gradient entry is clipped to plus or minus this.
    pub clip_value: f64,
    /// Words seen fewer times in the training split become `<unk>`.
    pub min_word_count: u32,
    /// Longest target, tokens, counting the leading one.
    pub max_tokens: usize,
    /// What is done with sentences of the training split that mention an earlier examination.
    pub prior_mentions: PriorMentions,
    /// Augmentation of the images of the training split, applied to boxes and words as well.
    pub augment: AugmentConfig,
    /// Cut training images out at random, as R2Gen does, before `augment`.
    pub random_crop: bool,
    /// Weight of words for a laterality in the word loss; other words have 1.
    pub laterality_weight: f64,
    /// Weight of the loss between a sentence's attention and the boxes whose class it names.
    pub grounding_weight: f64,
    /// Epochs without a better validation score before training stops.
    pub patience: i64,
    /// Studies of the validation split that are decoded each epoch; 0 takes all.
    pub val_studies: usize,
    /// Validation decodes by the settings of `[generate]` instead of greedily.
    pub val_beam: bool,
    /// The validation score that selects the weights.
    pub selection: Selection,
    /// Steps between log lines.
    pub log_every: i64,
    /// Virtual shards of a batch; 1 is left out, so that it does not change the work keys.
    #[serde(default = "super::detector::one", skip_serializing_if = "super::detector::is_one")]
    pub accumulate: usize,
}
