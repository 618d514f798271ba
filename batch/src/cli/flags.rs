//! Groups of flags that several verbs share. A verb takes the groups that it uses, so that any other combination is a
//! usage error.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use crate::cli::program::stage_context::context_without_device;
use crate::config::resolve::{PRESETS, environment};
use crate::config::{Layers, Resolved, resolve};
use crate::context::{Context, StageResult};
use crate::error::Result;
use crate::lake::Shard;
use crate::stages::ingest::LabelChoice;
use crate::stages::report::BoxesFrom;
use crate::stages::submit::array_task;

/// How results and errors are printed; every verb has these.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputFlags {
    /// Results and errors as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress, no notes; errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

impl OutputFlags {
    /// Logs go to stderr: readable on a terminal, JSON lines with `--json`.
    pub fn init_logging(self) {
        let level = if self.quiet { "error" } else { "warn,d2r_batch=info" };
        let filter = tracing_subscriber::EnvFilter::try_from_env("D2R_LOG").unwrap_or_else(|_| level.into());
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
        // Only a test initialises a second subscriber in one process; the first one stays.
        let _ = if self.json { builder.json().try_init() } else { builder.without_time().try_init() };
    }
}

/// The layers of the configuration that the command line gives.
#[derive(Debug, Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigFlags {
    #[arg(long, global = true, value_name = "NAME", help = preset_help())]
    preset: Option<String>,
    /// A TOML file laid over the preset.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One value laid over everything, for instance detector.train.lr=0.01; may be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of every random stream.
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// Accept DICOM files that are not marked as de-identified (PatientIdentityRemoved, 0012,0062): for data that were
    /// de-identified without the mark, as VinDr-CXR was. The same as --set ingest.allow_phi=true.
    #[arg(long, global = true)]
    allow_phi: bool,
}

fn preset_help() -> String {
    let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
    format!("A built-in configuration: default, {}", names.join(", "))
}

/// Whether images with burned-in text are refused.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct BurnedInFlag {
    /// Refuse images whose header says that text is burned into the pixels (BurnedInAnnotation, 0028,0301): they become rows
    /// of failures. Without it they are read, flagged and counted.
    #[arg(long)]
    pub refuse_burned_in: bool,
}

/// The label set of a dataset's boxes.
#[derive(Debug, Clone, Args)]
pub struct LabelsFlag {
    /// The classes of the boxes: vindr, coco, nih, rsna, chestx_det, a label set's TOML file, or dataset for the
    /// categories that a COCO dataset lists itself.
    #[arg(long, global = true, value_name = "NAME|FILE", default_value = "vindr")]
    labels: String,
}

impl LabelsFlag {
    /// The label set.
    ///
    /// # Errors
    /// Those of [`LabelChoice::parse`].
    pub fn choice(&self) -> Result<LabelChoice> {
        LabelChoice::parse(&self.labels)
    }
}

/// Where models run, and in which kind.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Device")]
pub struct DeviceFlags {
    /// auto, cpu or cuda:N.
    #[arg(long, global = true, value_name = "DEVICE")]
    device: Option<String>,
    /// f32 or bf16 (bf16 on CUDA only).
    #[arg(long, global = true, value_name = "KIND")]
    precision: Option<String>,
}

/// What a scheduler reads after the work.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct ManifestFlag {
    /// Write what was done (row counts, files with digests, wall time) to this file, and as the last line of stdout.
    #[arg(long, global = true, value_name = "FILE")]
    pub manifest_out: Option<PathBuf>,
}

/// Whose boxes a report model is given.
#[derive(Debug, Args)]
pub struct BoxesFlag {
    /// Whose boxes the report model is given: those of the detector that annotated the split, or the annotators'.
    #[arg(long, value_name = "WHOSE", default_value = "detector", value_parser = ["detector", "annotators"])]
    boxes: String,
}

impl BoxesFlag {
    pub fn from(&self) -> BoxesFrom {
        if self.boxes == "annotators" { BoxesFrom::Annotators } else { BoxesFrom::Detector }
    }
}

/// What a training keeps in memory.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Device")]
pub struct RecomputeFlag {
    /// Keep the outputs of every second block of the trunk alone and compute the rest again in the backward pass: less
    /// memory, more time, the same weights.
    #[arg(long)]
    pub recompute: bool,
}

/// Initial weights of the text encoder.
#[derive(Debug, Args)]
pub struct TextInitFlag {
    /// A folder with model.safetensors and vocab.txt of bert-base-uncased, for the text encoder of LAB and GAB; the same as
    /// report.align.text.weights.
    #[arg(long, value_name = "DIR")]
    text_init: Option<String>,
}

impl TextInitFlag {
    /// As a `key=value` pair of the configuration.
    pub fn pairs(&self) -> Vec<String> {
        let pair = |folder: &String| format!("report.align.text.weights={}", toml::Value::String(folder.clone()));
        self.text_init.iter().map(pair).collect()
    }
}

/// The folder of the lake.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lake and runs")]
pub struct LakeFlag {
    /// The lake: Parquet tables and their manifests.
    #[arg(long, global = true, value_name = "DIR", default_value = "lake", env = "D2R_LAKE")]
    pub lake: PathBuf,
}

/// The folder of the runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lake and runs")]
pub struct RunsFlag {
    /// Where training runs are kept.
    #[arg(long, global = true, value_name = "DIR", default_value = "runs", env = "D2R_RUNS")]
    pub runs: PathBuf,
}

/// The part of the work that one of several processes does.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lake and runs")]
pub struct ShardFlag {
    /// The part of the work to do, for instance 0/4; auto: the part of this task of a Slurm array, a Kubernetes Indexed Job or
    /// torchrun.
    #[arg(long, global = true, value_name = "I/N", default_value = "0/1", value_parser = shard_or_auto)]
    shard: ShardChoice,
}

/// A part by its number, or the part that the scheduler gives this task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShardChoice {
    Number(Shard),
    Auto,
}

fn shard_or_auto(text: &str) -> Result<ShardChoice, String> {
    match text {
        "auto" => Ok(ShardChoice::Auto),
        number => number.parse().map(ShardChoice::Number).map_err(|e| format!("{e}, or auto")),
    }
}

impl ShardFlag {
    /// The part to do; with `auto` a note says which, and whose variables gave it.
    ///
    /// # Errors
    /// Those of [`array_task::detect`].
    pub fn shard(&self) -> Result<Shard> {
        match self.shard {
            ShardChoice::Number(shard) => Ok(shard),
            ShardChoice::Auto => {
                let value = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
                let task = array_task::detect(value)?;
                tracing::info!("part {} of the work, from {}", task.shard, task.source);
                Ok(task.shard)
            }
        }
    }
}

/// Whether interrupted work is continued.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lake and runs")]
pub struct ResumeFlag {
    /// Continue an interrupted training run, or an interrupted shard of annotate or report: auto or never.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", value_parser = ["auto", "never"])]
    resume: String,
}

impl ResumeFlag {
    pub fn resume(&self) -> bool {
        self.resume == "auto"
    }
}

/// What every stage takes, so that a scheduler may give all of them the same lake, runs and configuration.
#[derive(Debug, Args)]
pub struct StageFlags {
    #[command(flatten)]
    lake: LakeFlag,
    #[command(flatten)]
    runs: RunsFlag,
    #[command(flatten)]
    pub config: ConfigFlags,
    #[command(flatten)]
    manifest: ManifestFlag,
}

impl StageFlags {
    pub fn lake(&self) -> PathBuf {
        self.lake.lake.clone()
    }

    pub fn runs(&self) -> PathBuf {
        self.runs.runs.clone()
    }

    /// The context of a stage that runs no model.
    ///
    /// # Errors
    /// Those of [`ConfigFlags::resolve`].
    pub fn context(&self, output: OutputFlags) -> Result<Context> {
        context_without_device(self.config.resolve(None)?, output)
    }

    /// The context of a stage that runs a model.
    ///
    /// # Errors
    /// Those of [`ConfigFlags::context_on`].
    pub fn context_on(&self, device: &DeviceFlags, output: OutputFlags) -> Result<Context> {
        self.config.context_on(device, output)
    }

    /// Prints a stage's result and, with `--manifest-out`, writes its manifest.
    ///
    /// # Errors
    /// When stdout or the manifest cannot be written.
    pub fn print(&self, output: OutputFlags, result: &StageResult) -> Result<()> {
        super::output::result(output, &self.manifest, result, None)
    }

    /// As [`Self::print`], for people with the command that comes next: a verb and its flags, to which the lake, the
    /// runs and the configuration of this one are added.
    ///
    /// # Errors
    /// When stdout or the manifest cannot be written.
    pub fn print_with_next(&self, output: OutputFlags, result: &StageResult, next: &str) -> Result<()> {
        let mut next = format!("d2r {next} --lake {}", self.lake.lake.display());
        if let Some(preset) = &self.config.preset {
            next.push_str(&format!(" --preset {preset}"));
        }
        if let Some(file) = &self.config.config {
            next.push_str(&format!(" --config {}", file.display()));
        }
        super::output::result(output, &self.manifest, result, Some(&next))
    }
}

impl ConfigFlags {
    /// The configuration with these flags as its last layer.
    ///
    /// # Errors
    /// Those of [`resolve`].
    pub fn resolve(&self, device: Option<&DeviceFlags>) -> Result<Resolved> {
        self.resolve_with(device, &[])
    }

    /// The same with further `key=value` pairs, those of a verb's own flags.
    pub(super) fn resolve_with(&self, device: Option<&DeviceFlags>, pairs: &[String]) -> Result<Resolved> {
        let mut set = self.set.clone();
        set.extend(pairs.iter().cloned());
        if let Some(seed) = self.seed {
            set.push(format!("run.seed={seed}"));
        }
        if self.allow_phi {
            set.push("ingest.allow_phi=true".to_owned());
        }
        if let Some(name) = device.and_then(|d| d.device.as_ref()) {
            set.push(format!("run.device=\"{name}\""));
        }
        if let Some(kind) = device.and_then(|d| d.precision.as_ref()) {
            set.push(format!("run.precision=\"{kind}\""));
        }
        resolve(&Layers { preset: self.preset.clone(), file: self.config.clone(), environment: environment(), set })
    }
}
