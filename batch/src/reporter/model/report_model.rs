//! The report model (D2R-Net's data flow on R2Gen's decoder): patch tokens of the film and region tokens of its
//! boxes go through the encoder; the decoder writes, and its cross-attention says which boxes a word looked at.
//! Tensors come in from the collate step; plain values go out in [`crate::reporter::decode::generation`] only.

use tch::{Device, Kind, Tensor, nn};

use crate::config::report::{Lera, ReportModelConfig};
use crate::detector::resnet::DEPTHS;
use crate::error::{Error, Result};
use crate::reporter::model::encoder_decoder::EncoderDecoder;
use crate::reporter::model::region_encoder::RegionEncoder;
use crate::reporter::model::visual_extractor::{VisualExtractor, imagenet_channels};

/// Kept above zero where a share is divided or its logarithm taken.
const TINY: f64 = 1e-8;
/// Five unpadded convolutions, four of them with stride 2, leave one pixel of this side.
const REGION_SIZE_UNPADDED: u32 = 33;

/// Films and regions of a batch, on the model's device.
#[derive(Debug)]
pub struct VisualTensors {
    /// u8 `[B, views, S, S]`.
    pub films: Tensor,
    /// Their regions.
    pub regions: RegionTensors,
}

/// All regions of a batch side by side: only those that exist.
#[derive(Debug)]
pub struct RegionTensors {
    /// u8 `[M, 1, R, R]`.
    pub crops: Tensor,
    /// i64 `[M]`: `image * N + place in the image`.
    pub slots: Tensor,
    /// Boolean `[B, N]`: which of the `N` places are taken; `N` may be 0.
    pub present: Tensor,
    /// i64 `[M]`: VinDr-CXR class.
    pub classes: Tensor,
    /// f32 `[M, 5]`: score, then centre and size as shares of the film.
    pub places: Tensor,
}

/// What a training step compares with.
#[derive(Debug)]
pub struct ReportTargets {
    /// i64 `[B, T + 1]`, padded with boundaries.
    pub ids: Tensor,
    /// f32 `[B, T]`: the word's weight where `ids` shifted by one is part of the report, else 0.
    pub kept: Tensor,
    /// f32 `[B, T, N]`: for each word the boxes that its sentence names, as shares of 1; zero elsewhere.
    pub named: Tensor,
}

/// The parts of the training loss.
#[derive(Debug)]
pub struct ReportLosses {
    /// Negative log-likelihood, weighted mean over words.
    pub word: Tensor,
    /// Cross-entropy of region attention against the named boxes, mean over words that name any; 0 without any.
    pub grounding: Tensor,
}

/// Visual tokens before the encoder.
#[derive(Debug)]
pub struct VisualFeatures {
    /// f32 `[B, P, d_visual]`.
    pub patches: Tensor,
    /// f32 `[B, N, d_visual]`: zero where absent; `N` is 0 without regions.
    pub regions: Tensor,
    /// Boolean `[B, N]`.
    pub present: Tensor,
}

/// Encoded source tokens.
#[derive(Debug)]
pub struct Encoded {
    /// f32 `[B, S, d_model]`.
    pub tokens: Tensor,
    /// Boolean `[B, S]`.
    pub present: Tensor,
    /// The first so many tokens are patches, the rest regions.
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
    /// A model with initial values from `tch`'s current random state. `words`: vocabulary size and the boundary.
    ///
    /// # Errors
    /// [`Error::Config`] when the sizes do not fit together.
    pub fn new(config: &ReportModelConfig, words: i64, normalisation: (f64, f64), device: Device) -> Result<Self> {
        check(config)?;
        let vs = nn::VarStore::new(device);
        let root = vs.root();
        let visual_extractor = VisualExtractor::new(&(&root / "visual_extractor"), config);
        let d_visual = visual_extractor.d_visual();
        let region_encoder = config.regions.then(|| RegionEncoder::new(&(&root / "region_encoder"), config, d_visual));
        let encoder_decoder = EncoderDecoder::new(&(&root / "encoder_decoder"), config, d_visual, words);
        let (config, compute) = (config.clone(), Kind::Float);
        Ok(Self { vs, config, normalisation, visual_extractor, region_encoder, encoder_decoder, compute })
    }

    /// The variables.
    pub fn variables(&self) -> &nn::VarStore {
        &self.vs
    }

    /// The variables, for loading.
    pub fn variables_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    /// The kind that products run in, f32 or bf16; weights, norms and losses are f32 all the same.
    pub fn set_compute(&mut self, kind: Kind) {
        self.compute = kind;
        self.encoder_decoder.set_compute(kind);
    }

    /// Its configuration.
    pub fn config(&self) -> &ReportModelConfig {
        &self.config
    }

    /// Films and regions to visual tokens; the same in training and writing but for dropout and batch statistics.
    pub fn features(&self, visual: &VisualTensors, train: bool) -> VisualFeatures {
        // Views go through the same trunk; their tokens stand one after the other.
        let (batch, size) = (visual.films.size()[0], visual.films.size()[3]);
        let films = visual.films.reshape([-1, 1, size, size]);
        let patches = self.visual_extractor.forward_t(&self.normalised(&films), train);
        let width = patches.size()[2];
        let patches = patches.reshape([batch, -1, width]).to_kind(Kind::Float);
        let regions = &visual.regions;
        let per_image = if self.region_encoder.is_some() { regions.present.size()[1] } else { 0 };
        let places = Tensor::zeros([batch * per_image, width], (Kind::Float, patches.device()));
        let regions = match &self.region_encoder {
            Some(encoder) if per_image > 0 => {
                let found = encoder.forward_t(&self.normalised(&regions.crops), regions, train);
                places.index_copy(0, &visual.regions.slots, &found)
            }
            _ => places,
        };
        VisualFeatures {
            patches,
            regions: regions.view([batch, per_image, width]),
            present: visual.regions.present.narrow(1, 0, per_image),
        }
    }

    /// Visual tokens to encoded tokens.
    pub fn encode_features(&self, features: &VisualFeatures, train: bool) -> Encoded {
        let (batch, count) = (features.patches.size()[0], features.patches.size()[1]);
        let all = Tensor::ones([batch, count], (Kind::Bool, features.patches.device()));
        let tokens = Tensor::cat(&[&features.patches, &features.regions], 1);
        let present = Tensor::cat(&[&all, &features.present], 1);
        Encoded { tokens: self.encoder_decoder.encode(&tokens, &present, train), present, patches: count }
    }

    /// Films and regions to encoded tokens.
    pub fn encode(&self, visual: &VisualTensors, train: bool) -> Encoded {
        self.encode_features(&self.features(visual, train), train)
    }

    /// Width of the visual tokens.
    pub fn d_visual(&self) -> i64 {
        self.visual_extractor.d_visual()
    }

    /// Encoder, decoder and head.
    pub fn encoder_decoder(&self) -> &EncoderDecoder {
        &self.encoder_decoder
    }

    /// The losses of a batch with its reports, teacher-forced.
    pub fn losses(&self, features: &VisualFeatures, targets: &ReportTargets, train: bool) -> ReportLosses {
        let encoded = self.encode_features(features, train);
        let length = targets.ids.size()[1] - 1;
        let inputs = targets.ids.narrow(1, 0, length);
        let out = self.encoder_decoder.forward_t(&encoded.tokens, &encoded.present, &inputs, train);
        let next = targets.ids.narrow(1, 1, length).unsqueeze(-1);
        let nll = -out.log_probs.gather(2, &next, false).squeeze_dim(2);
        let word = (nll * &targets.kept).sum(Kind::Float) / targets.kept.sum(Kind::Float).clamp_min(1.0);
        let grounding = match self.region_share(&out.attention, encoded.patches) {
            Some(share) => {
                let words = targets.named.sum(Kind::Float);
                -((share + TINY).log() * &targets.named).sum(Kind::Float) / words.clamp_min(1.0)
            }
            None => word.zeros_like(),
        };
        ReportLosses { word, grounding }
    }

    /// Attention over regions, renormalised among them: `[B, T, N]`; `None` without regions.
    fn region_share(&self, attention: &Tensor, patches: i64) -> Option<Tensor> {
        let regions = attention.size()[2] - patches;
        (regions > 0).then(|| {
            let on_regions = attention.narrow(2, patches, regions);
            &on_regions / (on_regions.sum_dim_intlist(-1, true, Kind::Float) + TINY)
        })
    }

    fn normalised(&self, grey: &Tensor) -> Tensor {
        let (mean, std) = self.normalisation;
        let normalised = match self.config.rgb {
            true => imagenet_channels(grey),
            false => (grey.to_kind(Kind::Float) / 255.0 - mean) / std,
        };
        normalised.to_kind(self.compute)
    }
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
        return bad("LERA needs `lera_filters` >= 2 and a `region_size` that 4 divides".into());
    }
    if !config.region_padding && config.region_size < REGION_SIZE_UNPADDED {
        return bad(format!("without padding the region network needs `region_size` >= {REGION_SIZE_UNPADDED}"));
    }
    if config.layers < 1 || config.input_size < 32 || config.region_size < 16 {
        return bad("needs `layers` >= 1, `input_size` >= 32 and `region_size` >= 16".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
