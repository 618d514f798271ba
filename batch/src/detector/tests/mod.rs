//! Parity of the detectors' parts with torchvision, detectron2 and Unbiased Teacher v2; whole detectors in bf16, and with
//! activations that are computed again.

mod box_ops_parity;
mod precision;
mod recompute;
mod roi_align_parity;
mod utv2_parity;
