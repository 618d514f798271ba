//! `d2r annotate`.

use std::path::PathBuf;

use super::output;
use crate::cli::flags::Common;
use crate::error::Result;
use crate::stages::annotate;

/// What to annotate, with what.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  d2r annotate --dataset mimic --detector runs/detector-0123456789ab --shard 0/4 --lake lake"
)]
pub struct Args {
    /// A dataset of the lake.
    #[arg(long, value_name = "NAME", default_value = "mimic")]
    dataset: String,
    /// Splits; all when absent.
    #[arg(long, value_name = "SPLIT")]
    split: Vec<String>,
    /// A finished detector run.
    #[arg(long, value_name = "RUN")]
    detector: PathBuf,
    /// Of a semi-supervised run, the student instead of the teacher: to evaluate both apart.
    #[arg(long)]
    student: bool,
}

/// Annotates.
pub fn run(common: &Common, args: &Args) -> Result<()> {
    let ctx = common.context()?;
    let args = annotate::Args {
        lake: common.lake.clone(),
        dataset: args.dataset.clone(),
        splits: args.split.clone(),
        detector: args.detector.clone(),
        student: args.student,
        shard: common.shard,
    };
    output::result(common, &annotate::run(&ctx, args)?)
}
