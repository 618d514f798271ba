//! The report model (D2R-Net's data flow on R2Gen's decoder): patch tokens of the image and region tokens of its boxes
//! go through the encoder; the decoder writes the report, and its cross-attention links words to boxes.
//! Tensors come from [`crate::reporter::batches::collate`]; plain values leave through [`crate::reporter::decode::generation`].

use d2r_contracts::labels::LESION_CLASSES;
use d2r_contracts::preprocess::Fit;
use tch::{Device, Kind, Tensor, nn};

use crate::config::report::{Lera, RegionNormalisation, ReportModelConfig};
use crate::detector::resnet::DEPTHS;
use crate::error::{Error, Result};
use crate::nn::pass::Passes;
use crate::reporter::model::encoder_decoder::EncoderDecoder;
use crate::reporter::model::region_encoder::RegionEncoder;
use crate::reporter::model::visual::{RegionInput, VisualFeatures, VisualInput};
use crate::reporter::model::visual_extractor::{VisualExtractor, imagenet_channels};

/// Added to denominators and inside logarithms.
const EPSILON: f64 = 1e-8;
/// Smallest crop for the region encoder without padding: five 3x3 convolutions, four of them with stride 2, leave one pixel.
const REGION_SIZE_UNPADDED: u32 = 33;
/// Least standard deviation that a crop is divided by, and the mean up to which a crop is black and is normalised as images
/// are (D2R-Net's dataloaders).
const CROP_STD_MIN: f64 = 0.01;
const BLACK_CROP_MEAN: f64 = 0.01;

/// Targets of a training step.
#[derive(Debug)]
pub struct ReportTargets {
    /// i64 `[B, T + 1]`: token ids, padded with boundaries.
    pub ids: Tensor,
    /// f32 `[B, T]`: weight of the token at position `t + 1` of `ids`; 0 for padding.
    pub weights: Tensor,
    /// f32 `[B, T, N]`: for each token the regions that its sentence names, as shares of 1; zero elsewhere.
    pub named_regions: Tensor,
}

/// The parts of the training loss, scalars.
#[derive(Debug)]
pub struct ReportLosses {
    /// Negative log-likelihood, weighted mean over tokens.
    pub token: Tensor,
    /// Cross-entropy of region attention against the named regions, mean over tokens that name any; 0 without any.
    pub grounding: Tensor,
}

/// Output of the encoder.
#[derive(Debug)]
pub struct Encoded {
    /// `[B, S, d_model]`: patches, then regions.
    pub tokens: Tensor,
    /// Boolean `[B, S]`.
    pub present: Tensor,
    /// Number of patch tokens.
    pub patches: i64,
}

/// The model and its variables.
#[derive(Debug)]
pub struct ReportModel {
    vs: nn::VarStore,
    config: ReportModelConfig,
    /// Mean and standard deviation of grey levels in 0..1.
    normalisation: (f64, f64),
    visual_extractor: VisualExtractor,
    region_encoder: Option<RegionEncoder>,
    encoder_decoder: EncoderDecoder,
    compute: Kind,
}

impl ReportModel {
    /// A model for boxes of the 22 lesion classes with initial values from `tch`'s current random state. `token_count`:
    /// vocabulary size plus the boundary.
    ///
    /// # Errors
    /// [`Error::Config`] when the sizes do not fit together.
    pub fn new(
        config: &ReportModelConfig,
        token_count: i64,
        normalisation: (f64, f64),
        device: Device,
    ) -> Result<Self> {
        Self::with_classes(config, token_count, LESION_CLASSES.len() as i64, normalisation, device)
    }

    /// The same for boxes of another number of classes.
    ///
    /// # Errors
    /// [`Error::Config`] when the sizes do not fit together.
    pub fn with_classes(
        config: &ReportModelConfig,
        token_count: i64,
        classes: i64,
        normalisation: (f64, f64),
        device: Device,
    ) -> Result<Self> {
        check(config)?;
        let vs = nn::VarStore::new(device);
        let root = vs.root();
        let visual_extractor = VisualExtractor::new(&(&root / "visual_extractor"), config);
        let d_visual = visual_extractor.d_visual();
        let region_encoder =
            config.regions.then(|| RegionEncoder::new(&(&root / "region_encoder"), config, d_visual, classes));
        let encoder_decoder = EncoderDecoder::new(&(&root / "encoder_decoder"), config, d_visual, token_count);
        let (config, compute) = (config.clone(), Kind::Float);
        Ok(Self { vs, config, normalisation, visual_extractor, region_encoder, encoder_decoder, compute })
    }

    /// Patch and region tokens. `train` enables dropout and updates batch-norm statistics.
    pub fn features(&self, visual: &VisualInput, train: bool) -> VisualFeatures {
        let patches = self.patch_tokens(&visual.images, train);
        let regions = self.region_tokens(&visual.regions, train);
        let present = visual.regions.present.narrow(1, 0, regions.size()[1]);
        VisualFeatures { patches, regions, present }
    }

    /// Patch tokens, then region tokens, through the encoder.
    pub fn encode(&self, features: &VisualFeatures, train: bool) -> Encoded {
        let (batch, patches) = (features.patches.size()[0], features.patches.size()[1]);
        let all_patches = Tensor::ones([batch, patches], (Kind::Bool, features.patches.device()));
        let tokens = Tensor::cat(&[&features.patches, &features.regions], 1);
        let present = Tensor::cat(&[&all_patches, &features.present], 1);
        Encoded { tokens: self.encoder_decoder.encode(&tokens, &present, train), present, patches }
    }

    /// The teacher-forced losses of a batch with its reports. In training [`Self::take_passes`] must follow.
    pub fn losses(&self, features: &VisualFeatures, targets: &ReportTargets, train: bool) -> ReportLosses {
        let encoded = self.encode(features, train);
        let length = targets.ids.size()[1] - 1;
        let (inputs, next) = (targets.ids.narrow(1, 0, length), targets.ids.narrow(1, 1, length));
        let out = self.encoder_decoder.forward_t(&encoded.tokens, &encoded.present, &inputs, train);
        let token = token_loss(&out.log_probs, &next, &targets.weights);
        let grounding = match region_shares(&out.attention, encoded.patches) {
            Some(shares) => grounding_loss(&shares, &targets.named_regions),
            None => token.zeros_like(),
        };
        ReportLosses { token, grounding }
    }

    /// `images`: u8 `[B, views, S, S]`. Every view goes through the same trunk; their tokens are concatenated:
    /// f32 `[B, views * P, d_visual]`.
    fn patch_tokens(&self, images: &Tensor, train: bool) -> Tensor {
        let (batch, size) = (images.size()[0], images.size()[3]);
        let views = images.reshape([-1, 1, size, size]);
        let patches = self.visual_extractor.forward_t(&self.normalised(&views), train);
        patches.reshape([batch, -1, self.d_visual()]).to_kind(Kind::Float)
    }

    /// Region tokens in their slots: f32 `[B, N, d_visual]`; `N` is 0 without a region encoder.
    fn region_tokens(&self, regions: &RegionInput, train: bool) -> Tensor {
        let (batch, per_image, width) = (regions.present.size()[0], regions.present.size()[1], self.d_visual());
        let zeros = |per_image: i64| Tensor::zeros([batch * per_image, width], (Kind::Float, regions.present.device()));
        match &self.region_encoder {
            Some(encoder) if per_image > 0 => {
                let tokens = encoder.forward_t(&self.normalised_crops(regions), regions, train);
                zeros(per_image).index_copy(0, &regions.slots, &tokens).view([batch, per_image, width])
            }
            _ => zeros(0).view([batch, 0, width]),
        }
    }

    fn normalised(&self, grey: &Tensor) -> Tensor {
        self.normalised_f32(grey).to_kind(self.compute)
    }

    fn normalised_f32(&self, grey: &Tensor) -> Tensor {
        let (mean, std) = self.normalisation;
        match self.config.rgb {
            true => imagenet_channels(grey),
            false => (grey.to_kind(Kind::Float) / 255.0 - mean) / std,
        }
    }

    /// Crops as the region encoder expects them, `[M, 1 or 3, R, R]`.
    fn normalised_crops(&self, regions: &RegionInput) -> Tensor {
        let as_image = self.normalised_f32(&regions.crops);
        let normalised = match self.config.region_normalisation {
            RegionNormalisation::Image => as_image,
            RegionNormalisation::Crop => {
                let statistic = |at: i64| regions.statistics.narrow(1, at, 1).view([-1, 1, 1, 1]);
                let (mean, std) = (statistic(0), statistic(1).clamp_min(CROP_STD_MIN));
                let by_its_own = (regions.crops.to_kind(Kind::Float) / 255.0 - &mean) / std;
                by_its_own.where_self(&mean.gt(BLACK_CROP_MEAN), &as_image)
            }
        };
        normalised.to_kind(self.compute)
    }

    /// Encoder, decoder and head.
    pub fn encoder_decoder(&self) -> &EncoderDecoder {
        &self.encoder_decoder
    }

    /// Width of the visual tokens.
    pub fn d_visual(&self) -> i64 {
        self.visual_extractor.d_visual()
    }

    pub fn config(&self) -> &ReportModelConfig {
        &self.config
    }

    pub fn variables(&self) -> &nn::VarStore {
        &self.vs
    }

    /// The variables, for loading.
    pub fn variables_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    /// Whether training passes keep the outputs of every second block of the trunk alone and the backward pass computes the
    /// rest again. The gradients are the same; memory is exchanged for time.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.visual_extractor.set_recompute(recompute);
    }

    /// The training passes since the last call that compute their gradients themselves, for [`crate::nn::pass::gradients`]: through
    /// the relational memory, and with recomputation through the trunk.
    pub fn take_passes(&self) -> Passes {
        let mut passes = self.visual_extractor.take_passes();
        passes.extend(self.encoder_decoder.take_passes());
        passes
    }

    /// The kind that matrix products run in, f32 or bf16; weights, norms and losses stay f32.
    pub fn set_compute(&mut self, kind: Kind) {
        self.compute = kind;
        self.encoder_decoder.set_compute(kind);
    }
}

/// Weighted mean of the negative log-likelihood. `log_probs`: `[B, T, V]`; `next`: i64 `[B, T]`; `weights`: f32 `[B, T]`.
fn token_loss(log_probs: &Tensor, next: &Tensor, weights: &Tensor) -> Tensor {
    let nll = -log_probs.gather(2, &next.unsqueeze(-1), false).squeeze_dim(2);
    (nll * weights).sum(Kind::Float) / weights.sum(Kind::Float).clamp_min(1.0)
}

/// Cross-entropy of attention over regions, mean over tokens that name regions. Both f32 `[B, T, N]`.
fn grounding_loss(shares: &Tensor, named_regions: &Tensor) -> Tensor {
    let tokens = named_regions.sum(Kind::Float);
    -((shares + EPSILON).log() * named_regions).sum(Kind::Float) / tokens.clamp_min(1.0)
}

/// Attention over regions, renormalised among them: `[B, T, N]`; `None` without regions.
fn region_shares(attention: &Tensor, patches: i64) -> Option<Tensor> {
    let regions = attention.size()[2] - patches;
    (regions > 0).then(|| {
        let on_regions = attention.narrow(2, patches, regions);
        &on_regions / (on_regions.sum_dim_intlist(-1, true, Kind::Float) + EPSILON)
    })
}

fn check(config: &ReportModelConfig) -> Result<()> {
    let bad = |problem: String| Err(Error::Config { place: "report.model".into(), problem });
    if config.heads < 1 || config.d_model % config.heads != 0 {
        return bad(format!("`heads` = {} does not divide `d_model` = {}", config.heads, config.d_model));
    }
    if config.d_model % 2 != 0 || config.memory_slots > config.d_model {
        return bad("`d_model` must be even and at least `memory_slots`".into());
    }
    if !DEPTHS.contains(&config.trunk_depth) {
        return bad(format!("`trunk_depth` = {}; there are 18, 34, 50 and 101", config.trunk_depth));
    }
    if config.lera != Lera::Off && (config.lera_filters < 2 || !config.region_size.is_multiple_of(4)) {
        return bad("LERA needs `lera_filters` >= 2 and a `region_size` that is a multiple of 4".into());
    }
    if !config.region_padding && config.region_size < REGION_SIZE_UNPADDED {
        return bad(format!("without padding the region encoder needs `region_size` >= {REGION_SIZE_UNPADDED}"));
    }
    if config.fit == Fit::ShortEdge {
        return bad("`fit` = \"short_edge\" is an input of detectors; a report model's is a square".into());
    }
    if config.layers < 1 || config.input_size < 32 || config.region_size < 16 {
        return bad("needs `layers` >= 1, `input_size` >= 32 and `region_size` >= 16".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
