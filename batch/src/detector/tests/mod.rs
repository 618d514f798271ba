//! Parity of the detectors' parts with torchvision, detectron2 and Unbiased Teacher v2.

mod box_ops_parity;
mod roi_align_parity;
mod utv2_parity;
