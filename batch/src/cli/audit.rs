//! `d2r audit`.

use crate::cli::flags::{OutputFlags, StageFlags};
use crate::error::Result;
use crate::stages::audit;

/// Nothing beyond the lake.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  d2r audit --lake lake")]
pub struct Args {
    #[command(flatten)]
    stage: StageFlags,
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context(output)?;
    let next = "train-detector --dataset NAME";
    args.stage.print_with_next(output, &audit::run(&ctx, audit::Args { lake: args.stage.lake() })?, next)
}
