//! The lesion detectors: FCOS and Faster R-CNN on a ResNet feature pyramid.

pub mod anchors;
pub mod assignment;
pub mod box_coder;
pub mod box_head;
pub mod detector;
pub mod edge_box_coder;
pub mod edge_losses;
pub mod faster_rcnn;
pub mod fcos;
pub mod fcos_candidates;
pub mod fcos_losses;
pub mod fpn;
pub mod grouped_nms;
pub mod iou;
pub mod losses;
pub mod matcher;
pub mod points;
pub mod profile;
pub mod resnet;
pub mod roi_align;
pub mod roi_heads;
pub mod roi_sampling;
pub mod rpn;
pub mod sampler;
pub mod target;

#[cfg(test)]
#[path = "parity_box_ops_tests.rs"]
mod parity_box_ops_tests;
#[cfg(test)]
#[path = "parity_roi_align_tests.rs"]
mod parity_roi_align_tests;
#[cfg(test)]
#[path = "parity_utv2_tests.rs"]
mod parity_utv2_tests;
