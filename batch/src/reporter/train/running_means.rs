//! What the report loop adds up between two log lines, on the device so that a step does not wait for it.

use std::collections::BTreeMap;

use d2r_contracts::tables::TrainLogRow;
use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// Names of the sums in a checkpoint: four losses, and the steps.
const NAMES: [&str; 5] = ["word", "grounding", "local", "global", "steps"];

/// Sums since the last log line.
#[derive(Debug)]
pub struct ReportSums {
    /// f64 `[5]`, in the order of [`NAMES`].
    values: Tensor,
}

/// Means since the last log line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReportMeans {
    /// Negative log-likelihood per word.
    pub word: f64,
    /// Grounding loss, not weighted.
    pub grounding: f64,
    /// Local and global alignment, weighted.
    pub alignment: [f64; 2],
}

impl ReportMeans {
    /// All parts together.
    pub fn total(&self, grounding_weight: f64) -> f64 {
        self.word + grounding_weight * self.grounding + self.alignment[0] + self.alignment[1]
    }

    /// The parts in a row of the log; alignment only where there is any.
    pub fn row(&self, base: TrainLogRow, grounding_weight: f64, aligned: bool) -> TrainLogRow {
        TrainLogRow {
            loss: self.total(grounding_weight),
            loss_word: Some(self.word),
            loss_grounding: Some(self.grounding),
            loss_local: aligned.then_some(self.alignment[0]),
            loss_global: aligned.then_some(self.alignment[1]),
            ..base
        }
    }
}

impl ReportSums {
    /// Sums as a checkpoint holds them; zero where it holds none.
    pub fn of(pending: &BTreeMap<String, f64>, device: Device) -> Self {
        let values = NAMES.map(|n| pending.get(n).copied().unwrap_or(0.0));
        Self { values: Tensor::from_slice(&values).to_device(device) }
    }

    /// One more step: word, grounding, local and global loss.
    pub fn add(&mut self, losses: [&Tensor; 4]) {
        let [word, grounding, local, global] = losses;
        let step = Tensor::stack(&[word, grounding, local, global, &word.ones_like()], 0).detach();
        let _ = self.values.g_add_(&step.to_kind(Kind::Double));
    }

    /// For a checkpoint. Waits for the device.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn read(&self) -> Result<BTreeMap<String, f64>> {
        let values = Vec::<f64>::try_from(&self.values)?;
        Ok(NAMES.iter().map(|n| (*n).to_owned()).zip(values).collect())
    }

    /// Means over the steps; `None` without any. Waits for the device.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn means(&self) -> Result<Option<ReportMeans>> {
        let values = Vec::<f64>::try_from(&self.values)?;
        let mean = |i: usize| values[i] / values[4];
        Ok((values[4] >= 1.0).then(|| ReportMeans { word: mean(0), grounding: mean(1), alignment: [mean(2), mean(3)] }))
    }
}
