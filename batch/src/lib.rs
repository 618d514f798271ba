//! The batch job of D2R: trains the lesion detector and the report model, annotates, reports, evaluates, and
//! writes its datasets and reports as Parquet. Research software, not a medical device.

pub mod audit;
pub mod cli;
pub mod config;
pub mod context;
pub mod datasets;
pub mod detector;
pub mod error;
pub mod eval;
pub mod exit;
pub mod lake;
pub mod nn;
pub mod preview_model;
pub mod progress;
pub mod reporter;
pub mod stages;
pub mod stop;
#[cfg(test)]
mod test_fixtures;
pub mod training;
pub mod weights;

pub use error::{Error, Result};
