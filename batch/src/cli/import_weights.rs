//! `d2r import-weights`.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::flags::{DeviceFlags, LabelsFlag, OutputFlags, StageFlags};
use crate::error::{Error, Result};
use crate::stages::exchange::{import_detector, import_reporter};
use crate::weights::detector_names::Origin;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    /// Torchvision's fasterrcnn_resnet50_fpn (first or second version) or fcos_resnet50_fpn
    Torchvision,
    /// Torchvision's resnet18, 34, 50 or 101: the backbone alone
    Imagenet,
    /// detectron2 or Unbiased Teacher v2
    Detectron2,
    /// R2Gen: a whole report model; needs --vocabulary, and a preset like r2gen_mimic
    R2gen,
}

/// What to import.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The model is that of the configuration (--preset, --set detector.model...). Files are safetensors; pickles are not read.
Examples:
  d2r import-weights imagenet --weights resnet50.safetensors --preset d2rnet --runs runs
  d2r import-weights torchvision --weights fasterrcnn.safetensors --fresh roi_heads.box_predictor. \\
      --set detector.model.architecture=faster_rcnn --set detector.model.backbone=imported
  d2r import-weights r2gen --weights r2gen.safetensors --vocabulary words.json --preset r2gen_mimic --runs runs
  d2r train-detector --init runs/detector-0123456789ab --dataset vindr --lake lake --preset d2rnet")]
pub struct Args {
    /// The project whose parameter names the file has
    #[arg(value_enum)]
    from: From,
    /// The safetensors file
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Parameters that keep their initial values, by the beginning of their names; may be repeated
    #[arg(long, value_name = "PREFIX")]
    fresh: Vec<String>,
    /// Of a checkpoint with teacher and student, take the student
    #[arg(long)]
    student: bool,
    #[command(flatten)]
    labels: LabelsFlag,
    /// Number of classes, where no label set names them
    #[arg(long, value_name = "N", conflicts_with = "labels", value_parser = clap::value_parser!(u16).range(1..))]
    classes: Option<u16>,
    /// R2Gen: a JSON list of its words in the order of their ids, from 1 on
    #[arg(long, value_name = "FILE")]
    vocabulary: Option<PathBuf>,
    #[command(flatten)]
    stage: StageFlags,
    #[command(flatten)]
    device: DeviceFlags,
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context_on(&args.device, output)?;
    let origin = match args.from {
        From::Torchvision => Origin::Torchvision,
        From::Imagenet => Origin::ImageNet,
        From::Detectron2 => Origin::Detectron2,
        From::R2gen => {
            let vocabulary = args.vocabulary.clone();
            let vocabulary = vocabulary.ok_or_else(|| Error::Usage("r2gen needs --vocabulary FILE".into()))?;
            let stage_args =
                import_reporter::Args { weights: args.weights.clone(), vocabulary, runs: args.stage.runs() };
            return args.stage.print(output, &import_reporter::run(&ctx, stage_args)?.0);
        }
    };
    let labels = match args.classes {
        Some(classes) => import_detector::unnamed_classes(usize::from(classes)),
        None => args.labels.choice()?.known("of weights")?,
    };
    let stage_args = import_detector::Args {
        weights: args.weights.clone(),
        origin,
        student: args.student,
        fresh: args.fresh.clone(),
        labels,
        runs: args.stage.runs(),
    };
    let (result, _) = import_detector::run(&ctx, stage_args)?;
    args.stage.print(output, &result)
}
