//! Layers shared by several models.

pub mod attention;
pub mod batch_norm;
pub mod compute_kind;
pub mod conv_norm;
pub mod frozen_batch_norm;
pub mod mlp;
pub mod pass;
pub mod positional;
pub mod recompute;
pub mod running_statistics;
pub mod to_device;

#[cfg(test)]
pub mod parity_golden;
