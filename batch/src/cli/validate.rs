//! `d2r validate`.

use crate::cli::flags::{OutputFlags, StageFlags};
use crate::error::Result;
use crate::stages::validate;

/// Which tables.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  d2r validate --lake lake lesions sentence_boxes")]
pub struct Args {
    /// Tables to check; all when absent.
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    #[command(flatten)]
    stage: StageFlags,
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context(output)?;
    let stage_args = validate::Args { lake: args.stage.lake(), tables: args.tables.clone() };
    args.stage.print(output, &validate::run(&ctx, stage_args)?)
}
