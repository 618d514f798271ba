//! The student's losses: words of the mixed text, the teacher's words on the same prefix, the teacher's features,
//! centres and edges of boxes, labels.

use tch::{Kind, Reduction, Tensor};

use crate::config::preview::DistillConfig;
use crate::preview_model::distill::batch::PreviewBatch;
use crate::preview_model::model::preview_model::{PreviewFeatures, PreviewModel};

/// Kept away from 0 and 1 where a logarithm is taken.
const TINY: f64 = 1e-4;

/// What the teacher says of a batch.
#[derive(Debug)]
pub struct TeacherView {
    /// Log-probabilities of the same words, `[B, T, words]`.
    pub log_probs: Tensor,
    /// Its patch features `[B, C, g, g]`; `None` where its films are cut otherwise.
    pub map: Option<Tensor>,
}

/// Each part, not weighted.
#[derive(Debug)]
pub struct DistillLosses {
    /// Cross-entropy of the text's words.
    pub word: Tensor,
    /// Divergence from the teacher's words, times the temperature squared.
    pub divergence: Tensor,
    /// Cosine distance to the teacher's features.
    pub features: Tensor,
    /// Heat map and edges.
    pub cells: Tensor,
    /// Binary cross-entropy of the labels.
    pub labels: Tensor,
}

impl DistillLosses {
    /// The weighted sum; words only count when they are trained.
    pub fn total(&self, config: &DistillConfig, words: bool) -> Tensor {
        let seen = &self.features * config.feature_weight
            + &self.cells * config.heat_weight
            + &self.labels * config.label_weight;
        if words { seen + &self.word + &self.divergence * config.word_weight } else { seen }
    }
}

/// The losses of a batch. `adapter` maps the student's cells to the teacher's width and is thrown away afterwards.
/// Without `words` the decoder is left alone.
pub fn losses(
    student: &PreviewModel,
    adapter: &tch::nn::Linear,
    batch: &PreviewBatch,
    teacher: &TeacherView,
    config: &DistillConfig,
    words: bool,
) -> DistillLosses {
    let features = student.features(&batch.films, true);
    let zero = || batch.labels.new_zeros([], (Kind::Float, batch.labels.device()));
    let (word, divergence) =
        if words { word_losses(student, &features, batch, &teacher.log_probs, config) } else { (zero(), zero()) };
    let map = teacher.map.as_ref().map_or_else(zero, |map| feature_loss(&features, adapter, map));
    let labels = features.labels.binary_cross_entropy_with_logits::<Tensor>(&batch.labels, None, None, Reduction::Mean);
    DistillLosses { word, divergence, features: map, cells: cell_loss(&features, batch), labels }
}

fn word_losses(
    student: &PreviewModel,
    features: &PreviewFeatures,
    batch: &PreviewBatch,
    teacher: &Tensor,
    config: &DistillConfig,
) -> (Tensor, Tensor) {
    let length = batch.ids.size()[1] - 1;
    let inputs = batch.ids.narrow(1, 0, length);
    let next = batch.ids.narrow(1, 1, length).unsqueeze(-1);
    let (logits, _) = student.decoder.forward_t(&inputs, &features.tokens, true);
    let log_probs = logits.log_softmax(-1, Kind::Float);
    let words = batch.kept.sum(Kind::Float).clamp_min(1.0);
    let smooth = config.label_smoothing;
    let target = -log_probs.gather(2, &next, false).squeeze_dim(2);
    let spread = -log_probs.mean_dim([2i64].as_slice(), false, None::<Kind>);
    let word = ((target * (1.0 - smooth) + spread * smooth) * &batch.kept).sum(Kind::Float) / &words;
    let heat = config.temperature;
    let told = (teacher / heat).log_softmax(-1, Kind::Float);
    let said = (logits / heat).log_softmax(-1, Kind::Float);
    let gap = (told.exp() * (&told - said)).sum_dim_intlist([2i64].as_slice(), false, Kind::Float);
    (word, (gap * &batch.kept).sum(Kind::Float) / words * (heat * heat))
}

/// One minus the cosine, mean over cells; the teacher's map is laid over the student's grid.
fn feature_loss(features: &PreviewFeatures, adapter: &tch::nn::Linear, map: &Tensor) -> Tensor {
    let size = features.map.size();
    let told = map.upsample_bilinear2d([size[2], size[3]], false, None, None).flatten(2, 3).transpose(1, 2);
    let said = features.map.flatten(2, 3).transpose(1, 2).apply(adapter);
    (-Tensor::cosine_similarity(&said, &told, 2, 1e-6) + 1.0).mean(Kind::Float)
}

/// Focal loss of the heat map (CornerNet's form) and minus the logarithm of the boxes' IoU at their centres.
fn cell_loss(features: &PreviewFeatures, batch: &PreviewBatch) -> Tensor {
    let heat = features.heat.sigmoid().clamp(TINY, 1.0 - TINY);
    let centre = batch.heat.ge(1.0).to_kind(Kind::Float);
    let hit = (-&heat + 1.0).square() * heat.log() * &centre;
    let away = (-&batch.heat + 1.0).square().square() * heat.square() * (-&heat + 1.0).log() * (-&centre + 1.0);
    let centres = centre.sum(Kind::Float).clamp_min(1.0);
    let focal = -(hit + away).sum(Kind::Float) / centres;
    let smaller = features.edges.minimum(&batch.edges);
    let area = |e: &Tensor| (e.narrow(1, 0, 1) + e.narrow(1, 2, 1)) * (e.narrow(1, 1, 1) + e.narrow(1, 3, 1));
    let shared = area(&smaller);
    let union = area(&features.edges) + area(&batch.edges) - &shared;
    let gap = -((shared + TINY) / (union + TINY)).log() * &batch.owned;
    focal + gap.sum(Kind::Float) / batch.owned.sum(Kind::Float).clamp_min(1.0)
}
