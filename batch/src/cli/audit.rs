//! `d2r audit`.

use super::output;
use crate::cli::flags::Common;
use crate::error::Result;
use crate::stages::audit;

/// Nothing beyond the lake.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  d2r audit --lake lake")]
pub struct Args {}

/// Audits.
pub fn run(common: &Common, _args: &Args) -> Result<()> {
    let ctx = common.context()?;
    output::result(common, &audit::run(&ctx, audit::Args { lake: common.lake.clone() })?)
}
