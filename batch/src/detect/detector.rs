//! The lesion detector: FCOS (arXiv:1904.01355) on a ResNet feature pyramid, in torchvision's profile.
//! `losses` takes images and targets, `detect` takes images; boxes are in model pixels throughout.
//! Out of tensors here and nowhere else: `detect` copies each batch's candidates to the host once.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::LESION_CLASSES;
use d2r_contracts::nms::nms;
use d2r_contracts::space::Model;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor, nn};

use super::fcos::{FcosHead, HeadShape, LevelOutputs};
use super::fpn::Fpn;
use super::losses::{DetectionLosses, centerness_sum, centerness_target, giou_loss, sigmoid_focal_sum};
use super::points::{Level, levels, points};
use super::resnet::{DEPTHS, ResNet};
use super::targets::{Target, assign};
use crate::config::detector::DetectorModelConfig;
use crate::error::{Error, Result};

/// A box the detector found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection<S> {
    /// Index of the class.
    pub class_id: i32,
    /// Square root of class probability times centre-ness, 0 to 1.
    pub score: f32,
    /// Place, pixels of `S`.
    pub region: BoxXyxy<S>,
}

/// FCOS and its variables.
#[derive(Debug)]
pub struct Detector {
    vs: nn::VarStore,
    config: DetectorModelConfig,
    body: ResNet,
    fpn: Fpn,
    head: FcosHead,
    classes: i64,
}

impl Detector {
    /// A detector of the 22 lesion classes with fresh weights, drawn from `tch`'s global generator.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that do not fit together.
    pub fn new(config: &DetectorModelConfig, device: Device) -> Result<Self> {
        Self::with_classes(config, LESION_CLASSES.len() as i64, device)
    }

    /// The same with another number of classes.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that do not fit together.
    pub fn with_classes(config: &DetectorModelConfig, classes: i64, device: Device) -> Result<Self> {
        check(config)?;
        let vs = nn::VarStore::new(device);
        let (backbone, head) = (vs.root() / "backbone", vs.root() / "head");
        let body = ResNet::with_norm(&(&backbone / "body"), config.depth, config.width, config.norm);
        let fpn = Fpn::new(&(&backbone / "fpn"), &body.channels()[first_stage(config)..], config.fpn_channels);
        let shape =
            HeadShape { channels: config.fpn_channels, convs: config.head_convs, groups: config.head_groups, classes };
        let head = FcosHead::new(&head, shape);
        Ok(Self { vs, config: config.clone(), body, fpn, head, classes })
    }

    /// The variables.
    pub fn variables(&self) -> &nn::VarStore {
        &self.vs
    }

    /// The variables, for loading.
    pub fn variables_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    /// Where the detector runs.
    pub fn device(&self) -> Device {
        self.vs.device()
    }

    /// Losses of a batch in training mode. `images`: f32 `[B, 1 or 3, H, W]`, normalised, sides multiples of 32;
    /// `targets`: one list per image, which may be empty.
    pub fn losses(&self, images: &Tensor, targets: &[Vec<Target>]) -> DetectionLosses {
        let (levels, outputs) = self.forward_t(images, true);
        losses(&levels, &outputs, targets)
    }

    /// Detections per image, best first, clipped to the image. `images` as for [`Detector::losses`].
    ///
    /// # Errors
    /// [`Error::BadData`] when the network's output is not finite; [`Error::Torch`] when libtorch refuses.
    pub fn detect(&self, images: &Tensor) -> Result<Vec<Vec<Detection<Model>>>> {
        let _no_grad = tch::no_grad_guard();
        let (_, _, height, width) = images.size4()?;
        let (levels, outputs) = self.forward_t(images, false);
        let limit = self.config.candidates_per_level;
        let best: Vec<Tensor> = levels.iter().zip(&outputs).map(|(l, o)| candidates(l, o, limit)).collect();
        let rows = Tensor::f_cat(&best, 1)?.to_device(Device::Cpu);
        let per_image = rows.size3()?.1 as usize;
        let rows = Vec::<f32>::try_from(rows.f_reshape([-1])?)?;
        if rows.iter().any(|v| !v.is_finite()) {
            return Err(Error::bad_data("detector", "its output is not finite; the weights or the input are damaged"));
        }
        let config = &self.config;
        let image = |rows: &[f32]| select(rows, config, (width as f32, height as f32));
        if per_image == 0 {
            return Ok(vec![Vec::new(); images.size()[0] as usize]);
        }
        Ok(rows.par_chunks_exact(per_image * CANDIDATE).map(image).collect())
    }

    fn forward_t(&self, images: &Tensor, train: bool) -> (Vec<Level>, Vec<LevelOutputs>) {
        let (_, _, height, width) = images.size4().expect("a batch of images");
        let stages = self.body.forward_t(images, train);
        let pyramid = self.fpn.forward(&stages[first_stage(&self.config)..]);
        let cells: Vec<(i64, i64)> = pyramid.iter().map(|p| (p.size()[2], p.size()[3])).collect();
        (levels((height, width), &cells, self.config.min_level), self.head.forward(&pyramid))
    }

    /// Number of classes.
    pub fn classes(&self) -> i64 {
        self.classes
    }
}

/// Index among C2 to C5 of the pyramid's finest level.
fn first_stage(config: &DetectorModelConfig) -> usize {
    config.min_level - 2
}

fn check(config: &DetectorModelConfig) -> Result<()> {
    let wrong = |key: &str, problem: String| Err(Error::Config { place: format!("detector.model.{key}"), problem });
    if !DEPTHS.contains(&config.depth) {
        return wrong("depth", format!("{} is none of {DEPTHS:?}", config.depth));
    }
    if !(2..=5).contains(&config.min_level) {
        return wrong("min_level", format!("{} is not between 2 and 5", config.min_level));
    }
    if config.input_side == 0 || config.input_side % 32 != 0 {
        return wrong("input_side", format!("{} is no multiple of 32", config.input_side));
    }
    if config.width < 1 || config.head_convs < 0 || config.candidates_per_level < 1 {
        return wrong("width", "width and candidates_per_level start at 1, head_convs at 0".into());
    }
    if config.head_groups < 1 || config.fpn_channels < 1 || config.fpn_channels % config.head_groups != 0 {
        let problem = format!("{} does not divide fpn_channels = {}", config.head_groups, config.fpn_channels);
        return wrong("head_groups", problem);
    }
    if config.input_std.is_nan() || config.input_std <= 0.0 {
        return wrong("input_std", "must be above 0".into());
    }
    Ok(())
}

/// Losses of given head outputs (torchvision's `FCOSHead.compute_loss`).
pub fn losses(levels: &[Level], outputs: &[LevelOutputs], targets: &[Vec<Target>]) -> DetectionLosses {
    let points = points(levels);
    let class_logits = Tensor::cat(&outputs.iter().map(|o| &o.class_logits).collect::<Vec<_>>(), 1); // [B, N, K]
    let ltrb = Tensor::cat(&outputs.iter().map(|o| &o.ltrb).collect::<Vec<_>>(), 1); // [B, N, 4]
    let centerness = Tensor::cat(&outputs.iter().map(|o| &o.centerness).collect::<Vec<_>>(), 1); // [B, N]
    let (device, classes) = (class_logits.device(), class_logits.size()[2]);

    let assigned: Vec<Vec<Option<usize>>> = targets.par_iter().map(|t| assign(&points, t)).collect();
    let (mut rows, mut entries, mut anchors, mut wanted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (image, (matches, targets)) in assigned.iter().zip(targets).enumerate() {
        for (i, matched) in matches.iter().enumerate() {
            let Some(target) = matched.map(|m| &targets[m]) else { continue };
            let row = (image * points.len() + i) as i64;
            rows.push(row);
            entries.push(row * classes + i64::from(target.class_id));
            anchors.extend([points[i].x, points[i].y, points[i].stride]);
            wanted.extend(target.region.to_array());
        }
    }
    let foreground = rows.len();
    let divisor = foreground.max(1) as f64;
    let rows = Tensor::from_slice(&rows).to_device(device);
    let entries = Tensor::from_slice(&entries).to_device(device);
    let anchors = Tensor::from_slice(&anchors).reshape([-1, 3]).to_device(device);
    let wanted = Tensor::from_slice(&wanted).reshape([-1, 4]).to_device(device);

    let class = sigmoid_focal_sum(&class_logits, &entries) / divisor;
    let predicted = corners(&ltrb.reshape([-1, 4]).index_select(0, &rows), &anchors);
    let box_giou = giou_loss(&predicted, &wanted).sum(Kind::Float) / divisor;
    let centre = centerness_target(&sides(&wanted, &anchors));
    let centerness = centerness_sum(&centerness.reshape([-1]).index_select(0, &rows), &centre) / divisor;
    DetectionLosses { class, box_giou, centerness }
}

/// Boxes `[P, 4]` from distances `ltrb` `[P, 4]` in strides; `anchors`: `[P, 3]`, x, y and stride.
pub fn corners(ltrb: &Tensor, anchors: &Tensor) -> Tensor {
    let place = anchors.narrow(1, 0, 2);
    let reach = ltrb * anchors.narrow(1, 2, 1);
    Tensor::cat(&[&place - reach.narrow(1, 0, 2), &place + reach.narrow(1, 2, 2)], 1)
}

/// Distances `[P, 4]` in strides of boxes `[P, 4]`: the inverse of [`corners`].
pub fn sides(boxes: &Tensor, anchors: &Tensor) -> Tensor {
    let place = anchors.narrow(1, 0, 2);
    Tensor::cat(&[&place - boxes.narrow(1, 0, 2), boxes.narrow(1, 2, 2) - &place], 1) / anchors.narrow(1, 2, 1)
}

/// Numbers per candidate: score, class, four corners.
const CANDIDATE: usize = 6;

/// The best (point, class) pairs of one level, f32 `[B, n, 6]`.
fn candidates(level: &Level, outputs: &LevelOutputs, limit: i64) -> Tensor {
    let device = outputs.ltrb.device();
    let (batch, count, classes) = outputs.class_logits.size3().expect("logits per point");
    let scores = (outputs.class_logits.sigmoid() * outputs.centerness.sigmoid().unsqueeze(2)).sqrt();
    let (scores, chosen) = scores.reshape([batch, -1]).topk(limit.min(count * classes), 1, true, true);
    let at = chosen.divide_scalar_mode(classes, "floor");
    let class = (&chosen - &at * classes).to_kind(Kind::Float);
    let flat: Vec<f32> = points(&[*level]).iter().flat_map(|p| [p.x, p.y, p.stride]).collect();
    let anchors = Tensor::from_slice(&flat).reshape([-1, 3]).to_device(device).index_select(0, &at.reshape([-1]));
    let at = at.unsqueeze(2).expand([-1, -1, 4], false);
    let boxes = corners(&outputs.ltrb.gather(1, &at, false).reshape([-1, 4]), &anchors).reshape([batch, -1, 4]);
    Tensor::cat(&[scores.unsqueeze(2), class.unsqueeze(2), boxes], 2)
}

/// Threshold, clip, class-wise suppression, the best few.
fn select(rows: &[f32], config: &DetectorModelConfig, (width, height): (f32, f32)) -> Vec<Detection<Model>> {
    let (mut boxes, mut scores, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows.chunks_exact(CANDIDATE).filter(|r| f64::from(r[0]) > config.score_min) {
        scores.push(row[0]);
        classes.push(row[1] as i32);
        boxes.push(BoxXyxy::<Model>::new(row[2], row[3], row[4], row[5]).clip(width, height));
    }
    nms(&boxes, &scores, &classes, config.nms_iou_max as f32)
        .into_iter()
        .map(|i| Detection { class_id: classes[i], score: scores[i], region: boxes[i] })
        .filter(|d| d.region.is_proper())
        .take(config.detections_per_image)
        .collect()
}
