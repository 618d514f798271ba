//! Training stages.

pub mod detector;
pub mod distill;
pub mod reporter;
