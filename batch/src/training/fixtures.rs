//! Helpers of the tests of trainings.

use std::thread;
use std::time::Duration;

use d2r_contracts::tables::TrainLogRow;

use crate::error::Result;
use crate::stop::StopFlag;
use crate::training::named_tensors::NamedTensors;
use crate::training::optimizer::Optimizer;
use crate::training::prefetch::Batches;
use crate::training::training_loop::{LoopSchedule, Outcome, Trainer, TrainerState, Validation};

/// What two runs of the same training have in common: phase, step, loss and score of every row of the log.
pub fn losses(outcome: &Outcome) -> Vec<(String, i64, f64, Option<f64>)> {
    outcome.log.iter().map(|r| (r.phase.clone(), r.step, r.loss, r.score)).collect()
}

/// Runs `work` with a flag that another thread sets after some milliseconds, at an arbitrary point of `work`.
pub fn interrupted<T>(signal: i32, after_ms: u64, work: impl FnOnce(&StopFlag) -> T) -> T {
    let stop = StopFlag::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(after_ms));
            stop.request(signal);
        });
        work(&stop)
    })
}

/// A trainer to which `before` happens before each step.
pub struct Disturbed<T, F> {
    pub trainer: T,
    pub before: F,
}

impl<'a, T: Trainer<'a>, F: FnMut(&mut T, i64)> Trainer<'a> for Disturbed<T, F> {
    type Batch = T::Batch;

    fn step(&mut self, step: i64, batch: T::Batch, optimizer: &mut Optimizer) -> Result<usize> {
        (self.before)(&mut self.trainer, step);
        self.trainer.step(step, batch, optimizer)
    }

    fn schedule(&self) -> LoopSchedule {
        self.trainer.schedule()
    }

    fn phase(&self) -> &'static str {
        self.trainer.phase()
    }

    fn batches(&self, step: i64) -> Result<Batches<'a, T::Batch>> {
        self.trainer.batches(step)
    }

    fn log(&mut self, step: i64) -> Result<(TrainLogRow, String)> {
        self.trainer.log(step)
    }

    fn validation_is_due(&self, step: i64) -> bool {
        self.trainer.validation_is_due(step)
    }

    fn validate(&mut self, step: i64) -> Result<Validation> {
        self.trainer.validate(step)
    }

    fn after_validation(&mut self, optimizer: &mut Optimizer) -> Result<()> {
        self.trainer.after_validation(optimizer)
    }

    fn best(&self) -> Vec<(&'static str, NamedTensors)> {
        self.trainer.best()
    }

    fn state(&self) -> Result<TrainerState> {
        self.trainer.state()
    }

    fn restore(&mut self, state: TrainerState) -> Result<()> {
        self.trainer.restore(state)
    }
}
