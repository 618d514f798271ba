//! `d2r pipeline`.

use std::path::PathBuf;

use super::output;
use crate::cli::flags::Common;
use crate::error::Result;
use crate::stages::pipeline;

/// Where everything goes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  d2r pipeline --preset demo --out demo

Stages: phantom, ingest, audit, train-detector, annotate, train-reporter, report, evaluate, validate. A stage whose
work is done is skipped, so the same command continues after any interruption.")]
pub struct Args {
    /// The folder that receives phantom/, lake/, runs/, report.html and summary.json.
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
}

/// Runs all stages.
pub fn run(common: &Common, args: &Args) -> Result<()> {
    let ctx = common.context()?;
    let summary = pipeline::run(&ctx, &pipeline::Args { out: args.out.clone() })?;
    if !common.json && !common.quiet {
        output::lines(&summary.table())?;
    }
    output::result(common, &summary.result)
}
