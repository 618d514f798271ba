//! The region proposal network (Ren et al. 2015, arXiv:1506.01497) on a feature pyramid: objectness and box deltas of
//! every anchor. Pyramid levels f32 or bf16 `[B, C, H, W]` in, proposals per image out. The layers that predict are f32.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::{ImageSize, Model};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor, nn};

use crate::config::detector::RcnnConfig;
use crate::detector::box_coder::{RPN_WEIGHTS, decode, encode};
use crate::detector::grouped_nms::grouped_nms;
use crate::detector::iou::pairwise_iou;
use crate::detector::losses::{ClassAndBoxLoss, objectness_loss, smooth_l1};
use crate::detector::pyramid::Pyramid;
use crate::detector::rcnn::anchors::{AnchorCache, PER_CELL};
use crate::detector::rcnn::matcher::{BACKGROUND, IGNORED, Matcher, Matches};
use crate::detector::rcnn::rules::RcnnRules;
use crate::detector::rcnn::sampler::{AnchorSampler, Draw, SampledAnchors};
use crate::detector::target::{PaddedTargets, Supervision};
use crate::error::{Error, Result};
use crate::nn::compute_kind::same_convolution;

/// Number of the pyramid's finest level, P2.
const FINEST: usize = 2;
const MATCHER: Matcher = Matcher { low: 0.3, high: 0.7, low_quality: true };
/// Non-maximum suppression of proposals: largest IoU with a better one of the same level.
const NMS_IOU_MAX: f32 = 0.7;
/// Numbers per candidate: logit and four corners.
const CANDIDATE: usize = 5;

/// A shared 3x3 convolution, objectness and box deltas per anchor.
#[derive(Debug)]
pub struct Rpn {
    convs: Vec<nn::Conv2D>,
    cls_logits: nn::Conv2D,
    bbox_pred: nn::Conv2D,
    rules: RcnnRules,
    config: RcnnConfig,
    anchors: AnchorCache,
}

/// Predictions for all `N` anchors of an image.
#[derive(Debug)]
pub struct RpnOutputs {
    /// f32 `[B, N]`, before the sigmoid.
    pub objectness: Tensor,
    /// f32 `[B, N, 4]`.
    pub deltas: Tensor,
    /// f32 `[N, 4]`, model pixels.
    pub anchors: Tensor,
    /// Number of anchors of each level.
    pub per_level: Vec<i64>,
}

/// Boxes of a batch that the region proposal network is trained on.
#[derive(Debug)]
pub struct RpnTargets {
    pub boxes: PaddedTargets,
    /// Ignore regions: background anchors that overlap one by the background threshold or more enter no loss.
    pub ignored: Option<PaddedTargets>,
    pub supervision: Supervision,
}

/// Which numbers of candidates and proposals of [`RcnnConfig`] apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalCounts {
    /// `candidates_train`, `proposals_train`.
    Training,
    /// `candidates_eval`, `proposals_eval`.
    Inference,
}

/// Proposals of an image, best first.
pub type Proposals = Vec<BoxXyxy<Model>>;

impl Rpn {
    /// The network under `rpn`, with torchvision's parameter names.
    pub fn new(path: &nn::Path, channels: i64, rules: RcnnRules, config: &RcnnConfig) -> Self {
        let head = path / "head";
        let conv = |path: nn::Path, outputs: i64, kernel: i64| {
            let config = nn::ConvConfig {
                padding: kernel / 2,
                ws_init: nn::Init::Randn { mean: 0.0, stdev: 0.01 },
                bs_init: nn::Init::Const(0.0),
                ..nn::ConvConfig::default()
            };
            nn::conv2d(path, channels, outputs, kernel, config)
        };
        Self {
            convs: (0..config.rpn_convs).map(|i| conv(&head / "conv" / i / "0", channels, 3)).collect(),
            cls_logits: conv(&head / "cls_logits", PER_CELL, 1),
            bbox_pred: conv(&head / "bbox_pred", 4 * PER_CELL, 1),
            rules,
            config: config.clone(),
            anchors: AnchorCache::default(),
        }
    }

    /// Objectness and deltas of every anchor of the pyramid.
    pub fn forward(&self, pyramid: &Pyramid) -> RpnOutputs {
        let per_anchor = |xs: &Tensor, values: i64| xs.permute([0, 2, 3, 1]).reshape([xs.size()[0], -1, values]);
        let (mut objectness, mut deltas) = (Vec::new(), Vec::new());
        for map in &pyramid.maps {
            let hidden = self.convs.iter().fold(map.shallow_clone(), |xs, conv| same_convolution(&xs, conv).relu_());
            let hidden = hidden.to_kind(Kind::Float);
            objectness.push(per_anchor(&hidden.apply(&self.cls_logits), 1).squeeze_dim(2));
            deltas.push(per_anchor(&hidden.apply(&self.bbox_pred), 4));
        }
        let device = pyramid.maps[0].device();
        RpnOutputs {
            objectness: Tensor::cat(&objectness, 1),
            deltas: Tensor::cat(&deltas, 1),
            anchors: self.anchors.get(&pyramid.levels, FINEST, self.rules.rounded_anchors, device),
            per_level: pyramid.levels.iter().map(|l| l.cells() * PER_CELL).collect(),
        }
    }

    /// Classification and box loss. On pseudo-labels every anchor is weighted with the score of the box that it
    /// overlaps most, and there is no box loss (Unbiased Teacher v2). Seeds `tch`'s global generator from `draw`.
    pub fn losses(&self, outputs: &RpnOutputs, targets: &RpnTargets, draw: &mut Draw) -> ClassAndBoxLoss {
        let matches = match_anchors(&outputs.anchors, targets);
        let sampled = self.sample(&matches, draw);
        let indices = sampled.indices();
        let mut weights = sampled.valid().to_kind(Kind::Float);
        let divisor = self.divisor(&weights);
        if targets.supervision == Supervision::Pseudo {
            weights *= targets.boxes.scores.gather(1, &matches.boxes.gather(1, &indices, false), false);
        }
        let logits = outputs.objectness.gather(1, &indices, false);
        let class = objectness_loss(&logits, &sampled.objectness(), &weights) / &divisor;
        let boxes = match targets.supervision {
            Supervision::Pseudo => &class.detach() * 0.0,
            Supervision::Labelled => self.box_loss(outputs, &targets.boxes, &matches, &sampled) / divisor,
        };
        ClassAndBoxLoss { class, boxes }
    }

    fn sample(&self, matches: &Matches, draw: &mut Draw) -> SampledAnchors {
        let labels = &matches.labels;
        if let Some(seed) = draw.next_torch_seed() {
            tch::manual_seed(seed);
        }
        let keys = draw.keys([labels.size()[0], labels.size()[1]], labels.device());
        AnchorSampler { per_image: self.config.anchors_per_image, foreground_share: self.rules.rpn_foreground }
            .sample(labels, &keys)
    }

    /// What both losses are divided by, a scalar. `valid`: f32 `[B, F + M]`, 1 for each anchor of the subset.
    fn divisor(&self, valid: &Tensor) -> Tensor {
        if self.rules.rpn_fixed_divisor {
            let batch = valid.size()[0];
            Tensor::from((self.config.anchors_per_image * batch) as f32).to_device(valid.device())
        } else {
            valid.sum(Kind::Float).clamp_min(1.0)
        }
    }

    /// Sum of the smooth L1 over the sampled foreground anchors.
    fn box_loss(
        &self,
        outputs: &RpnOutputs,
        targets: &PaddedTargets,
        matches: &Matches,
        sampled: &SampledAnchors,
    ) -> Tensor {
        let chosen = &sampled.foreground;
        let matched = matches.boxes.gather(1, chosen, false);
        let corners = |t: &Tensor| t.unsqueeze(2).expand([-1, -1, 4], false);
        let deltas = outputs.deltas.gather(1, &corners(chosen), false).reshape([-1, 4]);
        let references = outputs.anchors.index_select(0, &chosen.reshape([-1]));
        let boxes = targets.boxes.gather(1, &corners(&matched), false).reshape([-1, 4]);
        let valid = sampled.foreground_valid.reshape([-1, 1]);
        // Anchors outside the subset get themselves as target: the loss is finite, and weighted 0.
        let wanted = encode(&boxes.where_self(&valid, &references), &references, RPN_WEIGHTS);
        (smooth_l1(&deltas, &wanted, self.rules.l1_beta) * valid.to_kind(Kind::Float)).sum(Kind::Float)
    }

    /// Proposals per image. `sizes`: of each image without padding. One copy to the host.
    ///
    /// # Errors
    /// [`Error::BadData`] with the counts of training when a box is not finite: training has diverged.
    pub fn proposals(
        &self,
        outputs: &RpnOutputs,
        sizes: &[ImageSize],
        counts: ProposalCounts,
    ) -> Result<Vec<Proposals>> {
        let _no_grad = tch::no_grad_guard();
        let batch = sizes.len() as i64;
        let config = &self.config;
        let (candidates, proposals) = match counts {
            ProposalCounts::Training => (config.candidates_train, config.proposals_train),
            ProposalCounts::Inference => (config.candidates_eval, config.proposals_eval),
        };
        let (mut chosen, mut groups, mut first) = (Vec::new(), Vec::new(), 0);
        for (level, &count) in outputs.per_level.iter().enumerate() {
            let k = candidates.min(count);
            let (_, top) = outputs.objectness.narrow(1, first, count).topk(k, 1, true, true);
            chosen.push(top + first);
            groups.resize(groups.len() + k as usize, level as i32);
            first += count;
        }
        let chosen = Tensor::cat(&chosen, 1);
        let logits = outputs.objectness.gather(1, &chosen, false);
        let deltas = outputs.deltas.gather(1, &chosen.unsqueeze(2).expand([-1, -1, 4], false), false);
        let references = outputs.anchors.index_select(0, &chosen.reshape([-1]));
        let boxes = decode(&deltas.reshape([-1, 4]), &references, RPN_WEIGHTS).reshape([batch, -1, 4]);
        let ranked = if self.rules.rank_by_probability { logits.sigmoid() } else { logits };
        let rows = Tensor::cat(&[ranked.unsqueeze(2), boxes], 2).to_device(Device::Cpu);
        let rows = Vec::<f32>::try_from(rows.reshape([-1]))?;
        if groups.is_empty() {
            return Ok(vec![Vec::new(); sizes.len()]);
        }
        if counts == ProposalCounts::Training && rows.iter().any(|v| !v.is_finite()) {
            let problem = "a proposal is not finite: training has diverged; lower detector.train.lr";
            return Err(Error::bad_data("region proposals", problem));
        }
        let limits = ProposalLimits { size_min: self.rules.proposal_size_min, count: proposals as usize };
        let per_image = rows.par_chunks_exact(groups.len() * CANDIDATE).zip(sizes);
        Ok(per_image.map(|(rows, size)| select(rows, &groups, *size, limits)).collect())
    }
}

/// Labels and boxes of all anchors `[N, 4]`; background near an ignore region becomes ignored.
fn match_anchors(anchors: &Tensor, targets: &RpnTargets) -> Matches {
    let matched =
        |boxes: &PaddedTargets| tch::no_grad(|| MATCHER.matches(&pairwise_iou(&boxes.boxes, anchors), &boxes.present));
    let mut matches = matched(&targets.boxes);
    if let Some(ignored) = &targets.ignored {
        let near = matched(ignored).labels.ne(BACKGROUND);
        let ignored = matches.labels.eq(BACKGROUND).logical_and(&near);
        matches.labels = matches.labels.masked_fill(&ignored, IGNORED);
    }
    matches
}

/// Which proposals of an image are kept.
#[derive(Debug, Clone, Copy)]
struct ProposalLimits {
    /// Smallest width and height, model pixels; 0 keeps every box with an area.
    size_min: f32,
    /// Largest number.
    count: usize,
}

/// Clips the candidates of one image, drops small ones, suppresses level by level, keeps the top-k. `groups`: their
/// levels.
fn select(rows: &[f32], groups: &[i32], size: ImageSize, limits: ProposalLimits) -> Proposals {
    let (width, height, size_min) = (size.width as f32, size.height as f32, limits.size_min);
    let (mut boxes, mut scores, mut kept_groups) = (Vec::new(), Vec::new(), Vec::new());
    for (row, group) in rows.chunks_exact(CANDIDATE).zip(groups) {
        let region = BoxXyxy::<Model>::new(row[1], row[2], row[3], row[4]).clip(width, height);
        let large =
            if size_min > 0.0 { region.width() >= size_min && region.height() >= size_min } else { region.is_proper() };
        if large && row.iter().all(|v| v.is_finite()) {
            boxes.push(region);
            scores.push(row[0]);
            kept_groups.push(*group);
        }
    }
    let kept = grouped_nms(&boxes, &scores, &kept_groups, NMS_IOU_MAX);
    kept.into_iter().take(limits.count).map(|i| boxes[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::detector::Profile;
    use crate::detector::target::Target;

    #[test]
    fn background_anchors_near_an_ignore_region_enter_no_loss() {
        let vs = nn::VarStore::new(Device::Cpu);
        let rpn = Rpn::new(&vs.root(), 4, RcnnRules::of(Profile::Utv2), &RcnnConfig::torchvision_v1());
        let b = |x: f32| BoxXyxy::new(x, 0.0, x + 10.0, 10.0);
        let anchors: Vec<f32> = [b(0.0), b(20.0), b(26.0), b(60.0)].iter().flat_map(|b| b.to_array()).collect();
        let gradient = |ignored: Option<PaddedTargets>| {
            let objectness = Tensor::zeros([1, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let outputs = RpnOutputs {
                objectness: objectness.shallow_clone(),
                deltas: Tensor::zeros([1, 4, 4], (Kind::Float, Device::Cpu)),
                anchors: Tensor::from_slice(&anchors).view([4, 4]),
                per_level: vec![4],
            };
            let boxes = PaddedTargets::new(&[vec![Target::truth(1, b(0.0))]], Device::Cpu);
            let targets = RpnTargets { boxes, ignored, supervision: Supervision::Pseudo };
            rpn.losses(&outputs, &targets, &mut Draw::First).class.backward();
            Vec::<f32>::try_from(objectness.grad().reshape([-1])).unwrap()
        };
        let signs =
            |gradient: Vec<f32>| gradient.iter().map(|g| g.partial_cmp(&0.0).unwrap() as i8).collect::<Vec<_>>();
        assert_eq!(signs(gradient(None)), [-1, 1, 1, 1], "the first is foreground, the others are background");
        // The first anchor's own target has precedence over an ignore region; the third overlaps b(20) by less than 0.3.
        let ignored = PaddedTargets::new(&[vec![Target::truth(2, b(20.0)), Target::truth(2, b(0.0))]], Device::Cpu);
        assert_eq!(signs(gradient(Some(ignored))), [-1, 0, 1, 1]);
    }
}
