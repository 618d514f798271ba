//! Faster R-CNN on a feature pyramid (arXiv:1506.01497, arXiv:1612.03144): a region proposal network, then RoI heads
//! that classify and refine its proposals.

use d2r_contracts::space::{ImageSize, Model};
use tch::{Tensor, nn};

use crate::config::detector::DetectorModelConfig;
use crate::detector::detection::Detection;
use crate::detector::losses::{ClassAndBoxLoss, DetectionLosses, Part};
use crate::detector::pyramid::Pyramid;
use crate::detector::rcnn::roi_heads::{RoiHeads, RoiInput};
use crate::detector::rcnn::rpn::{ProposalCounts, Rpn, RpnTargets};
use crate::detector::rcnn::rules::RcnnRules;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::target::{BatchTargets, PaddedTargets};
use crate::error::Result;

/// Both stages.
#[derive(Debug)]
pub struct FasterRcnn {
    pub(in crate::detector) rpn: Rpn,
    pub(super) heads: RoiHeads,
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

    /// Losses of a batch. `pyramid`: P2 to P6; `sizes`: of each image without padding. Seeds `tch`'s global generator
    /// from `draw`.
    ///
    /// # Errors
    /// When the proposals are not finite: training has diverged.
    pub fn losses(
        &self,
        pyramid: &Pyramid,
        sizes: &[ImageSize],
        targets: BatchTargets,
        draw: &mut Draw,
    ) -> Result<DetectionLosses> {
        let outputs = self.rpn.forward(pyramid);
        let proposals = self.rpn.proposals(&outputs, sizes, ProposalCounts::Training)?;
        let padded = |boxes| PaddedTargets::new(boxes, outputs.objectness.device());
        let rpn_targets = RpnTargets {
            boxes: padded(targets.classes),
            ignored: targets.ignored.iter().any(|boxes| !boxes.is_empty()).then(|| padded(targets.ignored)),
            supervision: targets.supervision,
        };
        let rpn = self.rpn.losses(&outputs, &rpn_targets, draw);
        let strides = pooled_strides(pyramid);
        let input = RoiInput { maps: pooled_maps(pyramid), strides: &strides, proposals: &proposals };
        let ClassAndBoxLoss { class, boxes } = self.heads.losses(&input, targets, draw);
        Ok(DetectionLosses::new([
            (Part::Class, class),
            (Part::Box, boxes),
            (Part::RpnClass, rpn.class),
            (Part::RpnBox, rpn.boxes),
        ]))
    }

    /// Detections per image, best first.
    ///
    /// # Errors
    /// When the output is not finite.
    pub fn detect(
        &self,
        pyramid: &Pyramid,
        sizes: &[ImageSize],
        config: &DetectorModelConfig,
        counts: ProposalCounts,
    ) -> Result<Vec<Vec<Detection<Model>>>> {
        let outputs = self.rpn.forward(pyramid);
        let proposals = self.rpn.proposals(&outputs, sizes, counts)?;
        let strides = pooled_strides(pyramid);
        let input = RoiInput { maps: pooled_maps(pyramid), strides: &strides, proposals: &proposals };
        self.heads.detect(&input, sizes, config)
    }
}

/// P2 to P5: regions are not pooled from P6.
fn pooled_maps(pyramid: &Pyramid) -> &[Tensor] {
    &pyramid.maps[..pyramid.maps.len() - 1]
}

fn pooled_strides(pyramid: &Pyramid) -> Vec<f32> {
    pyramid.levels[..pyramid.levels.len() - 1].iter().map(|l| l.stride).collect()
}
