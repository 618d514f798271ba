//! `d2r pipeline`.

use std::path::PathBuf;

use super::output;
use super::program::ranks::{DevicesFlag, place};
use crate::cli::flags::{
    ConfigFlags, DeviceFlags, LabelsFlag, ManifestFlag, OutputFlags, RecomputeFlag, ResumeFlag, TextInitFlag,
};
use crate::context::Context;
use crate::error::Result;
use crate::stages::pipeline::{self, DatasetFolder, Inputs};

/// Where everything goes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r pipeline --preset demo --out demo
  d2r pipeline --labelled vindr=vindr-cxr-1.0.0 --reports mimic=mimic-cxr-jpg-2.1.0 --preset d2rnet --out out \\
      --detector-init runs/detector-0123456789ab --reporter-init resnet101.safetensors --allow-phi

Stages: phantom, ingest, audit, train-detector, annotate, train-reporter, report, evaluate, validate. A stage whose
work is done is skipped, so the same command continues after any interruption.")]
pub struct Args {
    /// The folder that receives phantom/, lake/, runs/, report.html and summary.json.
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
    /// Folder with annotators' boxes, as LAYOUT=DIR (layouts of `d2r ingest`). Phantoms are drawn when absent.
    #[arg(long, value_name = "LAYOUT=DIR", requires = "reports")]
    labelled: Option<DatasetFolder>,
    /// Folder with reports, as LAYOUT=DIR; its images are also the detector's unlabelled ones.
    #[arg(long, value_name = "LAYOUT=DIR", requires = "labelled")]
    reports: Option<DatasetFolder>,
    #[command(flatten)]
    labels: LabelsFlag,
    /// A detector run whose weights the detector starts from, for instance one of import-weights.
    #[arg(long, value_name = "RUN")]
    detector_init: Option<PathBuf>,
    /// Initial weights of the report model, as `train-reporter --init`.
    #[arg(long, value_name = "RUN|FILE")]
    reporter_init: Option<PathBuf>,
    #[command(flatten)]
    text: TextInitFlag,
    #[command(flatten)]
    resume: ResumeFlag,
    #[command(flatten)]
    recompute: RecomputeFlag,
    #[command(flatten)]
    config: ConfigFlags,
    #[command(flatten)]
    devices: DevicesFlag,
    #[command(flatten)]
    device: DeviceFlags,
    #[command(flatten)]
    manifest: ManifestFlag,
}

pub fn run(flags: OutputFlags, args: &Args) -> Result<()> {
    let pairs = args.text.pairs();
    args.devices.start(flags, || Ok(args.config.resolve_with(Some(&args.device), &pairs)?.config))?;
    let ctx = Context {
        resume: args.resume.resume(),
        recompute: args.recompute.recompute,
        ..args.config.context_of(&args.device, &pairs, flags, place()?.as_ref())?
    };
    let inputs = match (&args.labelled, &args.reports) {
        (Some(labelled), Some(reports)) => {
            let (labelled, reports) = (labelled.clone(), reports.clone());
            Inputs::Folders { labelled, reports, labels: args.labels.choice()? }
        }
        _ => Inputs::Phantoms,
    };
    let stages = pipeline::Args {
        out: args.out.clone(),
        inputs,
        detector_init: args.detector_init.clone(),
        reporter_init: args.reporter_init.clone(),
    };
    if !ctx.ranks.is_first() {
        return pipeline::follow(&ctx, &stages);
    }
    let summary = pipeline::run(&ctx, &stages)?;
    if !flags.json && !flags.quiet {
        output::lines(&summary.table())?;
    }
    output::result(flags, &args.manifest, &summary.result, None)
}
