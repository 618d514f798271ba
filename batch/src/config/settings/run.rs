//! Section `[run]`.

use serde::{Deserialize, Serialize};

use super::number_or::NumberOrAll;
use crate::config::Run;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    pub seed: u64,
    pub device: String,
    pub precision: String,
    pub threads: NumberOrAll<usize>,
    pub log_every: i64,
    pub accumulate: usize,
}

impl RunSettings {
    pub fn config(&self) -> Run {
        Run {
            seed: self.seed,
            device: self.device.clone(),
            precision: self.precision.clone(),
            threads: self.threads.or_zero(),
        }
    }
}
