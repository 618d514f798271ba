//! Batches of the detectors: image sampling, augmentation, pixels and boxes as tensors.

pub mod augment;
pub mod batch_plan;
pub mod batch_sampler;
pub mod collate;
pub mod loader;
pub mod radiograph_source;
pub mod semi_batch;
pub mod strong_augment;
