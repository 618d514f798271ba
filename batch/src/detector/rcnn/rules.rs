//! The conventions in which the two profiles of Faster R-CNN differ: torchvision's, and that of Unbiased Teacher v2
//! (arXiv:2206.09500; detectron2's, with an edge coder and uncertainties of the edges).

use crate::config::detector::Profile;
use crate::detector::rcnn::roi_align::RoiAlign;

/// The conventions of a profile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RcnnRules {
    /// Anchors with whole-pixel corners.
    pub rounded_anchors: bool,
    /// Largest share of foreground among the anchors that enter the losses.
    pub rpn_foreground: f64,
    /// Divide the losses of the region proposal network by the configured number of anchors, not by the sampled number.
    pub rpn_fixed_divisor: bool,
    /// Smooth L1 is quadratic below this difference; 0 is L1.
    pub l1_beta: f64,
    /// Rank proposals by objectness probability instead of the logit.
    pub rank_by_probability: bool,
    /// Proposals with a smaller width or height are dropped, model pixels.
    pub proposal_size_min: f32,
    /// The same for detections.
    pub detection_size_min: f32,
    pub roi_align: RoiAlign,
    /// The pyramid level of a region: epsilon inside the logarithm.
    pub level_epsilon_inside: bool,
    /// One box for all classes by the edge coder, with uncertainties; otherwise one box per class by the classic coder.
    pub edges: bool,
}

impl RcnnRules {
    /// The rules of a profile.
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::Torchvision => Self {
                rounded_anchors: true,
                rpn_foreground: 0.5,
                rpn_fixed_divisor: false,
                l1_beta: 1.0 / 9.0,
                rank_by_probability: true,
                proposal_size_min: 1e-3,
                detection_size_min: 1e-2,
                roi_align: RoiAlign { aligned: false, sampling_ratio: 2 },
                level_epsilon_inside: false,
                edges: false,
            },
            Profile::Utv2 => Self {
                rounded_anchors: false,
                rpn_foreground: 0.25,
                rpn_fixed_divisor: true,
                l1_beta: 0.0,
                rank_by_probability: false,
                proposal_size_min: 0.0,
                detection_size_min: 0.0,
                roi_align: RoiAlign { aligned: true, sampling_ratio: 0 },
                level_epsilon_inside: true,
                edges: true,
            },
        }
    }
}
