//! Local and global alignment (LAB, GAB): ranking losses between image and report. D2R-Net's module is not published; its names, its
//! call and its options are known, the equations are our reconstruction with NAAF's similarity.

use tch::{Device, Kind, Tensor, nn};

use crate::config::report::{AlignmentConfig, TextEncoderMode};
use crate::error::{Error, Result};
use crate::reporter::align::bert::BertShape;
use crate::reporter::align::boundary::Boundary;
use crate::reporter::align::negative_aware::{Tokens, attention, similarities, unit};
use crate::reporter::align::ranking_loss::{Negatives, Pairs, ranking_loss};
use crate::reporter::align::text_encoder::{TextEncoder, TextInput};

/// Grid size of the pooled patches that replace the regions of an image without any.
const POOLED_SIZE: i64 = 3;
/// Lower bound of a denominator.
const EPSILON: f64 = 1e-8;

/// Visual tokens of a batch.
#[derive(Debug)]
pub struct ImageTokens<'a> {
    /// f32 `[B, P, D]`; `P` is a square number times the views.
    pub patches: &'a Tensor,
    /// Images per study.
    pub views: i64,
    /// f32 `[B, N, D]`; `N` may be 0.
    pub regions: &'a Tensor,
    /// Boolean `[B, N]`.
    pub present: &'a Tensor,
}

/// The reports of a batch.
#[derive(Debug)]
pub struct ReportTexts {
    /// Whole reports, `B` of them.
    pub reports: TextInput,
    /// Their `U` distinct sentences.
    pub sentences: TextInput,
    /// f32 `[B, U]`: sentences of each report as shares of 1; zero for a report without sentences.
    pub shares: Tensor,
    /// Boolean `[B, B]`: pairs of equal reports, and all pairs with an empty report.
    pub same: Tensor,
}

/// Both losses, weighted scalars; zero where the weight is 0.
#[derive(Debug)]
pub struct AlignmentLosses {
    /// Lesion regions against sentences.
    pub local: Tensor,
    /// Image against report.
    pub global: Tensor,
}

/// The text encoder and the losses; its variables are separate from the report model's.
#[derive(Debug)]
pub struct Alignment {
    vs: nn::VarStore,
    config: AlignmentConfig,
    text: TextEncoder,
    region_boundary: Boundary,
    patch_boundary: Boundary,
}

impl Alignment {
    /// An untrained alignment of texts over `token_count` ids with visual tokens of width `d_visual`.
    ///
    /// # Errors
    /// [`Error::Config`] when the text encoder's sizes do not fit together.
    pub fn new(config: &AlignmentConfig, token_count: i64, d_visual: i64, device: Device) -> Result<Self> {
        let text = &config.text;
        if text.heads < 1 || text.width % text.heads != 0 || text.max_tokens < 3 {
            return Err(Error::Config {
                place: "report.align.text".into(),
                problem: format!("`heads` = {} must divide `width` = {}; `max_tokens` >= 3", text.heads, text.width),
            });
        }
        let shape = BertShape {
            token_count,
            positions: text.max_tokens,
            width: text.width,
            layers: text.layers,
            heads: text.heads,
            d_ff: text.d_ff,
            dropout: text.dropout,
        };
        let vs = nn::VarStore::new(device);
        let encoder = TextEncoder::new(&vs.root(), shape, text.mode, d_visual);
        if text.mode == TextEncoderMode::Frozen {
            for (name, variable) in vs.variables() {
                if name.contains(".bert.") {
                    let _ = variable.set_requires_grad(false);
                }
            }
        }
        let boundary = |name: &str| Boundary::new(&(vs.root() / name), config.boundary, config.adaptive_boundary);
        let (region_boundary, patch_boundary) = (boundary("lab_boundary"), boundary("gab_boundary"));
        Ok(Self { vs, config: config.clone(), text: encoder, region_boundary, patch_boundary })
    }

    pub fn variables(&self) -> &nn::VarStore {
        &self.vs
    }

    /// The variables, for loading.
    pub fn variables_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    /// Learning rate of its variables.
    pub fn lr(&self) -> f64 {
        self.config.text.lr
    }

    /// The losses of a batch. `epoch` counts from 0. `train` enables dropout and updates adaptive boundaries.
    pub fn losses(&mut self, image: &ImageTokens, texts: &ReportTexts, epoch: i64, train: bool) -> AlignmentLosses {
        let zero = || Tensor::zeros([], (Kind::Float, image.patches.device()));
        let negatives = if epoch < self.config.all_negatives_epochs { Negatives::All } else { Negatives::Hardest };
        let AlignmentConfig { lab_weight, gab_weight, .. } = self.config;
        AlignmentLosses {
            local: if lab_weight > 0.0 { self.local(image, texts, negatives, train) * lab_weight } else { zero() },
            global: if gab_weight > 0.0 { self.global(image, texts, negatives, train) * gab_weight } else { zero() },
        }
    }

    /// Attention of each sentence over the regions of its image, as shares of 1: f32 `[U, N]`, zero for a sentence that matches no
    /// region. `of_image`: i64 `[U]`.
    pub fn sentence_weights(
        &self,
        regions: &Tensor,
        present: &Tensor,
        sentences: &TextInput,
        of_image: &Tensor,
    ) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let image = Tokens::unit(&regions.index_select(0, of_image), &present.index_select(0, of_image));
        let weights = attention(
            &image,
            &self.text.sentences(sentences, false),
            self.config.temperature,
            self.region_boundary.value(),
        );
        let total = weights.sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
        weights / total.clamp_min(EPSILON)
    }

    /// Ranking loss of the similarity between an image's regions and a report, the mean over the report's sentences.
    fn local(&mut self, image: &ImageTokens, texts: &ReportTexts, negatives: Negatives, train: bool) -> Tensor {
        let sentences = self.text.sentences(&texts.sentences, train);
        let regions = regions_or_pooled(image);
        let of_sentences = similarities(&regions, &sentences, self.config.temperature, self.region_boundary.value());
        if train && self.config.adaptive_boundary {
            // A sentence matches every report that contains it; the first is taken as its own.
            let contained = texts.shares.gt(0.0);
            let own = contained.to_kind(Kind::Int64).argmax(0, false);
            self.region_boundary.update(&regions, &sentences, &of_sentences, &own, &contained);
        }
        let similarity = of_sentences.matmul(&texts.shares.tr());
        self.ranking(&similarity, &texts.shares.matmul(&sentences.mean()), texts, negatives)
    }

    /// Ranking loss of the similarity between an image and a report: half from patches and tokens, half from their means.
    fn global(&mut self, image: &ImageTokens, texts: &ReportTexts, negatives: Negatives, train: bool) -> Tensor {
        let reports = self.text.reports(&texts.reports, train);
        let all_patches =
            Tensor::ones([image.patches.size()[0], image.patches.size()[1]], (Kind::Bool, image.patches.device()));
        let patches = Tokens::unit(image.patches, &all_patches);
        let means = unit(&image.patches.mean_dim([1i64].as_slice(), false, Kind::Float));
        let of_means = means.matmul(&unit(&reports.mean()).tr());
        let of_tokens = similarities(&patches, &reports, self.config.temperature, self.patch_boundary.value());
        let similarity = (of_tokens + of_means) * 0.5;
        if train && self.config.adaptive_boundary {
            let own = Tensor::arange(similarity.size()[1], (Kind::Int64, similarity.device()));
            self.patch_boundary.update(&patches, &reports, &similarity, &own, &texts.same);
        }
        self.ranking(&similarity, &reports.mean(), texts, negatives)
    }

    fn ranking(&self, similarity: &Tensor, texts: &Tensor, batch: &ReportTexts, negatives: Negatives) -> Tensor {
        let AlignmentConfig { margin, margin_ratio, same_report, sum, .. } = self.config;
        ranking_loss(similarity, &Pairs::new(texts, &batch.same, margin, margin_ratio, same_report), negatives, sum)
    }
}

/// Region tokens at unit length; pooled patches for an image without regions.
fn regions_or_pooled(image: &ImageTokens) -> Tokens {
    let [batch, patches, width] = [0, 1, 2].map(|axis| image.patches.size()[axis]);
    // The maps of several views are stacked vertically.
    let size = ((patches / image.views.max(1)) as f64).sqrt().round() as i64;
    let map = image.patches.transpose(1, 2).reshape([batch, width, patches / size.max(1), size]);
    let pooled = map.adaptive_avg_pool2d([POOLED_SIZE, POOLED_SIZE]).flatten(2, 3).transpose(1, 2);
    let per_image = image.regions.size()[1];
    let slots = per_image.max(POOLED_SIZE * POOLED_SIZE);
    let padded = |tokens: &Tensor| tokens.constant_pad_nd([0, 0, 0, slots - tokens.size()[1]]);
    let none = image.present.to_kind(Kind::Int64).sum_dim_intlist([1i64].as_slice(), true, Kind::Int64).eq(0);
    let pooled_present = Tensor::arange(slots, (Kind::Int64, map.device())).lt(POOLED_SIZE * POOLED_SIZE).unsqueeze(0);
    let present = image.present.to_kind(Kind::Int64).constant_pad_nd([0, slots - per_image]).to_kind(Kind::Bool);
    let vectors = padded(&pooled).where_self(&none.unsqueeze(-1), &padded(image.regions));
    Tokens::unit(&vectors, &pooled_present.where_self(&none, &present))
}

#[cfg(test)]
mod tests;
