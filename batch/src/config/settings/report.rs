//! Section `[report]`: the report model by named sizes, alignment, and training by named recipes.

use d2r_contracts::preprocess::Fit;
use serde::{Deserialize, Serialize};

use super::number_or::NumberOrAll;
use crate::config::detector::AugmentConfig;
use crate::config::report::{
    AlignmentConfig, Lera, PriorMentions, RegionNormalisation, ReportConfig, ReportModelConfig, ReportSchedule,
    ReportTrainConfig, Selection, TextEncoderConfig, TextEncoderMode, TrunkWeights,
};

/// The value of `report.align.text.weights` for random initial weights.
const SCRATCH: &str = "scratch";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportSettings {
    pub model: ReportModelSettings,
    pub align: AlignSettings,
    pub train: ReportTrainSettings,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportModelSettings {
    pub network: ReportNetwork,
    pub trunk: TrunkWeights,
    pub input_size: u32,
    pub input: ReportInput,
    pub views: usize,
    pub cpca: bool,
    pub local_embedder: bool,
    pub regions: RegionTokens,
    pub max_regions: usize,
    pub lera: Lera,
    pub relational_memory: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlignSettings {
    pub lab_weight: f64,
    pub gab_weight: f64,
    pub variant: AlignVariant,
    pub text: AlignTextSettings,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlignTextSettings {
    pub mode: TextEncoderMode,
    pub size: AlignTextSize,
    pub weights: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportTrainSettings {
    pub epochs: i64,
    pub batch_size: usize,
    pub lr_visual: f64,
    pub lr: f64,
    pub recipe: Recipe,
    pub selection: Selection,
    pub patience: i64,
    pub val_studies: NumberOrAll<usize>,
    pub min_word_count: u32,
    pub max_tokens: usize,
    pub prior_mentions: PriorMentions,
    pub laterality_weight: f64,
    pub grounding_weight: f64,
    pub augment: ReportAugment,
    pub hflip: bool,
}

/// Sizes of trunk, region network and transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportNetwork {
    /// ResNet-101 and R2Gen's transformer.
    Published,
    /// The demo's.
    Small,
    /// The bench's.
    Mini,
    /// That of tests.
    Tiny,
}

struct NetworkSizes {
    trunk_depth: u32,
    trunk_width: i64,
    region_size: u32,
    region_width: i64,
    region_padding: bool,
    d_model: i64,
    d_ff: i64,
    heads: i64,
    layers: i64,
    visual_dropout: f64,
}

impl ReportNetwork {
    fn sizes(self) -> NetworkSizes {
        let published = NetworkSizes {
            trunk_depth: 101,
            trunk_width: 64,
            region_size: 192,
            region_width: 64,
            region_padding: false,
            d_model: 512,
            d_ff: 512,
            heads: 8,
            layers: 3,
            visual_dropout: 0.5,
        };
        let small = NetworkSizes {
            trunk_depth: 18,
            trunk_width: 16,
            region_size: 64,
            region_width: 16,
            region_padding: true,
            d_model: 128,
            d_ff: 256,
            heads: 4,
            layers: 2,
            visual_dropout: 0.1,
        };
        match self {
            Self::Published => published,
            Self::Small => small,
            Self::Mini => NetworkSizes { region_size: 32, region_width: 8, d_model: 64, d_ff: 128, layers: 1, ..small },
            Self::Tiny => NetworkSizes {
                trunk_width: 8,
                region_size: 32,
                region_width: 4,
                d_model: 32,
                d_ff: 32,
                layers: 1,
                visual_dropout: 0.5,
                ..small
            },
        }
    }
}

/// What the decoder gets of the detector's boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionTokens {
    /// Nothing, as in R2Gen.
    Off,
    /// A token of each box's crop, normalised by the crop's own mean and standard deviation, as in D2R-Net.
    Crops,
    /// A token of each box's crop with a margin, normalised as images are, and an embedding of the box's class, score, place and
    /// size.
    CropsAndBoxes,
}

/// How an image becomes the trunk's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportInput {
    /// Letterboxed, one grey channel.
    Letterbox,
    /// Letterboxed, three channels with ImageNet's statistics.
    LetterboxRgb,
    /// Stretched to the square, three channels with ImageNet's statistics.
    R2gen,
}

/// Form of the alignment losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlignVariant {
    /// Means over the batch, with a fixed boundary.
    Mean,
    /// Means, with NAAF's adaptive boundary.
    Adaptive,
    /// Sums over the batch, as published.
    Sum,
}

/// Size of the text encoder, with its learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlignTextSize {
    /// That of `bert-base-uncased`.
    BertBase,
    Small,
    /// The bench's.
    Mini,
    /// That of tests.
    Tiny,
}

impl AlignTextSize {
    fn config(self, mode: TextEncoderMode, weights: String) -> TextEncoderConfig {
        let (width, layers, heads, d_ff, max_tokens, lr) = match self {
            Self::BertBase => (768, 12, 12, 3072, 512, 2e-5),
            Self::Small => (256, 2, 4, 512, 512, 1e-4),
            Self::Mini => (48, 1, 4, 96, 128, 2e-3),
            Self::Tiny => (16, 1, 2, 16, 512, 1e-4),
        };
        TextEncoderConfig { mode, weights, width, layers, heads, d_ff, max_tokens, dropout: 0.1, lr }
    }
}

/// Learning-rate schedule, weight decay and validation of report training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// One epoch of warm-up, then half a cosine over all epochs; greedy validation.
    Cosine,
    /// R2Gen for MIMIC-CXR: times 0.8 after every epoch.
    R2genMimic,
    /// R2Gen for IU X-Ray: times 0.1 after every 50 epochs.
    R2genIu,
}

/// Augmentation of training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportAugment {
    None,
    Geometric,
    Full,
    /// A random square of 224 pixels of the image whose shortest edge has 256, and in this proportion for other sizes.
    R2gen,
}

impl ReportAugment {
    fn config(self, hflip: bool) -> AugmentConfig {
        match self {
            Self::None | Self::R2gen => AugmentConfig::none(hflip),
            Self::Geometric => AugmentConfig::geometric(hflip),
            Self::Full => AugmentConfig::full(hflip),
        }
    }
}

impl ReportSettings {
    pub fn config(&self, log_every: i64, accumulate: usize) -> ReportConfig {
        ReportConfig {
            model: self.model.config(),
            align: self.align.config(),
            train: self.train.config(self.model.trunk, log_every, accumulate),
        }
    }
}

impl ReportModelSettings {
    fn config(&self) -> ReportModelConfig {
        let sizes = self.network.sizes();
        let (region_margin, region_normalisation) = match self.regions {
            RegionTokens::Off | RegionTokens::CropsAndBoxes => (0.1, RegionNormalisation::Image),
            RegionTokens::Crops => (0.0, RegionNormalisation::Crop),
        };
        ReportModelConfig {
            trunk_depth: sizes.trunk_depth,
            trunk_width: sizes.trunk_width,
            input_size: self.input_size,
            views: self.views,
            fit: if self.input == ReportInput::R2gen { Fit::Squash } else { Fit::Letterbox },
            rgb: self.input != ReportInput::Letterbox,
            cpca: self.cpca,
            local_embedder: self.local_embedder,
            regions: self.regions != RegionTokens::Off,
            max_regions: self.max_regions,
            region_size: sizes.region_size,
            region_margin,
            region_normalisation,
            region_width: sizes.region_width,
            region_padding: sizes.region_padding,
            region_projection: self.network != ReportNetwork::Published,
            lera: self.lera,
            lera_filters: 3,
            region_embedding: self.regions == RegionTokens::CropsAndBoxes,
            d_model: sizes.d_model,
            d_ff: sizes.d_ff,
            heads: sizes.heads,
            layers: sizes.layers,
            dropout: 0.1,
            visual_dropout: sizes.visual_dropout,
            memory_slots: if self.relational_memory { 3 } else { 0 },
        }
    }
}

impl AlignSettings {
    fn config(&self) -> AlignmentConfig {
        let weights = if self.text.weights == SCRATCH { String::new() } else { self.text.weights.clone() };
        AlignmentConfig {
            lab_weight: self.lab_weight,
            gab_weight: self.gab_weight,
            temperature: 20.0,
            margin: 0.2,
            margin_ratio: 0.1,
            boundary: 0.0,
            adaptive_boundary: self.variant == AlignVariant::Adaptive,
            same_report: 0.95,
            all_negatives_epochs: 1,
            sum: self.variant == AlignVariant::Sum,
            text: self.text.size.config(self.text.mode, weights),
        }
    }
}

impl ReportTrainSettings {
    fn config(&self, trunk: TrunkWeights, log_every: i64, accumulate: usize) -> ReportTrainConfig {
        let r2gen = self.recipe != Recipe::Cosine;
        let (epoch_step, epoch_factor) = if self.recipe == Recipe::R2genIu { (50, 0.1) } else { (1, 0.8) };
        ReportTrainConfig {
            trunk,
            epochs: self.epochs,
            batch_size: self.batch_size,
            lr_visual: self.lr_visual,
            lr: self.lr,
            weight_decay: 5e-5,
            decay_all: r2gen,
            schedule: if r2gen { ReportSchedule::Epochs } else { ReportSchedule::Cosine },
            epoch_step,
            epoch_factor,
            warmup_epochs: if r2gen { 0.0 } else { 1.0 },
            clip_value: 0.1,
            min_word_count: self.min_word_count,
            max_tokens: self.max_tokens,
            prior_mentions: self.prior_mentions,
            augment: self.augment.config(self.hflip),
            random_crop: self.augment == ReportAugment::R2gen,
            laterality_weight: self.laterality_weight,
            grounding_weight: self.grounding_weight,
            patience: self.patience,
            val_studies: self.val_studies.or_zero(),
            val_beam: r2gen,
            selection: self.selection,
            log_every,
            accumulate,
        }
    }
}
