//! Batches of the detectors: image sampling, augmentation, the border where pixels and boxes become tensors.

pub mod augment;
pub mod collate;
pub mod loader;
pub mod semi_batch;
pub mod strong_augment;
