//! `d2r validate`.

use super::output;
use crate::cli::flags::Common;
use crate::error::Result;
use crate::stages::validate;

/// Which tables.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  d2r validate --lake lake lesions sentence_boxes")]
pub struct Args {
    /// Tables to check; all when absent.
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
}

/// Validates.
pub fn run(common: &Common, args: &Args) -> Result<()> {
    let ctx = common.context()?;
    let args = validate::Args { lake: common.lake.clone(), tables: args.tables.clone() };
    output::result(common, &validate::run(&ctx, args)?)
}
