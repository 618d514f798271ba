//! Faster R-CNN on a feature pyramid (arXiv:1506.01497, arXiv:1612.03144): proposals, then regions.

use d2r_contracts::space::Model;
use tch::{Tensor, nn};

use crate::config::detector::DetectorModelConfig;
use crate::detector::detection::Detection;
use crate::detector::fcos::points::Level;
use crate::detector::losses::{DetectionLosses, Part};
use crate::detector::profile::RcnnRules;
use crate::detector::rcnn::roi_heads::{RoiHeads, RoiInput};
use crate::detector::rcnn::rpn::Rpn;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::target::{BatchTargets, PaddedTargets};
use crate::error::Result;

/// Both stages.
#[derive(Debug)]
pub struct FasterRcnn {
    pub(in crate::detector) rpn: Rpn,
    pub(super) heads: RoiHeads,
}

/// A pyramid and what its images are.
#[derive(Debug, Clone, Copy)]
pub struct PyramidInput<'a> {
    /// P2 to P6, f32 `[B, C, H, W]`.
    pub pyramid: &'a [Tensor],
    /// Their grids.
    pub levels: &'a [Level],
    /// Width and height of each image without its padding, model pixels.
    pub sizes: &'a [(f32, f32)],
}

impl FasterRcnn {
    /// Both stages under `rpn` and `roi_heads`.
    pub fn new(root: &nn::Path, config: &DetectorModelConfig, classes: i64) -> Self {
        let rules = RcnnRules::of(config.profile);
        Self {
            rpn: Rpn::new(&(root / "rpn"), config.fpn_channels, rules, &config.rcnn),
            heads: RoiHeads::new(&(root / "roi_heads"), config, rules, classes),
        }
    }

    /// Losses of a batch.
    ///
    /// # Errors
    /// When the proposals are not finite: training has diverged.
    pub fn losses(&self, input: &PyramidInput, targets: BatchTargets, draw: &mut Draw) -> Result<DetectionLosses> {
        let BatchTargets { classes: targets, ignored, supervision, .. } = targets;
        let outputs = self.rpn.forward(input.pyramid, input.levels);
        let padded = |boxes| PaddedTargets::new(boxes, outputs.objectness.device());
        let proposals = self.rpn.proposals(&outputs, input.sizes, true)?;
        let aside = ignored.iter().any(|boxes| !boxes.is_empty()).then(|| padded(ignored));
        let (rpn_class, rpn_box) = self.rpn.losses(&outputs, (&padded(targets), aside.as_ref()), supervision, draw);
        let strides = strides(input);
        let input = RoiInput { pyramid: pooled(input.pyramid), strides: &strides, proposals: &proposals };
        let (class, boxes) = self.heads.losses(&input, (targets, ignored), supervision, draw);
        Ok(DetectionLosses::new([
            (Part::Class, class),
            (Part::Box, boxes),
            (Part::RpnClass, rpn_class),
            (Part::RpnBox, rpn_box),
        ]))
    }

    /// Detections per image, best first. `as_teacher` takes the proposal counts of training, as the published teacher
    /// does.
    ///
    /// # Errors
    /// When the output is not finite.
    pub fn detect(
        &self,
        input: &PyramidInput,
        config: &DetectorModelConfig,
        as_teacher: bool,
    ) -> Result<Vec<Vec<Detection<Model>>>> {
        let outputs = self.rpn.forward(input.pyramid, input.levels);
        let proposals = self.rpn.proposals(&outputs, input.sizes, as_teacher)?;
        let (strides, sizes) = (strides(input), input.sizes);
        let input = RoiInput { pyramid: pooled(input.pyramid), strides: &strides, proposals: &proposals };
        self.heads.detect(&input, sizes, config)
    }
}

/// P2 to P5: regions are not pooled from P6.
fn pooled(pyramid: &[Tensor]) -> &[Tensor] {
    &pyramid[..pyramid.len() - 1]
}

fn strides(input: &PyramidInput) -> Vec<f32> {
    input.levels[..input.levels.len() - 1].iter().map(|l| l.stride).collect()
}
