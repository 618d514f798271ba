//! `d2r audit`.

use std::path::PathBuf;

use crate::cli::flags::{OutputFlags, StageFlags};
use crate::error::Result;
use crate::stages::audit;

/// What is audited, and what is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r audit --lake lake
  d2r audit --lake lake --pictures --html audit.html --out audit.json
  d2r audit --lake lake --dataset vindr --dataset mimic --pictures")]
pub struct Args {
    /// A dataset of the lake; may be repeated. All datasets when absent.
    #[arg(long, value_name = "NAME")]
    dataset: Vec<String>,
    /// Read every picture: find copies of other scale, crop, format or brightness, and unusual pictures.
    #[arg(long)]
    pictures: bool,
    /// Write a page with counts, label shares and thumbnails of the images concerned.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write all issues and label shares as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    stage: StageFlags,
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context(output)?;
    let stage_args = audit::Args {
        lake: args.stage.lake(),
        datasets: args.dataset.clone(),
        pictures: args.pictures,
        html: args.html.clone(),
        out: args.out.clone(),
    };
    let next = "train-detector --dataset NAME";
    args.stage.print_with_next(output, &audit::run(&ctx, stage_args)?, next)
}
