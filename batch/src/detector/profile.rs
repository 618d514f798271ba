//! The two sets of conventions in which detectors differ: torchvision's, for weights and numbers that everybody can
//! check, and that of Unbiased Teacher v2 (arXiv:2206.09500; detectron2's, with an edge coder and uncertainties).

use crate::config::detector::Profile;
use crate::detector::rcnn::roi_align::RoiAlign;

/// Everything in which the Faster R-CNNs differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RcnnRules {
    /// Anchors with whole-pixel corners.
    pub rounded_anchors: bool,
    /// Largest foreground share among the anchors that the proposal network learns from.
    pub rpn_foreground: f64,
    /// Divide the proposal network's losses by the anchors asked for, not by those found.
    pub rpn_fixed_divisor: bool,
    /// Where the smooth L1 turns from square to straight; 0 is plain L1.
    pub l1_beta: f64,
    /// Rank proposals by probability instead of the logit.
    pub rank_by_probability: bool,
    /// Proposals and detections with a smaller side are dropped, model pixels.
    pub proposal_size_min: f32,
    /// The same for detections.
    pub detection_size_min: f32,
    /// How regions are pooled.
    pub roi_align: RoiAlign,
    /// Level rule: epsilon inside the logarithm.
    pub level_epsilon_inside: bool,
    /// One box for all classes by the edge coder, with uncertainties; otherwise one classic box per class.
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
