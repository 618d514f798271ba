//! The loop on one parameter whose optimum is 1: a run that is stopped at any step and resumed equals an
//! uninterrupted one.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::*;
use crate::training::epochs::Epochs;
use crate::training::named_tensors::named_tensors;
use crate::training::optimizer::{ParamGroup, Rule};
use crate::training::running_sums::RunningSums;

const EPOCHS: i64 = 4;

struct Toy<'a> {
    store: nn::VarStore,
    parameter: Tensor,
    epochs: Epochs,
    sums: RunningSums<1>,
    patience: i64,
    /// Scores by epoch.
    scores: &'a [f64],
    validations: i64,
    /// A signal comes in the step of this number; -1: never.
    stopped_at: i64,
    /// A signal comes in the validation after this step.
    stopped_after: i64,
    stop: &'a StopFlag,
}

impl<'a> Toy<'a> {
    fn new(scores: &'a [f64], stop: &'a StopFlag) -> (Self, Optimizer) {
        let store = nn::VarStore::new(Device::Cpu);
        let parameter = store.root().zeros("parameter", &[1]);
        let params = vec![("parameter".to_owned(), parameter.shallow_clone())];
        let group = ParamGroup { name: "all".into(), params, lr: 0.1, weight_decay: 0.0 };
        let toy = Self {
            store,
            parameter,
            epochs: Epochs::new(5, 2, EPOCHS),
            sums: RunningSums::new(["loss"], Device::Cpu),
            patience: i64::MAX,
            scores,
            validations: 0,
            stopped_at: -1,
            stopped_after: -1,
            stop,
        };
        (toy, Optimizer::new(Rule::Sgd { momentum: 0.9 }, vec![group]).unwrap())
    }
}

impl<'a> Trainer<'a> for Toy<'a> {
    type Batch = Vec<i64>;

    fn schedule(&self) -> LoopSchedule {
        LoopSchedule {
            name: "toy",
            score: "score",
            steps: self.epochs.steps(),
            log_every: 2,
            save_every: self.epochs.steps_per_epoch(),
            log_before_saving: false,
            patience: self.patience,
        }
    }

    fn batches(&self, step: i64) -> Result<Batches<'a, Vec<i64>>> {
        Ok(Box::new(self.epochs.batches(step, |epoch| (0..5).map(|i| (i + epoch) % 5).collect()).map(Ok)))
    }

    fn step(&mut self, step: i64, batch: Vec<i64>, optimizer: &mut Optimizer) -> Result<usize> {
        if step == self.stopped_at {
            self.stop.request(15);
        }
        let weight = batch.iter().sum::<i64>() as f64 + 1.0;
        let loss = ((&self.parameter - 1.0).square() * weight).sum(Kind::Float) * 0.1;
        optimizer.backward(&loss)?;
        optimizer.step(1.0);
        self.sums.add(&loss.detach().reshape([1]));
        Ok(batch.len())
    }

    fn log(&mut self, _step: i64) -> Result<(TrainLogRow, String)> {
        let [loss] = self.sums.means()?;
        self.sums.reset();
        Ok((TrainLogRow { loss, ..TrainLogRow::blank() }, String::new()))
    }

    fn validation_is_due(&self, step: i64) -> bool {
        !self.scores.is_empty() && self.epochs.end_at(step)
    }

    fn validate(&mut self, step: i64) -> Result<Validation> {
        if step == self.stopped_after {
            self.stop.request(15);
        }
        self.stop.check()?;
        self.validations += 1;
        let score = Some(self.scores[self.epochs.done(step) as usize - 1]);
        Ok(Validation { rows: vec![TrainLogRow { phase: VALIDATION.into(), score, ..TrainLogRow::blank() }], score })
    }

    fn best(&self) -> Vec<(&'static str, NamedTensors)> {
        vec![("model", named_tensors(&self.store))]
    }

    fn state(&self) -> Result<TrainerState> {
        let models = [("model".to_owned(), named_tensors(&self.store))].into();
        Ok(TrainerState { models, sums: self.sums.state()?, extra: self.validations.into() })
    }

    fn restore(&mut self, mut state: TrainerState) -> Result<()> {
        state.load("model", &mut self.store)?;
        self.sums.restore(&state.sums);
        self.validations = state.extra.as_i64().unwrap_or(-1);
        Ok(())
    }
}

const SCORES: [f64; 4] = [0.2, 0.5, 0.5, 0.1];

fn run(folder: &Path, change: impl Fn(&mut Toy)) -> Result<Outcome> {
    let stop = StopFlag::default();
    let (mut toy, optimizer) = Toy::new(&SCORES, &stop);
    change(&mut toy);
    train(toy, optimizer, &RunDir::at(folder, "toy"), Progress::Quiet, &stop, &Ranks::alone())
}

/// Without the measured speed.
fn plain(outcome: Outcome) -> Outcome {
    let log =
        outcome.log.into_iter().map(|row| TrainLogRow { images_per_s: None, waiting_share: None, ..row }).collect();
    Outcome { log, ..outcome }
}

#[test]
fn a_run_stopped_at_any_step_and_resumed_equals_an_uninterrupted_one() {
    let whole = tempfile::tempdir().unwrap();
    let expected = plain(run(whole.path(), |_| {}).unwrap());
    assert_eq!(
        (expected.steps, expected.best_score, expected.best_step),
        (12, Some(0.5), 9),
        "a later score wins a tie"
    );
    let rows: Vec<(&str, i64)> = expected.log.iter().map(|r| (r.phase.as_str(), r.step)).collect();
    assert_eq!(rows[..4], [("train", 2), ("validation", 3), ("train", 4), ("train", 6)]);
    let stops = (0..12).map(|step| (step, -1)).chain([(-1, 3), (-1, 9), (-1, 12)]);
    for (in_step, in_validation) in stops {
        let parts = tempfile::tempdir().unwrap();
        let stopped = run(parts.path(), |toy| (toy.stopped_at, toy.stopped_after) = (in_step, in_validation));
        let code = stopped.as_ref().map_err(|e| e.exit().code()).err();
        assert_eq!(code, Some(143), "step {in_step}, validation {in_validation}");
        let resumed = plain(run(parts.path(), |_| {}).unwrap());
        assert_eq!(resumed, expected, "step {in_step}, validation {in_validation}");
    }
}

#[test]
fn an_interrupted_validation_is_repeated_once_before_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), |toy| toy.stopped_after = 6).unwrap_err();
    let again = run(folder.path(), |toy| toy.stopped_at = 6).unwrap_err();
    assert_eq!(again.exit().code(), 143);
    let loaded = checkpoint::load_latest(&RunDir::at(folder.path(), "toy")).unwrap().unwrap();
    assert_eq!((loaded.state.step, loaded.state.extra.as_i64()), (7, Some(2)));
    let validated: Vec<i64> = loaded.state.log.iter().filter(|r| r.phase == VALIDATION).map(|r| r.step).collect();
    assert_eq!(validated, [3, 6]);
}

#[test]
fn patience_ends_a_training_and_without_validation_the_last_weights_are_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(folder.path(), |toy| toy.patience = 1).unwrap();
    assert_eq!((outcome.steps, outcome.best_step), (12, 9));
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(folder.path(), |toy| (toy.patience, toy.scores) = (2, &[0.5, 0.4, 0.3, 0.2])).unwrap();
    assert_eq!((outcome.steps, outcome.best_step), (9, 3));
    let folder = tempfile::tempdir().unwrap();
    let unvalidated = run(folder.path(), |toy| toy.scores = &[]).unwrap();
    assert_eq!((unvalidated.steps, unvalidated.best_score), (12, None));
    assert!(folder.path().join("best/model.safetensors").is_file());
}
