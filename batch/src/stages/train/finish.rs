//! What the training stages share: a run that was finished before, the run's folder, and the tail of every training.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FailureRow, TrainLogRow};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::{Context, StageResult};
use crate::error::Result;
use crate::lake::digest::file_digest;
use crate::lake::{Lake, Partition, Provenance, Shard};
use crate::training::model_card::{ModelCard, WeightsOrigin};
use crate::training::ranks::Ranks;
use crate::training::run_dir::RunDir;
use crate::training::training_loop::Outcome;

/// A training of a model on a dataset of the lake.
#[derive(Debug)]
pub struct TrainingStage<'a> {
    /// The stage, for instance `train-detector`.
    pub name: &'static str,
    /// The kind of the model, and the first word of the run's name.
    pub kind: &'static str,
    /// The figure that the validation score is.
    pub score: &'static str,
    pub lake: &'a Lake,
    pub dataset: &'a str,
    /// The folder of runs.
    pub runs: &'a Path,
    pub key: String,
    /// What the run starts with, where its initial weights are not random.
    pub origin: Option<WeightsOrigin>,
    /// When the stage began.
    pub start: Instant,
}

impl TrainingStage<'_> {
    /// The result of the same training, when it was finished before and its weights are those of its card.
    ///
    /// # Errors
    /// [`crate::Error::BadData`] for a file that is not a manifest of a run.
    pub fn finished<T: Serialize + DeserializeOwned>(&self, ctx: &Context) -> Result<Option<StageResult>> {
        let run = RunDir::at(self.path(), "");
        let mut found = None;
        let done = ctx.ranks.decide(|| {
            let Some(result) = run.result()?.filter(|_| ctx.resume) else { return Ok(None) };
            let card = ModelCard::<T>::read(run.path(), self.kind);
            found = card.is_ok().then_some(result);
            Ok(found.as_ref().map(|_| 1.0))
        })?;
        let wall_s = self.start.elapsed().as_secs_f64();
        Ok(done.map(|_| StageResult { cached: true, wall_s, ..found.unwrap_or_else(|| self.result_of_another_rank()) }))
    }

    /// The folder of the run, and its lock, which rank 0 holds.
    ///
    /// # Errors
    /// Those of [`RunDir::open`] on rank 0; [`crate::Error::Temporary`] on the others.
    pub fn open_run(&self, ctx: &Context) -> Result<(RunDir, Option<File>)> {
        let mut opened = None;
        ctx.ranks.decide(|| {
            opened = Some(RunDir::open(self.runs, self.kind, &self.key, ctx)?);
            Ok(None)
        })?;
        Ok(match opened {
            Some((run, lock)) => (run, Some(lock)),
            None => (RunDir::at(self.path(), &RunDir::name(self.kind, &self.key)), None),
        })
    }

    fn path(&self) -> PathBuf {
        self.runs.join(RunDir::name(self.kind, &self.key))
    }

    /// Rank 0 has the rows, the files and the figures.
    fn result_of_another_rank(&self) -> StageResult {
        StageResult { stage: self.name.into(), wall_s: self.start.elapsed().as_secs_f64(), ..StageResult::default() }
    }

    /// Writes the card, the tables `train_log` and `failures`, and the run's manifest, on rank 0 only. `figures`: those
    /// beside steps and score.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish_training<T: Serialize + DeserializeOwned>(
        self,
        ranks: &Ranks,
        run: &RunDir,
        card: T,
        outcome: Outcome,
        failures: Vec<FailureRow>,
        mut figures: BTreeMap<String, f64>,
    ) -> Result<StageResult> {
        if !ranks.is_first() {
            return Ok(self.result_of_another_rank());
        }
        let Outcome { steps, best_score, model_sha256, log, .. } = outcome;
        ModelCard::new(self.kind, run.id(), model_sha256.clone(), card).with_origin(self.origin).write(run)?;
        let partition = Partition::new(self.dataset, "train");
        let (work_key, group) = (self.key.clone(), self.key);
        let provenance = Provenance { run_id: run.id().into(), model_sha256: Some(model_sha256), work_key, group };
        let mut commit = self.lake.begin(Shard::WHOLE, &provenance)?;
        let (log, failed) = (commit.add(&partition, log)?, commit.add(&partition, failures)?);
        commit.finish()?;
        figures.insert("steps".into(), steps as f64);
        figures.extend(best_score.map(|score| (self.score.to_owned(), score)));
        let result = StageResult {
            stage: self.name.into(),
            cached: false,
            rows: [(TrainLogRow::TABLE.into(), log), (FailureRow::TABLE.into(), failed)].into(),
            files: vec![file_digest(&run.best())?, file_digest(&run.path().join("card.json"))?],
            figures,
            wall_s: self.start.elapsed().as_secs_f64(),
        };
        run.finish(&result)?;
        Ok(result)
    }
}
