//! `d2r evaluate`.

use std::path::PathBuf;

use clap::Subcommand;

use super::output;
use crate::cli::flags::Common;
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
}

#[derive(Debug, Clone, clap::Args)]
struct Place {
    /// A dataset of the lake.
    #[arg(long, value_name = "NAME", default_value = "mimic")]
    dataset: String,
    /// Its split.
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    split: String,
    /// The truth tables that `d2r phantom` wrote; readers' boxes are the reference when absent.
    #[arg(long, value_name = "DIR")]
    truth: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Average precision of the detector's boxes.
    Detector {
        #[command(flatten)]
        place: Place,
    },
    /// Text, label and link figures of the generated reports.
    Reports {
        #[command(flatten)]
        place: Place,
    },
}

/// Evaluates.
pub fn run(common: &Common, args: &Args) -> Result<()> {
    let ctx = common.context()?;
    let stage_args = |p: &Place| evaluate::Args {
        lake: common.lake.clone(),
        dataset: p.dataset.clone(),
        split: p.split.clone(),
        truth: p.truth.clone(),
    };
    let result = match &args.what {
        What::Detector { place } => evaluate::run_detector(&ctx, stage_args(place))?,
        What::Reports { place } => evaluate::run_reports(&ctx, stage_args(place))?,
    };
    output::result(common, &result)
}
