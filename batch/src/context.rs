//! What every stage is given, and what every stage returns.

use std::collections::BTreeMap;

use d2r_contracts::decode::ImageDecodeOptions;
use serde::{Deserialize, Serialize};

use crate::config::RunConfig;
use crate::error::{Error, Result};
pub use crate::lake::digest::FileDigest;
use crate::lake::{Committed, Lake, PartManifest};
use crate::progress::Progress;
use crate::stop::StopFlag;
pub use crate::training::ranks::Ranks;

/// What every stage is given.
#[derive(Debug, Clone)]
pub struct Context {
    pub config: RunConfig,
    /// The configuration as TOML text, for run directories and work keys.
    pub config_toml: String,
    /// The layer that set each key, `default` where none did.
    pub origin: BTreeMap<String, String>,
    pub device: tch::Device,
    pub progress: Progress,
    /// Checked once per step or file.
    pub stop: StopFlag,
    /// The processes of this training; a single one for every other stage.
    pub ranks: Ranks,
    /// Whether an interrupted training run, or an interrupted shard, is continued (`--resume auto`).
    pub resume: bool,
    /// Whether trainings keep fewer activations and compute them again (`--recompute`). No work key depends on it: the
    /// results are the same.
    pub recompute: bool,
}

impl Context {
    /// The kind that a model's products run in.
    pub fn compute_kind(&self) -> tch::Kind {
        if self.config.run.precision == "bf16" { tch::Kind::BFloat16 } else { tch::Kind::Float }
    }

    /// What computes in f32 alone refuses another precision.
    ///
    /// # Errors
    /// [`Error::Config`] where `run.precision` is bf16.
    pub fn refuse_bf16(&self, what: &str) -> Result<()> {
        if self.compute_kind() == tch::Kind::Float {
            return Ok(());
        }
        let problem = format!(
            "{what} computes in f32; bf16 is for detectors and report models (`train-detector`, `annotate`, \
             `train-reporter`, `report`, `inspect detect`, `inspect forward`, and these stages of `pipeline`): leave \
             --precision out"
        );
        Err(Error::Config { place: "run.precision".into(), problem })
    }

    /// Gives libtorch `run.threads` threads, or its share of this machine's cores.
    pub fn use_threads(&self) {
        let threads = match self.config.run.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get) / self.ranks.on_this_machine(),
            n => n,
        };
        tch::set_num_threads(threads.max(1) as i32);
    }

    /// The same in f32.
    pub fn in_f32(&self) -> Self {
        let mut ctx = self.clone();
        ctx.config.run.precision = "f32".into();
        ctx.config_toml = ctx.config_toml.replace("precision = \"bf16\"", "precision = \"f32\"");
        ctx
    }

    /// Why what an interrupted run finished is not continued; `None` where it is.
    pub fn again(&self) -> Option<&'static str> {
        (!self.resume).then_some("as --resume never says")
    }

    /// Whether a preset, a file, the environment or a flag sets this key.
    pub fn is_set(&self, key: &str) -> bool {
        self.origin.get(key).is_some_and(|layer| layer != "default")
    }

    /// How image files are decoded.
    pub fn decode_options(&self) -> ImageDecodeOptions {
        ImageDecodeOptions { allow_phi: self.config.ingest.allow_phi, ..ImageDecodeOptions::default() }
    }
}

/// What a stage did; `--manifest-out` writes it and the last stdout line repeats it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageResult {
    pub stage: String,
    /// The same work had been done before; nothing was computed.
    pub cached: bool,
    /// Rows written (or found), by table.
    pub rows: BTreeMap<String, u64>,
    /// Files written (or found).
    pub files: Vec<FileDigest>,
    /// Figures to print, for instance `ap50`.
    pub figures: BTreeMap<String, f64>,
    /// Wall time, seconds.
    pub wall_s: f64,
}

impl StageResult {
    /// The result of a stage that wrote (or found) these parts of a lake.
    pub fn of_parts(stage: &str, lake: &Lake, parts: &[PartManifest]) -> Self {
        let mut result = Self { stage: stage.into(), ..Self::default() };
        for part in parts {
            *result.rows.entry(part.table.clone()).or_default() += part.rows;
            result.files.push(part.file_digest(lake.root()));
        }
        result
    }

    /// The result of a stage that committed its tables. Files are named once they count: for shards, by the last one.
    pub fn of_commit(stage: &str, lake: &Lake, committed: &Committed) -> Self {
        let mut result = Self { stage: stage.into(), ..Self::default() };
        result.add_commit(lake, committed);
        result
    }

    /// Adds the tables of a further commit.
    pub fn add_commit(&mut self, lake: &Lake, committed: &Committed) {
        for part in &committed.parts {
            *self.rows.entry(part.table.clone()).or_default() += part.rows;
        }
        self.files.extend(committed.published.iter().map(|part| part.file_digest(lake.root())));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::stages::{inspect, train};
    use crate::test_fixtures::context;

    #[test]
    fn what_computes_in_f32_alone_refuses_bf16() {
        let ctx = context(&["run.precision=\"bf16\""]);
        let distilled = train::distill::Args {
            lake: "lake".into(),
            dataset: "d".into(),
            unreported: None,
            reporter: "runs/x".into(),
            runs: "runs".into(),
        };
        let inspected = inspect::preview::Args {
            form: inspect::preview::Form::Run(PathBuf::from("runs/y")),
            images: "images".into(),
            out: "z".into(),
            analyses: None,
        };
        let refusals =
            [train::distill::run(&ctx, distilled).unwrap_err(), inspect::preview::run(&ctx, &inspected).unwrap_err()];
        for error in refusals {
            assert_eq!(error.exit().code(), 78);
            assert!(error.to_string().contains("run.precision"), "{error}");
        }
    }

    #[test]
    fn a_context_in_f32_says_so_in_its_configuration() {
        let ctx = context(&["run.precision=\"bf16\""]).in_f32();
        assert_eq!(ctx.compute_kind(), tch::Kind::Float);
        assert!(ctx.config_toml.contains("precision = \"f32\"") && !ctx.config_toml.contains("bf16"));
    }
}
