//! `d2r ingest`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::flags::{BurnedInFlag, LabelsFlag, OutputFlags, ShardFlag, StageFlags};
use crate::error::Result;
use crate::stages::ingest;
use crate::stages::ingest::Kind;

/// Which layout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r ingest vindr --root vindr-cxr-1.0.0 --lake lake --allow-phi
  d2r ingest vindr --root train.csv --labels-only --lake lake
  d2r ingest mimic --root mimic-cxr-jpg-2.1.0 --lake lake
  d2r ingest annotation-json --root r2gen/annotation.json --dataset r2gen --lake lake
  d2r ingest nih --root ChestX-ray14 --lake lake
  d2r ingest rsna --root rsna-pneumonia --lake lake --allow-phi
  d2r ingest coco --root TBX11K --dataset tbx11k --lake lake
  d2r ingest coco --root my-boxes --dataset mine --labels dataset --lake lake
What is read, refused and flagged is in docs/inputs.md.")]
pub struct Args {
    #[command(subcommand)]
    layout: Layout,
    #[command(flatten)]
    labels: LabelsFlag,
    #[command(flatten)]
    burned_in: BurnedInFlag,
    #[command(flatten)]
    shard: ShardFlag,
    #[command(flatten)]
    stage: StageFlags,
}

#[derive(Debug, clap::Args)]
struct DatasetFolder {
    /// The dataset's folder, or its label file.
    #[arg(long, value_name = "PATH")]
    root: PathBuf,
    /// The dataset's name in the lake; the layout's name when absent.
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, clap::Args)]
struct LabelsOnly {
    /// Read the label files alone; no image is opened.
    #[arg(long)]
    labels_only: bool,
}

#[derive(Debug, Clone, Default, clap::Args)]
struct OriginalSize {
    /// A csv with the size of the image that the boxes refer to, for resized copies: image_id and width, height (or dim0,
    /// dim1: rows, columns).
    #[arg(long, value_name = "FILE")]
    original_size: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Layout {
    /// VinDr-CXR: the PhysioNet layout or the Kaggle (VinBigData) layout.
    Vindr {
        #[command(flatten)]
        folder: DatasetFolder,
        #[command(flatten)]
        labels: LabelsOnly,
        #[command(flatten)]
        size: OriginalSize,
    },
    /// MIMIC-CXR-JPG with the report files of MIMIC-CXR.
    Mimic {
        #[command(flatten)]
        folder: DatasetFolder,
    },
    /// IU X-Ray in R2Gen's layout: two views per study.
    IuXray {
        #[command(flatten)]
        folder: DatasetFolder,
        #[command(flatten)]
        labels: LabelsOnly,
    },
    /// An annotation.json of R2Gen or D2R-Net.
    AnnotationJson {
        #[command(flatten)]
        folder: DatasetFolder,
        #[command(flatten)]
        labels: LabelsOnly,
        #[command(flatten)]
        size: OriginalSize,
    },
    /// A COCO detection dataset; TBX11K is one.
    Coco {
        #[command(flatten)]
        folder: DatasetFolder,
        #[command(flatten)]
        size: OriginalSize,
    },
    /// NIH ChestX-ray14: labels of all images, boxes of some.
    Nih {
        #[command(flatten)]
        folder: DatasetFolder,
        #[command(flatten)]
        labels: LabelsOnly,
    },
    /// RSNA Pneumonia Detection Challenge.
    Rsna {
        #[command(flatten)]
        folder: DatasetFolder,
        #[command(flatten)]
        labels: LabelsOnly,
    },
    /// ChestX-Det or ChestX-Det10: boxes on images of NIH ChestX-ray14.
    ChestxDet {
        #[command(flatten)]
        folder: DatasetFolder,
        #[command(flatten)]
        labels: LabelsOnly,
    },
    /// Open-i's Indiana University collection as published: XML reports and PNG images.
    Openi {
        #[command(flatten)]
        folder: DatasetFolder,
        #[command(flatten)]
        labels: LabelsOnly,
    },
}

impl Layout {
    fn kind(&self) -> Kind {
        match self {
            Self::Vindr { .. } => Kind::Vindr,
            Self::Mimic { .. } => Kind::Mimic,
            Self::IuXray { .. } => Kind::IuXray,
            Self::AnnotationJson { .. } => Kind::AnnotationJson,
            Self::Coco { .. } => Kind::Coco,
            Self::Nih { .. } => Kind::Nih,
            Self::Rsna { .. } => Kind::Rsna,
            Self::ChestxDet { .. } => Kind::ChestxDet,
            Self::Openi { .. } => Kind::Openi,
        }
    }

    fn flags(&self) -> (&DatasetFolder, bool, Option<PathBuf>) {
        match self {
            Self::Mimic { folder } => (folder, false, None),
            Self::Coco { folder, size } => (folder, false, size.original_size.clone()),
            Self::Vindr { folder, labels, size } | Self::AnnotationJson { folder, labels, size } => {
                (folder, labels.labels_only, size.original_size.clone())
            }
            Self::IuXray { folder, labels }
            | Self::Nih { folder, labels }
            | Self::Rsna { folder, labels }
            | Self::ChestxDet { folder, labels }
            | Self::Openi { folder, labels } => (folder, labels.labels_only, None),
        }
    }
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context(output)?;
    let (kind, (folder, labels_only, original_size)) = (args.layout.kind(), args.layout.flags());
    let stage_args = ingest::Args {
        kind,
        root: folder.root.clone(),
        dataset: folder.dataset.clone().unwrap_or_else(|| kind.dataset().to_owned()),
        lake: args.stage.lake(),
        shard: args.shard.shard()?,
        labels_only,
        original_size,
        refuse_burned_in: args.burned_in.refuse_burned_in,
        labels: args.labels.choice()?,
    };
    args.stage.print_with_next(output, &ingest::run(&ctx, stage_args)?, "audit")
}
