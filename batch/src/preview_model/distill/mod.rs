//! Distillation: targets from the report model and the detector, losses, batches, training.

pub mod augmentation;
pub mod batch;
pub mod distillation;
pub mod targets;
pub mod trainer;
