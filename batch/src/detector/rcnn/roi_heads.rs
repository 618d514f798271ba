//! The second stage of Faster R-CNN: proposals are pooled, classified and refined. Parameter names are torchvision's.
//! Background is the first class in torchvision's profile, the last one in that of Unbiased Teacher v2, whose deltas
//! and uncertainties have the edge coder's channel order inside this file; detections and targets have edge order.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::{ImageSize, Model};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor, nn};

use crate::config::detector::{DetectorModelConfig, RcnnConfig};
use crate::detector::box_coder::{ROI_WEIGHTS, decode, encode};
use crate::detector::detection::Detection;
use crate::detector::edge_box_coder;
use crate::detector::edge_losses::{ROI_CERTAINTY, edge_regression_loss, softmax_focal, teacher_better};
use crate::detector::grouped_nms::grouped_nms;
use crate::detector::losses::{ClassAndBoxLoss, smooth_l1};
use crate::detector::rcnn::box_head::BoxHead;
use crate::detector::rcnn::roi_align::{Roi, pyramid_level};
use crate::detector::rcnn::roi_sampling::{ImageRegion, SampledRois, sample};
use crate::detector::rcnn::rpn::Proposals;
use crate::detector::rcnn::rules::RcnnRules;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::target::{BatchTargets, Supervision, Target};
use crate::error::{Error, Result};

/// Number of the finest pyramid level that regions are pooled from, P2.
const FINEST: usize = 2;

/// Box head and the layers for class scores, box deltas and, in the `utv2` profile, uncertainties of the edges.
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

/// Predictions for `R` regions.
struct Predictions {
    /// f32 `[R, K + 1]`.
    logits: Tensor,
    /// f32 `[R, 4]` by the edge coder, or `[R, 4 (K + 1)]` by the classic coder with a box per class.
    deltas: Tensor,
    /// f32 `[R, 4]`, channel order of the edge coder.
    edge_logits: Option<Tensor>,
}

/// Input of the second stage.
#[derive(Debug, Clone, Copy)]
pub struct RoiInput<'a> {
    /// P2 to P5, f32 or bf16 `[B, C, H, W]`.
    pub maps: &'a [Tensor],
    /// Strides of the maps, model pixels.
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

    fn predict(&self, input: &RoiInput, rois: &[ImageRegion], train: bool) -> Predictions {
        let last = FINEST + input.maps.len() - 1;
        let with_level = |&ImageRegion { image, region }: &ImageRegion| {
            let level = pyramid_level(&region, self.rules.level_epsilon_inside).min(last) - FINEST;
            Roi { image, level, region }
        };
        let rois: Vec<Roi> = rois.iter().map(with_level).collect();
        // The layers that predict are f32.
        let features = self.head.forward(input.maps, input.strides, &rois, train).to_kind(Kind::Float);
        Predictions {
            logits: features.apply(&self.cls_score),
            deltas: features.apply(&self.bbox_pred),
            edge_logits: self.bbox_pred_std.as_ref().map(|l| features.apply(l)),
        }
    }

    /// Column of a lesion class among the logits.
    fn column(&self, class_id: i32) -> i64 {
        if self.rules.edges { i64::from(class_id) } else { i64::from(class_id) + 1 }
    }

    /// Column of the background.
    fn background(&self) -> i64 {
        if self.rules.edges { self.classes } else { 0 }
    }

    /// Classification and box loss of a sample of the proposals and target boxes.
    pub fn losses(&self, input: &RoiInput, targets: BatchTargets, draw: &mut Draw) -> ClassAndBoxLoss {
        let SampledRois { rois, matched } = sample(input.proposals, targets, &self.config, draw);
        let found = self.predict(input, &rois, true);
        let device = found.logits.device();
        let columns: Vec<i64> =
            matched.iter().map(|m| m.map_or(self.background(), |t| self.column(t.class_id))).collect();
        let classes = Tensor::from_slice(&columns).to_device(device);
        if rois.is_empty() {
            let zero = found.logits.sum(Kind::Float) + found.deltas.sum(Kind::Float);
            return ClassAndBoxLoss { class: zero.shallow_clone(), boxes: zero };
        }
        let class = if self.rules.edges {
            softmax_focal(&found.logits, &classes)
        } else {
            found.logits.cross_entropy_for_logits(&classes)
        };
        ClassAndBoxLoss { class, boxes: self.box_loss(&found, &rois, &matched, targets.supervision) }
    }

    fn box_loss(
        &self,
        found: &Predictions,
        rois: &[ImageRegion],
        matched: &[Option<Target>],
        supervision: Supervision,
    ) -> Tensor {
        let device = found.deltas.device();
        let foreground: Vec<(i64, Target)> =
            matched.iter().enumerate().filter_map(|(i, m)| Some((i as i64, (*m)?))).collect();
        let delta_row = |(row, target): &(i64, Target)| {
            if self.rules.edges { *row } else { row * (self.classes + 1) + self.column(target.class_id) }
        };
        let rows: Vec<i64> = foreground.iter().map(|(row, _)| *row).collect();
        let delta_rows: Vec<i64> = foreground.iter().map(delta_row).collect();
        let references: Vec<f32> = rows.iter().flat_map(|&row| rois[row as usize].region.to_array()).collect();
        let boxes: Vec<f32> = foreground.iter().flat_map(|(_, t)| t.region.to_array()).collect();
        let corners = |values: &[f32]| Tensor::from_slice(values).view([-1, 4]).to_device(device);
        let (references, boxes) = (corners(&references), corners(&boxes));
        let delta_rows = Tensor::from_slice(&delta_rows).to_device(device);
        let deltas = found.deltas.view([-1, 4]).index_select(0, &delta_rows);
        let count = rois.len() as f64;
        let Some(edge_logits) = &found.edge_logits else {
            // Without uncertainties there is no measure of how well pseudo-labels are placed: they enter the class loss
            // only.
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
            let of_teacher = |t: &Target| edge_box_coder::channel_order(t.edge_logits.unwrap_or(unknown));
            let teacher: Vec<f32> = foreground.iter().flat_map(|(_, t)| of_teacher(t)).collect();
            let better = teacher_better(&corners(&teacher), &student, ROI_CERTAINTY);
            return (residuals.abs() * better).sum(Kind::Float) / count;
        }
        edge_regression_loss(&boxes, &references, &deltas, &student, self.detach_iou) / count
    }

    /// Detections per image, best first. `sizes`: of each image without padding. One copy to the host.
    ///
    /// # Errors
    /// [`Error::BadData`] when the output is not finite.
    pub fn detect(
        &self,
        input: &RoiInput,
        sizes: &[ImageSize],
        config: &DetectorModelConfig,
    ) -> Result<Vec<Vec<Detection<Model>>>> {
        let _no_grad = tch::no_grad_guard();
        let of_image = |(image, proposals): (usize, &Proposals)| {
            proposals.iter().map(move |&region| ImageRegion { image, region }).collect::<Vec<_>>()
        };
        let rois: Vec<ImageRegion> = input.proposals.iter().enumerate().flat_map(of_image).collect();
        if rois.is_empty() {
            return Ok(vec![Vec::new(); sizes.len()]);
        }
        let found = self.predict(input, &rois, false);
        let first = if self.rules.edges { 0 } else { 1 };
        let scores = found.logits.softmax(-1, Kind::Float).narrow(1, first, self.classes);
        let references: Vec<f32> = rois.iter().flat_map(|r| r.region.to_array()).collect();
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
            // Standard deviations in model pixels: the coder's unit is a tenth of the region's size.
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
        let image = |(i, size): (usize, &ImageSize)| select(&rows[starts[i]..starts[i + 1]], layout, *size, config);
        Ok(sizes.par_iter().enumerate().map(image).collect())
    }
}

/// Layout of a region's row of numbers: class scores, boxes and, with the edge coder, raw uncertainties and standard
/// deviations of the edges.
#[derive(Debug, Clone, Copy)]
struct RowLayout {
    /// Numbers per row.
    width: usize,
    classes: usize,
    rules: RcnnRules,
}

/// Threshold, clip, class-wise suppression and top-k of one image.
fn select(rows: &[f32], layout: RowLayout, size: ImageSize, config: &DetectorModelConfig) -> Vec<Detection<Model>> {
    let (width, height) = (size.width as f32, size.height as f32);
    let RowLayout { classes, rules, .. } = layout;
    let (mut found, mut boxes, mut scores, mut groups) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in rows.chunks_exact(layout.width) {
        let edges = |first: usize| {
            rules.edges.then(|| edge_box_coder::edge_order([0, 1, 2, 3].map(|i| row[classes + first + i])))
        };
        let (edge_logits, edge_stds) = (edges(4), edges(8));
        for (class, &score) in row[..classes].iter().enumerate() {
            if f64::from(score) <= config.score_min {
                continue;
            }
            let at = if rules.edges { classes } else { classes + 4 * class };
            let region = BoxXyxy::<Model>::new(row[at], row[at + 1], row[at + 2], row[at + 3]).clip(width, height);
            let size_min = rules.detection_size_min;
            if size_min > 0.0 && (region.width() < size_min || region.height() < size_min) {
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
