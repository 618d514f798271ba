//! `d2r export`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::flags::{OutputFlags, StageFlags};
use crate::error::Result;
use crate::stages::exchange::export_coco::Content;
use crate::stages::exchange::{export_annotation, export_coco, export_model, export_preview};

/// Which format.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r export coco --dataset vindr --split train --out vindr_train.json
  d2r export coco --dataset mimic --split train --unlabelled --out mimic_unlabelled.json
  d2r export coco --dataset mimic --split train --pseudo --out mimic_pseudo.json
  d2r export coco --dataset mine --split val --pseudo --image-ids my-boxes/val.json --out detections.json
  d2r export annotation-json --dataset mimic --out annotation.json
  d2r export model --reporter runs/reporter-0123456789ab --out model
  d2r export preview --preview-model runs/preview-0123456789ab --lake lake --out preview")]
pub struct Args {
    #[command(subcommand)]
    format: Format,
    #[command(flatten)]
    stage: StageFlags,
}

impl Args {
    /// Whether the file holds ids or texts of a dataset.
    pub fn writes_data_of_patients(&self) -> bool {
        !matches!(self.format, Format::Preview { .. } | Format::Model { .. })
    }
}

#[derive(Debug, Subcommand)]
enum Format {
    /// COCO detection json with the categories of the dataset's label set, normal images included.
    Coco {
        /// A dataset of the lake.
        #[arg(long, value_name = "NAME")]
        dataset: String,
        /// A split of the dataset: train, val or test.
        #[arg(long, value_name = "SPLIT", default_value = "train")]
        split: String,
        /// Images only, for the unlabelled stream of semi-supervised training.
        #[arg(long)]
        unlabelled: bool,
        /// The accepted boxes of a detector instead of the annotators' lesions, for every image.
        #[arg(long, conflicts_with = "unlabelled")]
        pseudo: bool,
        /// A COCO file of the same images, whose image ids are kept, for scoring against it.
        #[arg(long, value_name = "FILE")]
        image_ids: Option<PathBuf>,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// A preview model as a bundle for the browser: two ONNX graphs, a card, sample studies.
    Preview {
        /// A finished run of `d2r distill`.
        #[arg(long, value_name = "RUN")]
        preview_model: PathBuf,
        /// Where the sample studies come from.
        #[arg(long, value_name = "NAME", default_value = "mimic")]
        dataset: String,
        /// A split of the dataset: train, val or test.
        #[arg(long, value_name = "SPLIT", default_value = "test")]
        split: String,
        /// The folder to write.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// A report model with its detector as a small folder to pass on: weights in float16 and cards.
    Model {
        /// A finished run of `d2r train-reporter`.
        #[arg(long, value_name = "RUN")]
        reporter: PathBuf,
        /// The folder to write.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// D2R-Net's annotation.json: reports, image paths, padded boxes, scores and labels.
    AnnotationJson {
        /// A dataset of the lake.
        #[arg(long, value_name = "NAME")]
        dataset: String,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context(output)?;
    let lake = args.stage.lake();
    let result = match &args.format {
        Format::Coco { dataset, split, unlabelled, pseudo, image_ids, out } => export_coco::run(
            &ctx,
            export_coco::Args {
                lake,
                dataset: dataset.clone(),
                split: split.clone(),
                content: match (unlabelled, pseudo) {
                    (true, _) => Content::ImagesOnly,
                    (_, true) => Content::Pseudo,
                    _ => Content::Labelled,
                },
                image_ids: image_ids.clone(),
                out: out.clone(),
            },
        )?,
        Format::Preview { preview_model, dataset, split, out } => export_preview::run(
            &ctx,
            export_preview::Args {
                preview_model: preview_model.clone(),
                lake,
                dataset: dataset.clone(),
                split: split.clone(),
                out: out.clone(),
            },
        )?,
        Format::Model { reporter, out } => {
            export_model::run(&ctx, &export_model::Args { reporter: reporter.clone(), out: out.clone() })?
        }
        Format::AnnotationJson { dataset, out } => {
            export_annotation::run(&ctx, export_annotation::Args { lake, dataset: dataset.clone(), out: out.clone() })?
        }
    };
    args.stage.print(output, &result)
}
