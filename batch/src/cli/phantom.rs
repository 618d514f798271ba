//! `d2r phantom`.

use std::path::PathBuf;

use super::output;
use crate::cli::flags::Common;
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
}

/// Draws.
pub fn run(common: &Common, args: &Args) -> Result<()> {
    let ctx = common.context()?;
    let args = phantom::Args { out: args.out.clone(), images: args.images, seed: common.seed };
    output::result(common, &phantom::run(&ctx, args)?)
}
