//! `d2r phantom`.

use std::path::PathBuf;

use crate::cli::flags::{OutputFlags, StageFlags};
use crate::error::Result;
use crate::stages::phantom;

/// What to draw, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  d2r phantom --out phantom --images 500 --seed 7")]
pub struct Args {
    /// The folder that receives one sub-folder per layout, and `truth/`.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Labelled images, and studies with reports; the configuration's numbers when absent.
    #[arg(long, value_name = "N")]
    images: Option<u32>,
    #[command(flatten)]
    stage: StageFlags,
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context(output)?;
    let stage_args = phantom::Args { out: args.out.clone(), images: args.images, seed: args.stage.config.seed };
    let next = format!("ingest vindr --root {}", args.out.join("vindr").display());
    args.stage.print_with_next(output, &phantom::run(&ctx, stage_args)?, &next)
}
