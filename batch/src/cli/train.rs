//! `d2r train-detector`, `d2r train-reporter` and `d2r distill`.

use std::path::PathBuf;

use super::output;
use crate::cli::flags::Common;
use crate::error::Result;
use crate::stages::train::{detector, distill, reporter};

/// What the detector learns from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r train-detector --dataset vindr --lake lake --runs runs --preset demo
  d2r train-detector --dataset vindr --unlabelled mimic --lake lake --preset vindr_mimic --device cuda:0")]
pub struct DetectorArgs {
    /// A dataset of the lake with readers' boxes.
    #[arg(long, value_name = "NAME", default_value = "vindr")]
    dataset: String,
    /// Learn from this dataset's films too, without boxes (Unbiased Teacher v2); the name of --dataset stands for the
    /// films that detector.train.labelled_share leaves out.
    #[arg(long, value_name = "NAME")]
    unlabelled: Option<String>,
    /// A finished detector run that labels the unlabelled films, in place of the run's own teacher; named several times, these
    /// detectors do it together.
    #[arg(long, value_name = "RUN", requires = "unlabelled")]
    labeller: Vec<PathBuf>,
    /// A detector run whose weights training starts from, for instance one of import-weights.
    #[arg(long, value_name = "RUN")]
    init: Option<PathBuf>,
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
}

/// What the student learns from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  d2r distill --dataset mimic --reporter runs/reporter-0123456789ab --lake lake")]
pub struct DistillArgs {
    /// A dataset of the lake with reports and annotated boxes.
    #[arg(long, value_name = "NAME", default_value = "mimic")]
    dataset: String,
    /// A dataset whose films the student learns from too: the teacher writes about them, reports are not needed.
    #[arg(long, value_name = "NAME")]
    films: Option<String>,
    /// The teacher: a finished report model's run.
    #[arg(long, value_name = "RUN")]
    reporter: PathBuf,
}

/// Trains the detector.
pub fn run_detector(common: &Common, args: &DetectorArgs) -> Result<()> {
    let ctx = common.context()?;
    let args = detector::Args {
        lake: common.lake.clone(),
        dataset: args.dataset.clone(),
        unlabelled: args.unlabelled.clone(),
        labellers: args.labeller.clone(),
        init: args.init.clone(),
        runs: common.runs.clone(),
    };
    output::result(common, &detector::run(&ctx, args)?)
}

/// Trains the report model.
pub fn run_reporter(common: &Common, args: &ReporterArgs) -> Result<()> {
    let ctx = common.context()?;
    let args = reporter::Args {
        lake: common.lake.clone(),
        dataset: args.dataset.clone(),
        detector: args.detector.clone(),
        runs: common.runs.clone(),
    };
    output::result(common, &reporter::run(&ctx, args)?)
}

/// Distils the report model.
pub fn run_distill(common: &Common, args: &DistillArgs) -> Result<()> {
    let ctx = common.context()?;
    let args = distill::Args {
        lake: common.lake.clone(),
        dataset: args.dataset.clone(),
        films: args.films.clone(),
        reporter: args.reporter.clone(),
        runs: common.runs.clone(),
    };
    output::result(common, &distill::run(&ctx, args)?)
}
