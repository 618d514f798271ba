//! `d2r train-detector`, `d2r train-reporter` and `d2r distill`.

use std::path::PathBuf;

use super::output;
use super::program::ranks::{DevicesFlag, place};
use crate::cli::flags::{BoxesFlag, DeviceFlags, OutputFlags, RecomputeFlag, ResumeFlag, StageFlags, TextInitFlag};
use crate::context::{Context, StageResult};
use crate::error::Result;
use crate::stages::train::{detector, distill, reporter};

/// What the detector learns from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r train-detector --dataset vindr --lake lake --runs runs --preset demo
  d2r train-detector --dataset vindr --unlabelled mimic --init RUN --lake lake --preset d2rnet --device cuda:0")]
pub struct DetectorArgs {
    /// A dataset of the lake with annotators' boxes.
    #[arg(long, value_name = "NAME", default_value = "vindr")]
    dataset: String,
    /// Learn from this dataset's images too, without their boxes (Unbiased Teacher v2); the name of --dataset means
    /// the images that detector.train.labelled_share leaves out.
    #[arg(long, value_name = "NAME")]
    unlabelled: Option<String>,
    /// A finished detector run that gives the pseudo-labels in the teacher's place; given several times, an ensemble of
    /// these detectors.
    #[arg(long, value_name = "RUN", requires = "unlabelled")]
    labeller: Vec<PathBuf>,
    /// A detector run whose weights training starts from, for instance one of import-weights.
    #[arg(long, value_name = "RUN")]
    init: Option<PathBuf>,
    #[command(flatten)]
    devices: DevicesFlag,
    #[command(flatten)]
    recompute: RecomputeFlag,
    #[command(flatten)]
    training: TrainingFlags,
}

/// What the report model learns from.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  d2r train-reporter --dataset mimic --detector runs/detector-0123456789ab --lake lake"
)]
pub struct ReporterArgs {
    /// A dataset of the lake with reports and annotated boxes.
    #[arg(long, value_name = "NAME", default_value = "mimic")]
    dataset: String,
    /// The run whose detector annotated the dataset; copied into the new run.
    #[arg(long, value_name = "RUN")]
    detector: Option<PathBuf>,
    /// Initial weights: the run of a report model (with its vocabulary) or of a detector (its backbone becomes the trunk),
    /// or a safetensors file of torchvision's ResNet.
    #[arg(long, value_name = "RUN|FILE")]
    init: Option<PathBuf>,
    #[command(flatten)]
    text: TextInitFlag,
    #[command(flatten)]
    boxes: BoxesFlag,
    #[command(flatten)]
    devices: DevicesFlag,
    #[command(flatten)]
    recompute: RecomputeFlag,
    #[command(flatten)]
    training: TrainingFlags,
}

/// What the preview model learns from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  d2r distill --dataset mimic --reporter runs/reporter-0123456789ab --lake lake")]
pub struct DistillArgs {
    /// A dataset of the lake with reports and annotated boxes.
    #[arg(long, value_name = "NAME", default_value = "mimic")]
    dataset: String,
    /// A further dataset, whose reports are not needed: the report model writes the texts for its images.
    #[arg(long, value_name = "NAME")]
    unreported: Option<String>,
    /// The finished report model's run that is distilled.
    #[arg(long, value_name = "RUN")]
    reporter: PathBuf,
    #[command(flatten)]
    training: TrainingFlags,
}

/// Flags of every training stage.
#[derive(Debug, clap::Args)]
struct TrainingFlags {
    #[command(flatten)]
    resume: ResumeFlag,
    #[command(flatten)]
    stage: StageFlags,
    #[command(flatten)]
    device: DeviceFlags,
}

impl TrainingFlags {
    /// For a training by a single process.
    fn context(&self, output: OutputFlags) -> Result<Context> {
        let ctx = self.stage.config.context_on(&self.device, output)?;
        Ok(Context { resume: self.resume.resume(), ..ctx })
    }

    /// For a training by one or several processes: starts those that `devices` asks for and then does not return, or
    /// meets the others.
    fn context_of_ranks(&self, output: OutputFlags, devices: &DevicesFlag, pairs: &[String]) -> Result<Context> {
        let config = &self.stage.config;
        devices.start(output, || Ok(config.resolve_with(Some(&self.device), pairs)?.config))?;
        let ctx = config.context_of(&self.device, pairs, output, place()?.as_ref())?;
        Ok(Context { resume: self.resume.resume(), ..ctx })
    }
}

pub fn run_detector(flags: OutputFlags, args: &DetectorArgs) -> Result<()> {
    let ctx = args.training.context_of_ranks(flags, &args.devices, &[])?;
    let ctx = Context { recompute: args.recompute.recompute, ..ctx };
    let stage = &args.training.stage;
    let stage_args = detector::Args {
        lake: stage.lake(),
        dataset: args.dataset.clone(),
        unlabelled: args.unlabelled.clone(),
        labellers: args.labeller.clone(),
        init: args.init.clone(),
        runs: stage.runs(),
    };
    let result = detector::run(&ctx, stage_args)?;
    if !ctx.ranks.is_first() {
        return Ok(());
    }
    let next =
        format!("annotate --dataset {} --detector {}", args.unlabelled.as_deref().unwrap_or("NAME"), run(&result));
    stage.print_with_next(flags, &result, &next)
}

pub fn run_reporter(flags: OutputFlags, args: &ReporterArgs) -> Result<()> {
    let ctx = args.training.context_of_ranks(flags, &args.devices, &args.text.pairs())?;
    let ctx = Context { recompute: args.recompute.recompute, ..ctx };
    let stage = &args.training.stage;
    let stage_args = reporter::Args {
        lake: stage.lake(),
        dataset: args.dataset.clone(),
        detector: args.detector.clone(),
        init: args.init.clone(),
        boxes: args.boxes.from(),
        runs: stage.runs(),
    };
    let result = reporter::run(&ctx, stage_args)?;
    if !ctx.ranks.is_first() {
        return Ok(());
    }
    let next = format!("report --dataset {} --split test --reporter {}", args.dataset, run(&result));
    stage.print_with_next(flags, &result, &next)
}

/// Distils the report model.
pub fn run_distill(flags: OutputFlags, args: &DistillArgs) -> Result<()> {
    let ctx = args.training.context(flags)?;
    let stage = &args.training.stage;
    let stage_args = distill::Args {
        lake: stage.lake(),
        dataset: args.dataset.clone(),
        unreported: args.unreported.clone(),
        reporter: args.reporter.clone(),
        runs: stage.runs(),
    };
    let result = distill::run(&ctx, stage_args)?;
    let next = format!("export preview --preview-model {} --out preview", run(&result));
    stage.print_with_next(flags, &result, &next)
}

/// The run of a training, for a command line.
fn run(result: &StageResult) -> String {
    output::run_folder(result).map_or_else(|| "RUN".to_owned(), |folder| folder.display().to_string())
}
