//! Batches of the detectors: image sampling, augmentation, pixels and boxes as tensors.

pub mod augment;
pub mod collate;
pub mod loader;
pub mod semi_batch;
pub mod strong_augment;
