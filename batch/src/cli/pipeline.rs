//! `d2r pipeline`.

use std::path::PathBuf;

use super::output;
use crate::cli::flags::{ConfigFlags, DeviceFlags, ManifestFlag, OutputFlags, ResumeFlag};
use crate::context::Context;
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
    #[command(flatten)]
    resume: ResumeFlag,
    #[command(flatten)]
    config: ConfigFlags,
    #[command(flatten)]
    device: DeviceFlags,
    #[command(flatten)]
    manifest: ManifestFlag,
}

pub fn run(flags: OutputFlags, args: &Args) -> Result<()> {
    let ctx = Context { resume: args.resume.resume(), ..args.config.context_on(&args.device, flags)? };
    let summary = pipeline::run(&ctx, &pipeline::Args { out: args.out.clone() })?;
    if !flags.json && !flags.quiet {
        output::lines(&summary.table())?;
    }
    output::result(flags, &args.manifest, &summary.result, None)
}
