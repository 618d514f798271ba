//! `d2r report`.

use std::path::PathBuf;

use crate::cli::flags::{BoxesFlag, BurnedInFlag, DeviceFlags, OutputFlags, ResumeFlag, ShardFlag, StageFlags};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::stages::report::{self, ImageSource, WritingModel};

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
    /// A split of the dataset: train, val or test.
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    split: String,
    /// A finished report model's run.
    #[arg(long, value_name = "RUN", required_unless_present = "preview_model")]
    reporter: Option<PathBuf>,
    /// The bundle of a preview model instead: the browser's model, which finds its own boxes.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["reporter", "explain"])]
    preview_model: Option<PathBuf>,
    /// Receives the reports for a folder of images.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Receives a drawing of each report: the radiograph, its boxes, and which sentence is linked to which box (SVG).
    #[arg(long, value_name = "DIR")]
    explain: Option<PathBuf>,
    #[command(flatten)]
    boxes: BoxesFlag,
    #[command(flatten)]
    burned_in: BurnedInFlag,
    #[command(flatten)]
    shard: ShardFlag,
    #[command(flatten)]
    resume: ResumeFlag,
    #[command(flatten)]
    stage: StageFlags,
    #[command(flatten)]
    device: DeviceFlags,
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = Context { resume: args.resume.resume(), ..args.stage.context_on(&args.device, output)? };
    let source = match (&args.images, &args.out, &args.dataset) {
        (Some(images), Some(out), _) => ImageSource::Folder { images: images.clone(), out: out.clone() },
        (None, _, Some(dataset)) => {
            ImageSource::Lake { lake: args.stage.lake(), dataset: dataset.clone(), split: args.split.clone() }
        }
        _ => return Err(Error::Usage("give --images DIR with --out DIR, or --dataset NAME".into())),
    };
    let model = match (&args.preview_model, &args.reporter) {
        (Some(bundle), _) => WritingModel::PreviewModel { bundle: bundle.clone() },
        (None, Some(run)) => {
            WritingModel::ReportModel { run: run.clone(), explain: args.explain.clone(), boxes: args.boxes.from() }
        }
        (None, None) => return Err(Error::Usage("give --reporter RUN or --preview-model DIR".into())),
    };
    let (shard, refuse_burned_in) = (args.shard.shard()?, args.burned_in.refuse_burned_in);
    let result = report::run(&ctx, report::Args { source, model, shard, refuse_burned_in })?;
    match (&args.out, &args.dataset) {
        (None, Some(dataset)) => {
            let next = format!("evaluate reports --dataset {dataset} --split {}", args.split);
            args.stage.print_with_next(output, &result, &next)
        }
        _ => args.stage.print(output, &result),
    }
}
