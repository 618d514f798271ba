//! `d2r report`.

use std::path::PathBuf;

use crate::cli::flags::{DeviceFlags, OutputFlags, ShardFlag, StageFlags};
use crate::error::{Error, Result};
use crate::stages::report;
use crate::stages::report::by_preview_model;

/// What to report on, with what.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r report --images images --reporter runs/reporter-0123456789ab --out out
  d2r report --images images --preview-model preview --out out
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
    #[arg(long, value_name = "RUN", required_unless_present = "preview_model")]
    reporter: Option<PathBuf>,
    /// The bundle of a preview model instead: the browser's model, which finds its own boxes.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["reporter", "explain"])]
    preview_model: Option<PathBuf>,
    /// Where the reports for a folder go.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Receives a drawing of each report: the radiograph, its boxes, and which sentence is linked to which box (SVG).
    #[arg(long, value_name = "DIR")]
    explain: Option<PathBuf>,
    #[command(flatten)]
    shard: ShardFlag,
    #[command(flatten)]
    stage: StageFlags,
    #[command(flatten)]
    device: DeviceFlags,
}

/// Writes reports.
pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context_on(&args.device, output)?;
    let (out, shard) = (args.out.clone(), args.shard.shard);
    let source = match (&args.images, &args.dataset) {
        (Some(images), _) => report::Source::Folder { images: images.clone() },
        (None, Some(dataset)) => {
            report::Source::Lake { lake: args.stage.lake(), dataset: dataset.clone(), split: args.split.clone() }
        }
        (None, None) => return Err(Error::Usage("give --images DIR or --dataset NAME".into())),
    };
    let result = match (&args.preview_model, &args.reporter) {
        (Some(bundle), _) => {
            by_preview_model::run(&ctx, by_preview_model::Args { source, bundle: bundle.clone(), out, shard })?
        }
        (None, Some(reporter)) => {
            let (reporter, explain) = (reporter.clone(), args.explain.clone());
            report::run(&ctx, report::Args { source, reporter, out, explain, shard })?
        }
        (None, None) => return Err(Error::Usage("give --reporter RUN or --preview-model DIR".into())),
    };
    args.stage.print(output, &result)
}
