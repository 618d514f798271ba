//! The second stage of Faster R-CNN: proposals are pooled, classified and refined. Parameter names are torchvision's;
//! the background is the first class in torchvision's profile and the last one in Unbiased Teacher v2's.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Model;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor, nn};

use crate::config::detector::{DetectorModelConfig, RcnnConfig};
use crate::detector::box_coder::{ROI_WEIGHTS, decode, encode};
use crate::detector::detection::Detection;
use crate::detector::edge_box_coder;
use crate::detector::edge_losses::{ROI_CERTAINTY, edge_regression_loss, softmax_focal, teacher_better};
use crate::detector::grouped_nms::grouped_nms;
use crate::detector::losses::smooth_l1;
use crate::detector::profile::RcnnRules;
use crate::detector::rcnn::box_head::BoxHead;
use crate::detector::rcnn::roi_align::{Roi, pyramid_level};
use crate::detector::rcnn::roi_sampling::{SampledRois, sample};
use crate::detector::rcnn::rpn::Proposals;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::target::{Supervision, Target};
use crate::error::{Error, Result};

/// Finest pyramid level that regions are pooled from.
const FINEST: usize = 2;

/// Box head, class scores, box deltas, and uncertainties where the profile has them.
#[derive(Debug)]
pub struct RoiHeads {
    head: BoxHead,
    cls_score: nn::Linear,
    bbox_pred: nn::Linear,
    bbox_pred_std: Option<nn::Linear>,
    classes: i64,
    rules: RcnnRules,
    config: RcnnConfig,
    detach_iou: bool,
}

/// Raw predictions for `R` regions.
struct Predictions {
    /// f32 `[R, K + 1]`.
    logits: Tensor,
    /// f32 `[R, 4]`, or `[R, 4 (K + 1)]` where each class has its box.
    deltas: Tensor,
    /// f32 `[R, 4]`.
    edge_logits: Option<Tensor>,
}

/// The images of a batch as the second stage sees them.
#[derive(Debug, Clone, Copy)]
pub struct RoiInput<'a> {
    /// P2 to P5, f32 `[B, C, H, W]`.
    pub pyramid: &'a [Tensor],
    /// Their strides, model pixels.
    pub strides: &'a [f32],
    /// Proposals per image.
    pub proposals: &'a [Proposals],
}

impl RoiHeads {
    /// The heads under `roi_heads`.
    pub fn new(path: &nn::Path, config: &DetectorModelConfig, rules: RcnnRules, classes: i64) -> Self {
        let rcnn = &config.rcnn;
        let predictor = path / "box_predictor";
        let linear = |name: &str, outputs: i64, stdev: f64| {
            let config = nn::LinearConfig {
                ws_init: nn::Init::Randn { mean: 0.0, stdev },
                bs_init: Some(nn::Init::Const(0.0)),
                bias: true,
            };
            nn::linear(&predictor / name, rcnn.box_features, outputs, config)
        };
        let boxes = if rules.edges { 1 } else { classes + 1 };
        Self {
            head: BoxHead::new(&(path / "box_head"), config.fpn_channels, rcnn, rules.roi_align),
            cls_score: linear("cls_score", classes + 1, 0.01),
            bbox_pred: linear("bbox_pred", 4 * boxes, 0.001),
            bbox_pred_std: rules.edges.then(|| linear("bbox_pred_std", 4, 1e-4)),
            classes,
            rules,
            config: rcnn.clone(),
            detach_iou: config.detach_iou,
        }
    }

    fn predict(&self, input: &RoiInput, rois: &[(usize, BoxXyxy<Model>)], train: bool) -> Predictions {
        let last = FINEST + input.pyramid.len() - 1;
        let place = |&(image, region): &(usize, BoxXyxy<Model>)| {
            let level = pyramid_level(&region, self.rules.level_epsilon_inside).min(last) - FINEST;
            Roi { image, level, region }
        };
        let rois: Vec<Roi> = rois.iter().map(place).collect();
        let features = self.head.forward(input.pyramid, input.strides, &rois, train);
        let float = |t: Tensor| t.to_kind(Kind::Float);
        Predictions {
            logits: float(features.apply(&self.cls_score)),
            deltas: float(features.apply(&self.bbox_pred)),
            edge_logits: self.bbox_pred_std.as_ref().map(|l| float(features.apply(l))),
        }
    }

    /// The column of a lesion class among the logits.
    fn column(&self, class_id: i32) -> i64 {
        if self.rules.edges { i64::from(class_id) } else { i64::from(class_id) + 1 }
    }

    fn background(&self) -> i64 {
        if self.rules.edges { self.classes } else { 0 }
    }

    /// Classification and box loss, scalars with gradients. Targets, and boxes whose places are not background.
    pub fn losses(
        &self,
        input: &RoiInput,
        targets: (&[Vec<Target>], &[Vec<Target>]),
        supervision: Supervision,
        draw: &mut Draw,
    ) -> (Tensor, Tensor) {
        let SampledRois { rois, matched } = sample(input.proposals, targets, &self.config, draw);
        let found = self.predict(input, &rois, true);
        let device = found.logits.device();
        let columns: Vec<i64> =
            matched.iter().map(|m| m.map_or(self.background(), |t| self.column(t.class_id))).collect();
        let classes = Tensor::from_slice(&columns).to_device(device);
        if rois.is_empty() {
            let zero = found.logits.sum(Kind::Float) + found.deltas.sum(Kind::Float);
            return (zero.shallow_clone(), zero);
        }
        let class = if self.rules.edges {
            softmax_focal(&found.logits, &classes)
        } else {
            found.logits.cross_entropy_for_logits(&classes)
        };
        (class, self.box_loss(&found, &rois, &matched, supervision))
    }

    fn box_loss(
        &self,
        found: &Predictions,
        rois: &[(usize, BoxXyxy<Model>)],
        matched: &[Option<Target>],
        supervision: Supervision,
    ) -> Tensor {
        let device = found.deltas.device();
        let foreground: Vec<(i64, Target)> =
            matched.iter().enumerate().filter_map(|(i, m)| Some((i as i64, (*m)?))).collect();
        let column = |(row, target): &(i64, Target)| {
            if self.rules.edges { *row } else { row * (self.classes + 1) + self.column(target.class_id) }
        };
        let rows: Vec<i64> = foreground.iter().map(|(row, _)| *row).collect();
        let places: Vec<i64> = foreground.iter().map(column).collect();
        let references: Vec<f32> = rows.iter().flat_map(|&row| rois[row as usize].1.to_array()).collect();
        let boxes: Vec<f32> = foreground.iter().flat_map(|(_, t)| t.region.to_array()).collect();
        let corners = |values: &[f32]| Tensor::from_slice(values).view([-1, 4]).to_device(device);
        let (references, boxes) = (corners(&references), corners(&boxes));
        let places = Tensor::from_slice(&places).to_device(device);
        let deltas = found.deltas.view([-1, 4]).index_select(0, &places);
        let count = rois.len() as f64;
        let Some(edge_logits) = &found.edge_logits else {
            // Without uncertainties nothing says which pseudo-boxes are well placed: they teach classes only.
            if supervision == Supervision::Pseudo {
                return deltas.sum(Kind::Float) * 0.0;
            }
            let wanted = encode(&boxes, &references, ROI_WEIGHTS);
            return smooth_l1(&deltas, &wanted, self.rules.l1_beta).sum(Kind::Float) / count;
        };
        let rows = Tensor::from_slice(&rows).to_device(device);
        let student = edge_logits.index_select(0, &rows);
        if supervision == Supervision::Pseudo {
            let residuals = edge_box_coder::encode(&boxes, &references) - &deltas;
            let unknown = [f32::INFINITY; 4];
            let of_teacher: Vec<f32> = foreground.iter().flat_map(|(_, t)| t.edge_logits.unwrap_or(unknown)).collect();
            let better = teacher_better(&corners(&of_teacher), &student, ROI_CERTAINTY);
            return (residuals.abs() * better).sum(Kind::Float) / count;
        }
        edge_regression_loss((&boxes, &references), &deltas, &student, self.detach_iou) / count
    }

    /// Detections per image, best first. `sizes`: width and height without padding, model pixels. One copy to the
    /// host.
    ///
    /// # Errors
    /// [`Error::BadData`] when the output is not finite.
    pub fn detect(
        &self,
        input: &RoiInput,
        sizes: &[(f32, f32)],
        config: &DetectorModelConfig,
    ) -> Result<Vec<Vec<Detection<Model>>>> {
        let _no_grad = tch::no_grad_guard();
        let with_image =
            |(image, found): (usize, &Proposals)| found.iter().map(move |b| (image, *b)).collect::<Vec<_>>();
        let rois: Vec<(usize, BoxXyxy<Model>)> = input.proposals.iter().enumerate().flat_map(with_image).collect();
        if rois.is_empty() {
            return Ok(vec![Vec::new(); sizes.len()]);
        }
        let found = self.predict(input, &rois, false);
        let first = if self.rules.edges { 0 } else { 1 };
        let scores = found.logits.softmax(-1, Kind::Float).narrow(1, first, self.classes);
        let references: Vec<f32> = rois.iter().flat_map(|(_, b)| b.to_array()).collect();
        let references = Tensor::from_slice(&references).view([-1, 4]).to_device(scores.device());
        let count = rois.len() as i64;
        let boxes = if self.rules.edges {
            edge_box_coder::decode(&found.deltas, &references)
        } else {
            let each = references.unsqueeze(1).expand([-1, self.classes, 4], true).reshape([-1, 4]);
            let deltas = found.deltas.view([count, self.classes + 1, 4]).narrow(1, 1, self.classes).reshape([-1, 4]);
            decode(&deltas, &each, ROI_WEIGHTS).view([count, -1])
        };
        let mut columns = vec![scores, boxes];
        if let Some(logits) = found.edge_logits {
            // Standard deviations in the order of the corners, in units of the coder times the region's size.
            let sizes = references.narrow(1, 2, 2) - references.narrow(1, 0, 2);
            let [x, y] = [0, 1].map(|axis| sizes.narrow(1, axis, 1));
            let units = Tensor::cat(&[&x, &x, &y, &y], 1) / edge_box_coder::WEIGHT;
            let stds = logits.sigmoid() * units;
            columns.extend([logits, stds]);
        }
        let rows = Tensor::cat(&columns, 1).to_device(Device::Cpu);
        let width = rows.size()[1] as usize;
        let rows = Vec::<f32>::try_from(rows.reshape([-1]))?;
        if rows.iter().any(|v| !v.is_finite()) {
            return Err(Error::bad_data("detector", "its output is not finite; the weights or the input are damaged"));
        }
        let mut starts = vec![0];
        for found in input.proposals {
            starts.push(starts[starts.len() - 1] + found.len() * width);
        }
        let layout = RowLayout { width, classes: self.classes as usize, rules: self.rules };
        let image = |(i, size): (usize, &(f32, f32))| select(&rows[starts[i]..starts[i + 1]], layout, *size, config);
        Ok(sizes.par_iter().enumerate().map(image).collect())
    }
}

/// How a region's numbers stand in a row: class scores, boxes, raw uncertainties.
#[derive(Debug, Clone, Copy)]
struct RowLayout {
    width: usize,
    classes: usize,
    rules: RcnnRules,
}

/// Threshold, clip, class-wise suppression, the best few of one image.
fn select(
    rows: &[f32],
    layout: RowLayout,
    (width, height): (f32, f32),
    config: &DetectorModelConfig,
) -> Vec<Detection<Model>> {
    let RowLayout { classes, rules, .. } = layout;
    let (mut found, mut boxes, mut scores, mut groups) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in rows.chunks_exact(layout.width) {
        let four = |first: usize| rules.edges.then(|| [0, 1, 2, 3].map(|i| row[classes + first + i]));
        let (edge_logits, edge_stds) = (four(4), four(8).map(edge_box_coder::reordered));
        for (class, &score) in row[..classes].iter().enumerate() {
            if f64::from(score) <= config.score_min {
                continue;
            }
            let at = if rules.edges { classes } else { classes + 4 * class };
            let region = BoxXyxy::<Model>::new(row[at], row[at + 1], row[at + 2], row[at + 3]).clip(width, height);
            let side_min = rules.detection_size_min;
            if side_min > 0.0 && (region.width() < side_min || region.height() < side_min) {
                continue;
            }
            boxes.push(region);
            scores.push(score);
            groups.push(class as i32);
            found.push(Detection { class_id: class as i32, score, region, edge_logits, edge_stds });
        }
    }
    grouped_nms(&boxes, &scores, &groups, config.nms_iou_max as f32)
        .into_iter()
        .map(|i| found[i])
        .take(config.detections_per_image)
        .filter(|d| d.region.is_proper())
        .collect()
}
