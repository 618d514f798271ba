//! The region proposal network (Ren et al. 2015, arXiv:1506.01497) on a feature pyramid: which anchors hold something,
//! and a better box for each. Pyramid levels f32 `[B, C, H, W]` in, proposals per image out.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Model;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor, nn};

use crate::config::detector::RcnnConfig;
use crate::detector::box_coder::{RPN_WEIGHTS, decode, encode};
use crate::detector::fcos::points::Level;
use crate::detector::grouped_nms::grouped_nms;
use crate::detector::iou::pairwise_iou;
use crate::detector::losses::{objectness_loss, smooth_l1};
use crate::detector::profile::RcnnRules;
use crate::detector::rcnn::anchors::{PER_CELL, anchors};
use crate::detector::rcnn::matcher::{BACKGROUND, IGNORED, Matcher};
use crate::detector::rcnn::sampler::{Draw, Sampler};
use crate::detector::target::{PaddedTargets, Supervision};
use crate::error::{Error, Result};

/// Finest level of the pyramid.
const FINEST: usize = 2;
const MATCHER: Matcher = Matcher { low: 0.3, high: 0.7, low_quality: true };
/// Proposals overlap their better ones by at most this IoU.
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
}

/// What the network says of all anchors.
#[derive(Debug)]
pub struct RpnOutputs {
    /// f32 `[B, N]`, before the sigmoid.
    pub objectness: Tensor,
    /// f32 `[B, N, 4]`.
    pub deltas: Tensor,
    /// f32 `[N, 4]`, model pixels.
    pub anchors: Tensor,
    /// Anchors of each level.
    pub per_level: Vec<i64>,
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
        }
    }

    /// Objectness and deltas of every anchor of the pyramid.
    pub fn forward(&self, pyramid: &[Tensor], levels: &[Level]) -> RpnOutputs {
        let per_anchor = |xs: &Tensor, values: i64| {
            xs.permute([0, 2, 3, 1]).reshape([xs.size()[0], -1, values]).to_kind(Kind::Float)
        };
        let (mut objectness, mut deltas) = (Vec::new(), Vec::new());
        for level in pyramid {
            let hidden = self.convs.iter().fold(level.shallow_clone(), |xs, conv| xs.apply(conv).relu_());
            objectness.push(per_anchor(&hidden.apply(&self.cls_logits), 1).squeeze_dim(2));
            deltas.push(per_anchor(&hidden.apply(&self.bbox_pred), 4));
        }
        let flat = anchors(levels, FINEST, self.rules.rounded_anchors);
        RpnOutputs {
            objectness: Tensor::cat(&objectness, 1),
            deltas: Tensor::cat(&deltas, 1),
            anchors: Tensor::from_slice(&flat).view([-1, 4]).to_device(pyramid[0].device()),
            per_level: levels.iter().map(|l| l.points() * PER_CELL).collect(),
        }
    }

    /// Classification and box loss, scalars with gradients. Background anchors that overlap a box of `aside` by what background may
    /// not overlap a target take no part. On pseudo-labels every anchor counts as much as the
    /// score of the box that it overlaps most, and boxes are not learnt (Unbiased Teacher v2).
    pub fn losses(
        &self,
        outputs: &RpnOutputs,
        (targets, aside): (&PaddedTargets, Option<&PaddedTargets>),
        supervision: Supervision,
        draw: &mut Draw,
    ) -> (Tensor, Tensor) {
        let batch = targets.boxes.size()[0];
        let matched = |boxes: &PaddedTargets| {
            tch::no_grad(|| MATCHER.matches(&pairwise_iou(&boxes.boxes, &outputs.anchors), &boxes.present))
        };
        let mut matches = matched(targets);
        if let Some(aside) = aside {
            let near = matched(aside).labels.ne(BACKGROUND);
            let silent = matches.labels.eq(BACKGROUND).logical_and(&near);
            matches.labels = matches.labels.masked_fill(&silent, IGNORED);
        }
        let sampler = Sampler { per_image: self.config.anchors_per_image, foreground_share: self.rules.rpn_foreground };
        let sampled = sampler.sample(&matches.labels, draw);
        let chosen = Tensor::cat(&[&sampled.foreground, &sampled.background], 1);
        let valid = Tensor::cat(&[&sampled.foreground_valid, &sampled.background_valid], 1);
        let wanted =
            Tensor::cat(&[sampled.foreground.ones_like(), sampled.background.zeros_like()], 1).to_kind(Kind::Float);
        let mut weights = valid.to_kind(Kind::Float);
        let divisor = if self.rules.rpn_fixed_divisor {
            Tensor::from((self.config.anchors_per_image * batch) as f32).to_device(weights.device())
        } else {
            weights.sum(Kind::Float).clamp_min(1.0)
        };
        if supervision == Supervision::Pseudo {
            weights *= targets.scores.gather(1, &matches.boxes.gather(1, &chosen, false), false);
        }
        let logits = outputs.objectness.gather(1, &chosen, false);
        let class = objectness_loss(&logits, &wanted, &weights) / &divisor;
        let boxes = match supervision {
            Supervision::Pseudo => &class.detach() * 0.0,
            Supervision::Labelled => {
                let wanted = matches.boxes.gather(1, &sampled.foreground, false);
                self.box_loss(outputs, targets, (&sampled.foreground, &wanted, &sampled.foreground_valid)) / divisor
            }
        };
        (class, boxes)
    }

    fn box_loss(
        &self,
        outputs: &RpnOutputs,
        targets: &PaddedTargets,
        (chosen, matched, valid): (&Tensor, &Tensor, &Tensor),
    ) -> Tensor {
        let corners = |t: &Tensor| t.unsqueeze(2).expand([-1, -1, 4], false);
        let deltas = outputs.deltas.gather(1, &corners(chosen), false).reshape([-1, 4]);
        let references = outputs.anchors.index_select(0, &chosen.reshape([-1]));
        let boxes = targets.boxes.gather(1, &corners(matched), false).reshape([-1, 4]);
        let valid = valid.reshape([-1, 1]);
        // Places that do not count learn their own anchor: finite, and weighted 0.
        let wanted = encode(&boxes.where_self(&valid, &references), &references, RPN_WEIGHTS);
        (smooth_l1(&deltas, &wanted, self.rules.l1_beta) * valid.to_kind(Kind::Float)).sum(Kind::Float)
    }

    /// Proposals per image. `sizes`: width and height of each image without its padding, model pixels; `train`
    /// takes the training counts. One copy to the host.
    ///
    /// # Errors
    /// [`Error::BadData`] in training when a box is not finite: training has diverged.
    pub fn proposals(&self, outputs: &RpnOutputs, sizes: &[(f32, f32)], train: bool) -> Result<Vec<Proposals>> {
        let _no_grad = tch::no_grad_guard();
        let batch = sizes.len() as i64;
        let config = &self.config;
        let (before, after) = if train {
            (config.candidates_train, config.proposals_train)
        } else {
            (config.candidates_eval, config.proposals_eval)
        };
        let (mut chosen, mut groups, mut first) = (Vec::new(), Vec::new(), 0);
        for (level, &count) in outputs.per_level.iter().enumerate() {
            let most = before.min(count);
            let (_, best) = outputs.objectness.narrow(1, first, count).topk(most, 1, true, true);
            chosen.push(best + first);
            groups.resize(groups.len() + most as usize, level as i32);
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
        if train && rows.iter().any(|v| !v.is_finite()) {
            let problem = "a proposal is not finite: training has diverged; lower detector.train.lr";
            return Err(Error::bad_data("region proposals", problem));
        }
        let side_min = self.rules.proposal_size_min;
        let per_image = rows.par_chunks_exact(groups.len() * CANDIDATE).zip(sizes);
        Ok(per_image.map(|(rows, size)| select(rows, &groups, *size, (side_min, after as usize))).collect())
    }
}

/// Clips, drops the tiny, suppresses level by level, keeps the best.
fn select(rows: &[f32], groups: &[i32], (width, height): (f32, f32), (side_min, most): (f32, usize)) -> Proposals {
    let (mut boxes, mut scores, mut kept_groups) = (Vec::new(), Vec::new(), Vec::new());
    for (row, group) in rows.chunks_exact(CANDIDATE).zip(groups) {
        let region = BoxXyxy::<Model>::new(row[1], row[2], row[3], row[4]).clip(width, height);
        let large =
            if side_min > 0.0 { region.width() >= side_min && region.height() >= side_min } else { region.is_proper() };
        if large && row.iter().all(|v| v.is_finite()) {
            boxes.push(region);
            scores.push(row[0]);
            kept_groups.push(*group);
        }
    }
    let kept = grouped_nms(&boxes, &scores, &kept_groups, NMS_IOU_MAX);
    kept.into_iter().take(most).map(|i| boxes[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::detector::Profile;
    use crate::detector::target::Target;

    #[test]
    fn background_near_a_box_set_aside_takes_no_part() {
        let vs = nn::VarStore::new(Device::Cpu);
        let rpn = Rpn::new(&vs.root(), 4, RcnnRules::of(Profile::Utv2), &RcnnConfig::default());
        let b = |x: f32| BoxXyxy::new(x, 0.0, x + 10.0, 10.0);
        let anchors: Vec<f32> = [b(0.0), b(20.0), b(26.0), b(60.0)].iter().flat_map(|b| b.to_array()).collect();
        let gradient = |aside: Option<&PaddedTargets>| {
            let objectness = Tensor::zeros([1, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let outputs = RpnOutputs {
                objectness: objectness.shallow_clone(),
                deltas: Tensor::zeros([1, 4, 4], (Kind::Float, Device::Cpu)),
                anchors: Tensor::from_slice(&anchors).view([4, 4]),
                per_level: vec![4],
            };
            let targets = PaddedTargets::new(&[vec![Target::truth(1, b(0.0))]], Device::Cpu);
            let (class, _) = rpn.losses(&outputs, (&targets, aside), Supervision::Pseudo, &mut Draw::First);
            class.backward();
            Vec::<f32>::try_from(objectness.grad().reshape([-1])).unwrap()
        };
        let signs =
            |gradient: Vec<f32>| gradient.iter().map(|g| g.partial_cmp(&0.0).unwrap() as i8).collect::<Vec<_>>();
        assert_eq!(signs(gradient(None)), [-1, 1, 1, 1], "the first is taught, the others are denied");
        // The first anchor's own target wins over a box set aside; the third overlaps b(20) by less than 0.3.
        let aside = PaddedTargets::new(&[vec![Target::truth(2, b(20.0)), Target::truth(2, b(0.0))]], Device::Cpu);
        assert_eq!(signs(gradient(Some(&aside))), [-1, 0, 1, 1]);
    }
}
