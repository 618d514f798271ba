//! The batch job of D2R: trains the lesion detector and the report model, annotates, reports, evaluates, and
//! writes its datasets and reports as Parquet. Research software, not a medical device.

pub mod align;
pub mod config;
pub mod data;
pub mod detect;
pub mod error;
pub mod eval;
pub mod exit;
pub mod lake;
pub mod nn;
pub mod progress;
pub mod report;
pub mod semi;
pub mod stages;
pub mod stop;
pub mod student;
pub mod train;
pub mod weights;

pub mod cli;

pub use error::{Error, Result};
