//! Local and global alignment (LAB, GAB) as losses of training. D2R-Net's module is not published: names, call and options
//! are known, the equations are our reconstruction on NAAF's score.

use tch::{Device, Kind, Tensor, nn};

use crate::config::report::{AlignmentConfig, TextEncoderMode};
use crate::error::{Error, Result};
use crate::reporter::align::bert::BertShape;
use crate::reporter::align::boundary::Boundary;
use crate::reporter::align::negative_aware::{Tokens, attended, scores, unit};
use crate::reporter::align::ranking_loss::{Negatives, Pairs, ranking_loss};
use crate::reporter::align::text_encoder::{TextEncoder, TextInput};

/// Tokens that stand for the regions of an image without any: its patches, pooled to a grid of this side.
const POOLED_SIZE: i64 = 3;
/// Keeps a share of nothing from being divided by zero.
const TINY: f64 = 1e-8;

/// An image's side of the alignment.
#[derive(Debug)]
pub struct ImageTokens<'a> {
    /// f32 `[B, P, D]`, `P` a square number times the views.
    pub patches: &'a Tensor,
    /// Views of a study.
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
    /// Their sentences, each one only once: `U` of them.
    pub sentences: TextInput,
    /// f32 `[B, U]`: a report's sentences as shares of 1; zero for a report without any.
    pub shares: Tensor,
    /// Boolean `[B, B]`: reports that say the same, or nothing.
    pub same: Tensor,
}

/// Both losses, scalars, weighted; zero where switched off.
#[derive(Debug)]
pub struct AlignmentLosses {
    /// Lesion regions against sentences.
    pub local: Tensor,
    /// Film against report.
    pub global: Tensor,
}

/// The text encoder and the losses; its variables are apart from the report model's.
#[derive(Debug)]
pub struct Alignment {
    vs: nn::VarStore,
    config: AlignmentConfig,
    text: TextEncoder,
    of_regions: Boundary,
    of_patches: Boundary,
}

impl Alignment {
    /// A fresh alignment for texts over `words` ids, to visual tokens of width `d_visual`.
    ///
    /// # Errors
    /// [`Error::Config`] when the text encoder's sizes do not fit together.
    pub fn new(config: &AlignmentConfig, words: i64, d_visual: i64, device: Device) -> Result<Self> {
        let text = &config.text;
        if text.heads < 1 || text.width % text.heads != 0 || text.max_tokens < 3 {
            return Err(Error::Config {
                place: "report.align.text".into(),
                problem: format!("`heads` = {} must divide `width` = {}; `max_tokens` >= 3", text.heads, text.width),
            });
        }
        let shape = BertShape {
            words,
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
        let (of_regions, of_patches) = (boundary("lab_boundary"), boundary("gab_boundary"));
        Ok(Self { vs, config: config.clone(), text: encoder, of_regions, of_patches })
    }

    /// The variables.
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

    /// The losses of a batch. `epoch` counts from 0. Boundaries that are learnt learn where it trains.
    pub fn losses(&mut self, image: &ImageTokens, texts: &ReportTexts, epoch: i64, train: bool) -> AlignmentLosses {
        let zero = || Tensor::zeros([], (Kind::Float, image.patches.device()));
        let negatives = if epoch < self.config.all_negatives_epochs { Negatives::All } else { Negatives::Hardest };
        let AlignmentConfig { lab_weight, gab_weight, .. } = self.config;
        AlignmentLosses {
            local: if lab_weight > 0.0 { self.local(image, texts, negatives, train) * lab_weight } else { zero() },
            global: if gab_weight > 0.0 { self.global(image, texts, negatives, train) * gab_weight } else { zero() },
        }
    }

    /// How much each sentence matches each region of its image, as shares of 1: f32 `[U, N]`, zero where it matches none. `of_image`:
    /// i64 `[U]`.
    pub fn sentence_weights(
        &self,
        regions: &Tensor,
        present: &Tensor,
        sentences: &TextInput,
        of_image: &Tensor,
    ) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let image = Tokens::unit(&regions.index_select(0, of_image), &present.index_select(0, of_image));
        let weights =
            attended(&image, &self.text.sentences(sentences, false), self.config.temperature, self.of_regions.value());
        let total = weights.sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
        weights / total.clamp_min(TINY)
    }

    /// Similarity of each image's regions and each report: the mean over its sentences.
    fn local(&mut self, image: &ImageTokens, texts: &ReportTexts, negatives: Negatives, train: bool) -> Tensor {
        let sentences = self.text.sentences(&texts.sentences, train);
        let regions = regions_or_pooled(image);
        let found = scores(&regions, &sentences, self.config.temperature, self.of_regions.value());
        if train && self.config.adaptive_boundary {
            // Every report that holds a sentence matches it; the first counts as its own.
            let held = texts.shares.gt(0.0);
            let own = held.to_kind(Kind::Int64).argmax(0, false);
            self.of_regions.learn(&regions, &sentences, &found, &own, &held);
        }
        let similarity = found.matmul(&texts.shares.tr());
        self.ranked(&similarity, &texts.shares.matmul(&sentences.mean()), texts, negatives)
    }

    /// Similarity of each film and each report: half from patches and words, half from their means.
    fn global(&mut self, image: &ImageTokens, texts: &ReportTexts, negatives: Negatives, train: bool) -> Tensor {
        let reports = self.text.reports(&texts.reports, train);
        let everywhere =
            Tensor::ones([image.patches.size()[0], image.patches.size()[1]], (Kind::Bool, image.patches.device()));
        let patches = Tokens::unit(image.patches, &everywhere);
        let means = unit(&image.patches.mean_dim([1i64].as_slice(), false, Kind::Float));
        let of_means = means.matmul(&unit(&reports.mean()).tr());
        let found = scores(&patches, &reports, self.config.temperature, self.of_patches.value());
        let similarity = (found + of_means) * 0.5;
        if train && self.config.adaptive_boundary {
            let own = Tensor::arange(similarity.size()[1], (Kind::Int64, similarity.device()));
            self.of_patches.learn(&patches, &reports, &similarity, &own, &texts.same);
        }
        self.ranked(&similarity, &reports.mean(), texts, negatives)
    }

    fn ranked(&self, similarity: &Tensor, texts: &Tensor, batch: &ReportTexts, negatives: Negatives) -> Tensor {
        let AlignmentConfig { margin, margin_ratio, same_report, sum, .. } = self.config;
        ranking_loss(similarity, &Pairs::new(texts, &batch.same, margin, margin_ratio, same_report), negatives, sum)
    }
}

/// Region tokens at unit length; pooled patches for an image without regions.
fn regions_or_pooled(image: &ImageTokens) -> Tokens {
    let [batch, patches, width] = [0, 1, 2].map(|axis| image.patches.size()[axis]);
    // Maps of several views stand below each other.
    let size = ((patches / image.views.max(1)) as f64).sqrt().round() as i64;
    let map = image.patches.transpose(1, 2).reshape([batch, width, patches / size.max(1), size]);
    let pooled = map.adaptive_avg_pool2d([POOLED_SIZE, POOLED_SIZE]).flatten(2, 3).transpose(1, 2);
    let per_image = image.regions.size()[1];
    let places = per_image.max(POOLED_SIZE * POOLED_SIZE);
    let filled = |tokens: &Tensor| tokens.constant_pad_nd([0, 0, 0, places - tokens.size()[1]]);
    let none = image.present.to_kind(Kind::Int64).sum_dim_intlist([1i64].as_slice(), true, Kind::Int64).eq(0);
    let pooled_present = Tensor::arange(places, (Kind::Int64, map.device())).lt(POOLED_SIZE * POOLED_SIZE).unsqueeze(0);
    let present = image.present.to_kind(Kind::Int64).constant_pad_nd([0, places - per_image]).to_kind(Kind::Bool);
    let vectors = filled(&pooled).where_self(&none.unsqueeze(-1), &filled(image.regions));
    Tokens::unit(&vectors, &pooled_present.where_self(&none, &present))
}

#[cfg(test)]
mod tests;
