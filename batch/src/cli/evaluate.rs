//! `d2r evaluate`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::flags::{OutputFlags, StageFlags};
use crate::error::Result;
use crate::stages::evaluate;

/// What to evaluate.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r evaluate detector --dataset mimic --split test --truth phantom/truth --lake lake
  d2r evaluate reports --dataset mimic --split test --lake lake --json")]
pub struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    stage: StageFlags,
}

#[derive(Debug, Clone, clap::Args)]
struct Evaluated {
    /// A dataset of the lake.
    #[arg(long, value_name = "NAME", default_value = "mimic")]
    dataset: String,
    /// A split of the dataset: train, val or test.
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    split: String,
    /// The truth tables that `d2r phantom` wrote; the annotators' boxes are the reference when absent.
    #[arg(long, value_name = "DIR")]
    truth: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Average precision of the detector's boxes.
    Detector(Evaluated),
    /// Text, label and link figures of the generated reports.
    Reports(Evaluated),
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context(output)?;
    let stage_args = |e: &Evaluated| evaluate::Args {
        lake: args.stage.lake(),
        dataset: e.dataset.clone(),
        split: e.split.clone(),
        truth: e.truth.clone(),
    };
    let result = match &args.what {
        What::Detector(evaluated) => evaluate::run_detector(&ctx, stage_args(evaluated))?,
        What::Reports(evaluated) => evaluate::run_reports(&ctx, stage_args(evaluated))?,
    };
    args.stage.print(output, &result)
}
