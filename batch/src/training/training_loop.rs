//! The loop of every training: resume, optimizer steps, log, validation, best weights, checkpoints, orderly stop
//! after a signal. A [`Trainer`] is what one kind of training adds. All random numbers are functions of (seed, step),
//! so that a resumed run takes the same steps, bit for bit on CPU.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use d2r_contracts::tables::TrainLogRow;
use tch::nn;

use crate::error::{Error, Result};
use crate::lake::digest::sha256_file;
use crate::progress::Progress;
use crate::stop::StopFlag;
use crate::training::checkpoint;
use crate::training::checkpoint::{Models, TrainState};
use crate::training::metrics_log::MetricsLog;
use crate::training::named_tensors::{NamedTensors, assign_strict};
use crate::training::optimizer::Optimizer;
use crate::training::prefetch::Batches;
use crate::training::ranks::Ranks;
use crate::training::run_dir::RunDir;
use crate::training::sparkline::sparkline;

/// Phase of the rows that hold a validation score.
pub const VALIDATION: &str = "validation";

/// When the loop does what.
#[derive(Debug, Clone, Copy)]
pub struct LoopSchedule {
    /// For the progress line.
    pub name: &'static str,
    /// What a validation scores, for the progress line.
    pub score: &'static str,
    /// Optimizer steps of the whole training.
    pub steps: i64,
    /// Steps between two rows of the log; there is one after the last step too.
    pub log_every: i64,
    /// Steps between two checkpoints; there is one after the last step too.
    pub save_every: i64,
    /// Whether a row is also written before each checkpoint.
    pub log_before_saving: bool,
    /// Training ends after so many validations without a better score; `i64::MAX` where it never does.
    pub patience: i64,
}

/// The outcome of a validation.
#[derive(Debug, Default)]
pub struct Validation {
    /// Rows of the log, without run and step; the last one has the phase [`VALIDATION`].
    pub rows: Vec<TrainLogRow>,
    /// The score that selects the weights; the larger the better.
    pub score: Option<f64>,
}

/// What a checkpoint holds of one kind of training.
#[derive(Debug, Default)]
pub struct TrainerState {
    /// Tensors by file stem.
    pub models: Models,
    /// Sums since the last row of the log, by name.
    pub sums: BTreeMap<String, f64>,
    /// Anything else.
    pub extra: serde_json::Value,
}

impl TrainerState {
    /// Copies the tensors of one model into its store.
    ///
    /// # Errors
    /// [`Error::BadData`] when there are none or they do not fit.
    pub fn load(&mut self, name: &str, store: &mut nn::VarStore) -> Result<()> {
        let missing = || Error::bad_data("checkpoint", format!("it holds no `{name}`"));
        assign_strict(store, &self.models.remove(name).ok_or_else(missing)?, "checkpoint")
    }
}

/// One kind of training. `step` is the number of optimizer steps done, except in [`Trainer::step`], which takes the
/// next one.
pub trait Trainer<'a> {
    /// What a step needs.
    type Batch;

    /// When the loop does what.
    fn schedule(&self) -> LoopSchedule;

    /// The batches after `step` steps, as long as [`Trainer::phase`] stays the same.
    fn batches(&self, step: i64) -> Result<Batches<'a, Self::Batch>>;

    /// Takes the optimizer step number `step`, counted from 0. Returns the number of images that it learned from.
    fn step(&mut self, step: i64, batch: Self::Batch, optimizer: &mut Optimizer) -> Result<usize>;

    /// The phase of training rows in the log.
    fn phase(&self) -> &'static str {
        "train"
    }

    /// A row with learning rate and mean losses since the last one, and a text for the progress line. Resets the
    /// sums; fails when the loss is not finite.
    fn log(&mut self, step: i64) -> Result<(TrainLogRow, String)>;

    /// Whether the validation split is scored; never without images, except where the trainer changes its phase
    /// then.
    fn validation_is_due(&self, step: i64) -> bool;

    /// Scores the validation split. After [`Error::Stopped`] the loop saves, and validates after the resume.
    fn validate(&mut self, step: i64) -> Result<Validation>;

    /// Called when the rows of a validation are written and the best weights are kept.
    fn after_validation(&mut self, _optimizer: &mut Optimizer) -> Result<()> {
        Ok(())
    }

    /// The weights to keep, by file stem; `model` comes last.
    fn best(&self) -> Vec<(&'static str, NamedTensors)>;

    /// For a checkpoint.
    fn state(&self) -> Result<TrainerState>;

    /// Takes over the state of a checkpoint.
    fn restore(&mut self, state: TrainerState) -> Result<()>;
}

/// How training went.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Optimizer steps done.
    pub steps: i64,
    /// Best validation score, if there was one.
    pub best_score: Option<f64>,
    /// The step it was reached at.
    pub best_step: i64,
    /// Digest of the best weights; empty on the ranks that do not write them.
    pub model_sha256: String,
    pub log: Vec<TrainLogRow>,
}

/// Whether something that happens every so many steps, and at the end, is due.
pub fn is_due(step: i64, every: i64, steps: i64) -> bool {
    step == steps || step % every.max(1) == 0
}

/// Trains in `run`, from its newest checkpoint where there is one. All ranks take the same steps; rank 0 writes the
/// files.
///
/// # Errors
/// [`Error::Stopped`] after a checkpoint; [`Error::BadData`] when the loss is not finite; those of reading and writing.
pub fn train<'a>(
    mut trainer: impl Trainer<'a>,
    mut optimizer: Optimizer,
    run: &RunDir,
    progress: Progress,
    stop: &StopFlag,
    ranks: &Ranks,
) -> Result<Outcome> {
    let mut state = TrainState::default();
    if let Some(loaded) = checkpoint::load_latest(run)? {
        optimizer.load_state(loaded.optimizer)?;
        state = loaded.state;
        let (sums, extra) = (std::mem::take(&mut state.pending), state.extra.take());
        trainer.restore(TrainerState { models: loaded.models, sums, extra })?;
    }
    ranks.agree(state.step, "the processes read different checkpoints: the folder of runs must be the same for all")?;
    if ranks.size() > 1 {
        let models = trainer.state()?.models;
        ranks.share(models.values().flatten().map(|(_, tensor)| tensor))?;
        ranks.share(optimizer.state().iter().map(|(_, tensor)| tensor))?;
    }
    let log = if ranks.is_first() { Some(MetricsLog::open(run, &state.log)?) } else { None };
    let logged_at = Instant::now();
    Loop { trainer, optimizer, run, stop, ranks, state, log, logged_at, logged_images: 0, waited: Duration::ZERO }
        .run_to_end(progress)
}

struct Loop<'r, T> {
    trainer: T,
    optimizer: Optimizer,
    run: &'r RunDir,
    stop: &'r StopFlag,
    ranks: &'r Ranks,
    state: TrainState,
    /// Rank 0's.
    log: Option<MetricsLog>,
    logged_at: Instant,
    logged_images: u64,
    /// Time spent waiting for batches since `logged_at`.
    waited: Duration,
}

impl<'a, T: Trainer<'a>> Loop<'_, T> {
    fn run_to_end(mut self, progress: Progress) -> Result<Outcome> {
        let LoopSchedule { name, score, steps, log_every, save_every, log_before_saving, patience } =
            self.trainer.schedule();
        let task = progress.task(name, steps as u64, "steps");
        task.advance(self.state.step as u64);
        if self.validation_is_owed() {
            self.validate()?;
            self.save()?;
        }
        let mut batches = self.trainer.batches(self.state.step)?;
        while self.state.step < steps && self.state.since_best < patience {
            if let Err(error) = self.ranks.check(self.stop) {
                return Err(self.saved(error));
            }
            let ended = || Error::Internal("the thread that prepares batches ended".into());
            let asked = Instant::now();
            let batch = batches.next().ok_or_else(ended)??;
            self.waited += asked.elapsed();
            self.step(batch)?;
            task.advance(1);
            let step = self.state.step;
            let save = is_due(step, save_every, steps);
            if is_due(step, log_every, steps) || (save && log_before_saving) {
                let line = self.write_log()?;
                task.message(self.courses(&line, score));
            }
            if self.trainer.validation_is_due(step) {
                let before = self.trainer.phase();
                self.validate()?;
                if self.trainer.phase() != before {
                    batches = self.trainer.batches(step)?;
                }
            }
            if save {
                self.save()?;
            }
        }
        task.finish();
        if self.ranks.is_first() && !self.run.best().is_file() {
            self.write_best()?;
        }
        let model_sha256 = if self.ranks.is_first() { sha256_file(&self.run.best())? } else { String::new() };
        let TrainState { step, best_score, best_step, log, .. } = self.state;
        Ok(Outcome { steps: step, best_score, best_step, model_sha256, log })
    }

    fn step(&mut self, batch: T::Batch) -> Result<()> {
        let images = self.trainer.step(self.state.step, batch, &mut self.optimizer)?;
        self.state.step += 1;
        self.logged_images += images as u64;
        Ok(())
    }

    /// Writes a row of the log; returns a text for the progress line.
    fn write_log(&mut self) -> Result<String> {
        let (row, line) = self.trainer.log(self.state.step)?;
        let seconds = self.logged_at.elapsed().as_secs_f64().max(1e-9);
        let images_per_s = Some(self.logged_images as f64 / seconds);
        let waiting_share = Some((self.waited.as_secs_f64() / seconds).min(1.0));
        self.push(TrainLogRow { phase: self.trainer.phase().into(), images_per_s, waiting_share, ..row })?;
        self.restart_clock();
        Ok(line)
    }

    /// The progress line: what the trainer says, with the courses of loss and validation score.
    fn courses(&self, line: &str, score: &str) -> String {
        let rows = |validation: bool| self.state.log.iter().filter(move |r| (r.phase == VALIDATION) == validation);
        let loss = sparkline(rows(false).map(|row| row.loss));
        let scores = sparkline(rows(true).filter_map(|row| row.score));
        let best = self.state.best_score.map(|best| format!(", best {score} {best:.3} {scores}")).unwrap_or_default();
        format!("{line} {loss}{best}").trim_end().to_owned()
    }

    fn push(&mut self, row: TrainLogRow) -> Result<()> {
        let row = TrainLogRow { run_id: self.run.id().to_owned(), step: self.state.step, ..row };
        if let Some(log) = &mut self.log {
            log.push(&row)?;
        }
        self.state.log.push(row);
        Ok(())
    }

    fn restart_clock(&mut self) {
        (self.logged_at, self.logged_images, self.waited) = (Instant::now(), 0, Duration::ZERO);
    }

    /// A signal came while this step was being validated, before the resume.
    fn validation_is_owed(&self) -> bool {
        let step = self.state.step;
        let done = || self.state.log.iter().any(|r| r.phase == VALIDATION && r.step == step);
        step > 0 && self.trainer.validation_is_due(step) && !done()
    }

    /// Scores the validation split and keeps the weights when they are the best so far (at equal scores: the later).
    fn validate(&mut self) -> Result<()> {
        let Validation { rows, score } = match self.trainer.validate(self.state.step) {
            // The step is done; its validation is made after the resume, before the next step.
            Err(stopped @ Error::Stopped { .. }) => return Err(self.saved(stopped)),
            other => other?,
        };
        for row in rows {
            self.push(row)?;
        }
        match score {
            Some(score) if self.state.best_score.is_none_or(|best| score >= best) => {
                self.write_best()?;
                (self.state.best_score, self.state.best_step, self.state.since_best) =
                    (Some(score), self.state.step, 0);
            }
            Some(_) => self.state.since_best += 1,
            None => {}
        }
        self.trainer.after_validation(&mut self.optimizer)?;
        self.restart_clock();
        Ok(())
    }

    fn write_best(&self) -> Result<()> {
        if !self.ranks.is_first() {
            return Ok(());
        }
        for (name, tensors) in self.trainer.best() {
            self.run.write_best_of(name, &tensors)?;
        }
        Ok(())
    }

    /// What training ends with before its end: after a signal the checkpoint is written, and the ranks that do not
    /// write it wait, since what started them may end the others when one has ended.
    fn saved(&mut self, error: Error) -> Error {
        if !matches!(error, Error::Stopped { .. }) {
            return error;
        }
        if let Err(failed) = self.save() {
            return failed;
        }
        // A rank that was lost meanwhile does not need the checkpoint.
        let _lost = self.ranks.wait_for_all();
        error
    }

    fn save(&mut self) -> Result<()> {
        if !self.ranks.is_first() {
            return Ok(());
        }
        let TrainerState { models, sums, extra } = self.trainer.state()?;
        (self.state.pending, self.state.extra) = (sums, extra);
        checkpoint::save(self.run, &models, &self.optimizer, &self.state)
    }
}

#[cfg(test)]
mod tests;
