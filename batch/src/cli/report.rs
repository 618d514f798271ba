//! `d2r report`.

use std::path::PathBuf;

use super::output;
use crate::cli::flags::Common;
use crate::error::{Error, Result};
use crate::stages::report;
use crate::stages::report::by_preview_model;

/// What to report on, with what.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r report --images films --reporter runs/reporter-0123456789ab --out out
  d2r report --images films --student preview --out out
  d2r report --dataset mimic --split test --reporter runs/reporter-0123456789ab --lake lake")]
pub struct Args {
    /// A folder of PNG, JPEG or DICOM files; no lake is needed.
    #[arg(long, value_name = "DIR", conflicts_with = "dataset", requires = "out")]
    images: Option<PathBuf>,
    /// A dataset of the lake.
    #[arg(long, value_name = "NAME", required_unless_present = "images")]
    dataset: Option<String>,
    /// Its split.
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    split: String,
    /// A finished report model's run.
    #[arg(long, value_name = "RUN", required_unless_present = "student")]
    reporter: Option<PathBuf>,
    /// A preview bundle instead: the browser's model, which finds its own boxes.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["reporter", "explain"])]
    student: Option<PathBuf>,
    /// Where the reports for a folder go.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Receives a picture of each report: film, boxes, and which sentence rests on which (SVG).
    #[arg(long, value_name = "DIR")]
    explain: Option<PathBuf>,
}

/// Writes reports.
pub fn run(common: &Common, args: &Args) -> Result<()> {
    let ctx = common.context()?;
    let source = match (&args.images, &args.dataset) {
        (Some(images), _) => report::Source::Folder { images: images.clone() },
        (None, Some(dataset)) => {
            report::Source::Lake { lake: common.lake.clone(), dataset: dataset.clone(), split: args.split.clone() }
        }
        (None, None) => return Err(Error::Usage("give --images DIR or --dataset NAME".into())),
    };
    if let Some(bundle) = args.student.clone() {
        let args = by_preview_model::Args { source, bundle, out: args.out.clone(), shard: common.shard };
        return output::result(common, &by_preview_model::run(&ctx, args)?);
    }
    let Some(reporter) = args.reporter.clone() else {
        return Err(Error::Usage("give --reporter RUN or --student DIR".into()));
    };
    let args =
        report::Args { source, reporter, out: args.out.clone(), explain: args.explain.clone(), shard: common.shard };
    output::result(common, &report::run(&ctx, args)?)
}
