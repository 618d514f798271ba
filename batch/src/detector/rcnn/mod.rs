//! Faster R-CNN (Ren et al. 2015, arXiv:1506.01497) on a feature pyramid: region proposals, RoIAlign, box head.

pub mod anchors;
pub mod box_head;
pub mod faster_rcnn;
pub mod matcher;
pub mod roi_align;
pub mod roi_heads;
pub mod roi_sampling;
pub mod rpn;
pub mod rules;
pub mod sampler;
