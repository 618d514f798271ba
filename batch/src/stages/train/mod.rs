//! Training stages.

pub mod detector;
mod detector_inputs;
pub mod distill;
mod finish;
pub mod reporter;
mod thresholds_by_class;
