//! The lesion detectors behind one interface: FCOS (arXiv:1904.01355) and Faster R-CNN (arXiv:1506.01497) on a ResNet
//! feature pyramid. `losses` takes images and targets, `detect` takes images; boxes are in model pixels throughout.
//! Candidates are copied from the device to the host once per batch and stage; suppression runs on the host.

use d2r_contracts::labels::LESION_CLASSES;
use d2r_contracts::preprocess::Fit;
use d2r_contracts::space::{ImageSize, Model};
use tch::{Device, Kind, Tensor, nn};

use crate::config::detector::{Architecture, BackboneNorm, DetectorModelConfig, Profile};
use crate::detector::detection::{Detection, PseudoBoxes};
use crate::detector::fcos::candidates::{Ranking, select};
use crate::detector::fcos::head::{FcosHead, HeadShape};
use crate::detector::fcos::losses;
use crate::detector::fpn::{Fpn, TopLevels};
use crate::detector::losses::DetectionLosses;
use crate::detector::pyramid::{Grid, ImageBatch, Pyramid, levels};
use crate::detector::rcnn::faster_rcnn::FasterRcnn;
use crate::detector::rcnn::rpn::ProposalCounts;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::resnet::{DEPTHS, ResNet, TrunkShape};
use crate::detector::target::BatchTargets;
use crate::error::{Error, Result};
use crate::nn::pass::Passes;
use crate::nn::running_statistics::RunningStatistics;

#[derive(Debug)]
enum Head {
    Fcos(FcosHead),
    FasterRcnn(FasterRcnn),
}

/// A detector and its variables.
#[derive(Debug)]
pub struct Detector {
    vs: nn::VarStore,
    config: DetectorModelConfig,
    body: ResNet,
    fpn: Fpn,
    head: Head,
    classes: i64,
    compute: Kind,
}

/// What a training pass does to the running statistics of batch norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchNormStatistics {
    /// They follow the batch.
    Updated,
    /// They stay as they were: for images unlike those of inference, such as strongly augmented ones.
    Frozen,
}

/// Parameter prefixes of the backbone's stages, in the order in which `frozen_stages` freezes them.
const STAGES: [&[&str]; 5] = [
    &["backbone.body.conv1.", "backbone.body.bn1."],
    &["backbone.body.layer1."],
    &["backbone.body.layer2."],
    &["backbone.body.layer3."],
    &["backbone.body.layer4."],
];

impl Detector {
    /// A detector of the 22 lesion classes with random weights, drawn from `tch`'s global generator.
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
        let (root, backbone) = (vs.root(), vs.root() / "backbone");
        let (depth, width) = (config.depth, config.width);
        let shape = TrunkShape { depth, width, norm: config.norm, stride_in_1x1: config.stride_in_1x1 };
        let body = ResNet::of(&(&backbone / "body"), shape);
        let (top, normed) = match config.architecture {
            Architecture::Fcos => (TopLevels::Convolutions, false),
            Architecture::FasterRcnn => (TopLevels::Pool, config.rcnn.fpn_norm),
        };
        let inputs = &body.channels()[finest(config) - 2..];
        let fpn = Fpn::new(&(&backbone / "fpn"), inputs, config.fpn_channels, top, normed);
        let head = match config.architecture {
            Architecture::FasterRcnn => Head::FasterRcnn(FasterRcnn::new(&root, config, classes)),
            Architecture::Fcos => {
                let (channels, convs, groups) = (config.fpn_channels, config.head_convs, config.head_groups);
                let shape = HeadShape { channels, convs, groups, classes, profile: config.profile };
                Head::Fcos(FcosHead::new(&(&root / "head"), shape))
            }
        };
        let frozen: Vec<&str> = STAGES.iter().take(config.frozen_stages).flat_map(|s| s.iter().copied()).collect();
        for (name, tensor) in vs.variables() {
            if frozen.iter().any(|prefix| name.starts_with(prefix)) {
                let _ = tensor.set_requires_grad(false);
            }
        }
        Ok(Self { vs, config: config.clone(), body, fpn, head, classes, compute: Kind::Float })
    }

    pub fn variables(&self) -> &nn::VarStore {
        &self.vs
    }

    /// The variables, for loading.
    pub fn variables_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    pub fn config(&self) -> &DetectorModelConfig {
        &self.config
    }

    pub fn device(&self) -> Device {
        self.vs.device()
    }

    pub fn classes(&self) -> i64 {
        self.classes
    }

    /// The kind that products and convolutions of trunk, pyramid and heads run in, f32 or bf16. Weights, norms, RoIAlign,
    /// the layers that predict, boxes, scores and losses stay f32.
    pub fn set_compute(&mut self, kind: Kind) {
        self.compute = kind;
    }

    /// Whether training passes keep the outputs of every second block of the trunk alone and the backward pass computes the
    /// rest again. The gradients are the same; memory is exchanged for time.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.body.set_recompute(recompute);
    }

    /// The training passes through the trunk since the last call, for the backward pass; none without recomputation.
    pub fn take_passes(&self) -> Passes {
        self.body.take_passes()
    }

    /// Detections score strictly above this.
    pub fn score_min(&self) -> f64 {
        self.config.score_min
    }

    /// Losses of a batch in training mode. `draw` chooses anchors and regions; Faster R-CNN also seeds `tch`'s global
    /// generator from it.
    ///
    /// # Errors
    /// [`Error::BadData`] when training has diverged.
    pub fn losses(
        &self,
        batch: &ImageBatch,
        targets: BatchTargets,
        draw: &mut Draw,
        statistics: BatchNormStatistics,
    ) -> Result<DetectionLosses> {
        let frozen = statistics == BatchNormStatistics::Frozen && self.config.norm == BackboneNorm::Batch;
        let saved = frozen.then(|| RunningStatistics::of(&self.vs));
        let losses = self.training_losses(batch, targets, draw);
        if let Some(saved) = saved {
            saved.restore();
        }
        losses
    }

    fn training_losses(&self, batch: &ImageBatch, targets: BatchTargets, draw: &mut Draw) -> Result<DetectionLosses> {
        let pyramid = self.pyramid(&batch.images, true)?;
        match &self.head {
            Head::Fcos(head) => Ok(losses::losses(self.config.profile, &head.forward(&pyramid), targets)),
            Head::FasterRcnn(rcnn) => rcnn.losses(&pyramid, &batch.sizes, targets, draw),
        }
    }

    /// Detections per image, best first, clipped to the image: none is in the padding.
    ///
    /// # Errors
    /// [`Error::BadData`] when the network's output is not finite; [`Error::Torch`] when a libtorch operation fails.
    pub fn detect(&self, batch: &ImageBatch) -> Result<Vec<Vec<Detection<Model>>>> {
        let _no_grad = tch::no_grad_guard();
        let (pyramid, sizes) = (self.pyramid(&batch.images, false)?, &batch.sizes);
        match &self.head {
            Head::Fcos(head) => select(&head.forward(&pyramid), sizes, Ranking::ClassAndCentre, &self.config),
            Head::FasterRcnn(rcnn) => rcnn.detect(&pyramid, sizes, &self.config, ProposalCounts::Inference),
        }
    }

    /// Detections of this detector as a teacher, for pseudo-labels: all that score above `score_min`.
    ///
    /// # Errors
    /// [`Error::BadData`] when the output is not finite.
    pub fn pseudo_boxes(&self, batch: &ImageBatch) -> Result<PseudoBoxes> {
        let _no_grad = tch::no_grad_guard();
        let (pyramid, sizes) = (self.pyramid(&batch.images, false)?, &batch.sizes);
        let utv2 = self.config.profile == Profile::Utv2;
        match &self.head {
            Head::Fcos(head) => {
                let outputs = head.forward(&pyramid);
                let ranked = |ranking| select(&outputs, sizes, ranking, &self.config);
                if utv2 {
                    return Ok(PseudoBoxes {
                        classes: ranked(Ranking::Class)?,
                        edges: ranked(Ranking::ClassAndEdges)?,
                    });
                }
                let classes = ranked(Ranking::ClassAndCentre)?;
                Ok(PseudoBoxes { edges: classes.clone(), classes })
            }
            Head::FasterRcnn(rcnn) => {
                // The published teacher takes the proposal counts of training.
                let counts = if utv2 { ProposalCounts::Training } else { ProposalCounts::Inference };
                let classes = rcnn.detect(&pyramid, sizes, &self.config, counts)?;
                Ok(PseudoBoxes { edges: classes.clone(), classes })
            }
        }
    }

    fn pyramid(&self, images: &Tensor, train: bool) -> Result<Pyramid> {
        let image = image_size(images)?;
        let stages = self.body.forward_t(&images.to_kind(self.compute), train);
        let maps = self.fpn.forward_t(&stages[finest(&self.config) - 2..], train);
        let grid = |map: &Tensor| Grid { rows: map.size()[2], columns: map.size()[3] };
        let grids: Vec<Grid> = maps.iter().map(grid).collect();
        Ok(Pyramid { levels: levels(image, &grids, finest(&self.config)), maps })
    }
}

/// Height and width of the tensor, f32 `[B, C, H, W]`.
fn image_size(images: &Tensor) -> Result<ImageSize> {
    let (_, _, height, width) = images.size4()?;
    Ok(ImageSize { width: width as u32, height: height as u32 })
}

/// Number of the pyramid's finest level: 2 for stride 4.
fn finest(config: &DetectorModelConfig) -> usize {
    match config.architecture {
        Architecture::Fcos => config.min_level,
        Architecture::FasterRcnn => 2,
    }
}

fn check(config: &DetectorModelConfig) -> Result<()> {
    let wrong = |key: &str, problem: String| Err(Error::Config { place: format!("detector.model.{key}"), problem });
    if !DEPTHS.contains(&config.depth) {
        return wrong("depth", format!("{} is none of {DEPTHS:?}", config.depth));
    }
    if !(2..=5).contains(&config.min_level) {
        return wrong("min_level", format!("{} is not between 2 and 5", config.min_level));
    }
    match config.fit {
        Fit::ShortEdge if config.input_size >= 32 => {}
        Fit::ShortEdge => return wrong("input_size", format!("{} is below 32", config.input_size)),
        _ if config.input_size == 0 || !config.input_size.is_multiple_of(32) => {
            return wrong("input_size", format!("{} is no multiple of 32", config.input_size));
        }
        _ => {}
    }
    if config.width < 1 || config.head_convs < 0 || config.candidates_per_level < 1 {
        return wrong("width", "width and candidates_per_level start at 1, head_convs at 0".into());
    }
    if config.input_std.is_nan() || config.input_std <= 0.0 {
        return wrong("input_std", "must be above 0".into());
    }
    if config.frozen_stages > STAGES.len() {
        return wrong("frozen_stages", format!("{} is above {}", config.frozen_stages, STAGES.len()));
    }
    if config.architecture == Architecture::FasterRcnn {
        let rcnn = &config.rcnn;
        if rcnn.rpn_convs < 1 || rcnn.box_features < 1 || rcnn.anchors_per_image < 1 || rcnn.rois_per_image < 1 {
            return wrong("rcnn", "rpn_convs, box_features, anchors_per_image and rois_per_image start at 1".into());
        }
        let counts = [rcnn.candidates_train, rcnn.candidates_eval, rcnn.proposals_train, rcnn.proposals_eval];
        if rcnn.box_convs < 0 || counts.iter().any(|c| *c < 1) {
            return wrong("rcnn", "candidates and proposals start at 1, box_convs at 0".into());
        }
        return Ok(());
    }
    if config.profile == Profile::Utv2 && config.min_level != 3 {
        return wrong(
            "network",
            "the utv2 profile has learned scales for the levels P3 to P7; `mini` begins at P2".into(),
        );
    }
    if config.head_groups < 1 || config.fpn_channels < 1 || config.fpn_channels % config.head_groups != 0 {
        let problem = format!("{} does not divide fpn_channels = {}", config.head_groups, config.fpn_channels);
        return wrong("head_groups", problem);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
