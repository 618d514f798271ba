//! Losses of the preview model: cross-entropy of the target tokens, divergence from the report model's token distributions, distance
//! to its features, heat map and edges of boxes, labels.

use tch::{Kind, Reduction, Tensor};

use crate::config::preview::DistillConfig;
use crate::preview_model::distill::batch::PreviewBatch;
use crate::preview_model::model::preview_model::{PreviewFeatures, PreviewModel};

/// Distance from 0 and 1 inside logarithms.
const EPSILON: f64 = 1e-4;

/// Outputs of the report model for a batch.
#[derive(Debug)]
pub struct ReportModelOutputs {
    /// f32 `[B, T, V]`: teacher-forced log-probabilities for the batch's targets.
    pub log_probs: Tensor,
    /// f32 `[B, C, g, g]`: patch features; `None` where they do not cover the preview model's input.
    pub map: Option<Tensor>,
}

/// The parts of the loss, scalars without weights.
#[derive(Debug)]
pub struct DistillLosses {
    /// Cross-entropy of the target tokens.
    pub token: Tensor,
    /// Kullback-Leibler divergence from the report model's token distributions, times the temperature squared.
    pub divergence: Tensor,
    /// Cosine distance to the report model's features.
    pub features: Tensor,
    /// Heat map and edges.
    pub cells: Tensor,
    /// Binary cross-entropy of the labels.
    pub labels: Tensor,
}

impl DistillLosses {
    /// The weighted sum; with the token losses where `tokens` is set.
    pub fn total(&self, config: &DistillConfig, tokens: bool) -> Tensor {
        let visual = &self.features * config.feature_weight
            + &self.cells * config.heat_weight
            + &self.labels * config.label_weight;
        if tokens { visual + &self.token + &self.divergence * config.word_weight } else { visual }
    }
}

/// The losses of a batch. `adapter` projects the preview model's cells to the width of the report model's features; it is needed in
/// training only. Without `tokens` the decoder is not trained.
pub fn losses(
    model: &PreviewModel,
    adapter: &tch::nn::Linear,
    batch: &PreviewBatch,
    report_model: &ReportModelOutputs,
    config: &DistillConfig,
    tokens: bool,
) -> DistillLosses {
    let features = model.features(&batch.images, true);
    let zero = || batch.labels.new_zeros([], (Kind::Float, batch.labels.device()));
    let (token, divergence) = match tokens {
        true => token_losses(model, &features, batch, &report_model.log_probs, config),
        false => (zero(), zero()),
    };
    let map = report_model.map.as_ref().map_or_else(zero, |map| feature_loss(&features, adapter, map));
    let labels = features.labels.binary_cross_entropy_with_logits::<Tensor>(&batch.labels, None, None, Reduction::Mean);
    DistillLosses { token, divergence, features: map, cells: cell_loss(&features, batch), labels }
}

/// Cross-entropy with label smoothing, and divergence from `report_log_probs`: f32 `[B, T, V]`.
fn token_losses(
    model: &PreviewModel,
    features: &PreviewFeatures,
    batch: &PreviewBatch,
    report_log_probs: &Tensor,
    config: &DistillConfig,
) -> (Tensor, Tensor) {
    let length = batch.ids.size()[1] - 1;
    let inputs = batch.ids.narrow(1, 0, length);
    let next = batch.ids.narrow(1, 1, length).unsqueeze(-1);
    let (logits, _) = model.decoder.forward_t(&inputs, &features.tokens, true);
    let log_probs = logits.log_softmax(-1, Kind::Float);
    let count = batch.weights.sum(Kind::Float).clamp_min(1.0);
    let smoothing = config.label_smoothing;
    let target = -log_probs.gather(2, &next, false).squeeze_dim(2);
    let uniform = -log_probs.mean_dim([2i64].as_slice(), false, None::<Kind>);
    let token = ((target * (1.0 - smoothing) + uniform * smoothing) * &batch.weights).sum(Kind::Float) / &count;
    let temperature = config.temperature;
    let theirs = (report_log_probs / temperature).log_softmax(-1, Kind::Float);
    let ours = (logits / temperature).log_softmax(-1, Kind::Float);
    let divergence = (theirs.exp() * (&theirs - ours)).sum_dim_intlist([2i64].as_slice(), false, Kind::Float);
    (token, (divergence * &batch.weights).sum(Kind::Float) / count * (temperature * temperature))
}

/// One minus the cosine similarity, mean over cells. `map`: the report model's features, resized to the preview model's grid.
fn feature_loss(features: &PreviewFeatures, adapter: &tch::nn::Linear, map: &Tensor) -> Tensor {
    let size = features.map.size();
    let theirs = map.upsample_bilinear2d([size[2], size[3]], false, None, None).flatten(2, 3).transpose(1, 2);
    let ours = features.map.flatten(2, 3).transpose(1, 2).apply(adapter);
    (-Tensor::cosine_similarity(&ours, &theirs, 2, 1e-6) + 1.0).mean(Kind::Float)
}

/// Focal loss of the heat map (Law and Deng 2018, CornerNet, equation 1) plus the IoU loss `-ln IoU` of the boxes at their centres.
fn cell_loss(features: &PreviewFeatures, batch: &PreviewBatch) -> Tensor {
    let heat = features.heat.sigmoid().clamp(EPSILON, 1.0 - EPSILON);
    let centre = batch.heat.ge(1.0).to_kind(Kind::Float);
    let positive = (-&heat + 1.0).square() * heat.log() * &centre;
    let negative = (-&batch.heat + 1.0).square().square() * heat.square() * (-&heat + 1.0).log() * (-&centre + 1.0);
    let centres = centre.sum(Kind::Float).clamp_min(1.0);
    let focal = -(positive + negative).sum(Kind::Float) / centres;
    let smaller = features.edges.minimum(&batch.edges);
    let area = |e: &Tensor| (e.narrow(1, 0, 1) + e.narrow(1, 2, 1)) * (e.narrow(1, 1, 1) + e.narrow(1, 3, 1));
    let intersection = area(&smaller);
    let union = area(&features.edges) + area(&batch.edges) - &intersection;
    let iou_loss = -((intersection + EPSILON) / (union + EPSILON)).log() * &batch.owned;
    focal + iou_loss.sum(Kind::Float) / batch.owned.sum(Kind::Float).clamp_min(1.0)
}
