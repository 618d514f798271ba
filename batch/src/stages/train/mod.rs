//! Training stages.

pub mod detector;
pub mod distill;
mod finish;
pub mod reporter;
