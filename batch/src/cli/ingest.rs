//! `d2r ingest`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::flags::{OutputFlags, ShardFlag, StageFlags};
use crate::error::Result;
use crate::stages::ingest;
use crate::stages::ingest::Kind;

/// Which layout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r ingest vindr --root vindr-cxr-1.0.0 --lake lake
  d2r ingest vindr --root train.csv --labels-only --lake lake
  d2r ingest mimic --root mimic-cxr-jpg-2.1.0 --lake lake
  d2r ingest annotation-json --root r2gen/annotation.json --dataset r2gen --lake lake")]
pub struct Args {
    #[command(subcommand)]
    layout: Layout,
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

#[derive(Debug, Subcommand)]
enum Layout {
    /// VinDr-CXR: the PhysioNet layout or the Kaggle (VinBigData) layout.
    Vindr {
        #[command(flatten)]
        folder: DatasetFolder,
        /// Read the csv alone; no image is opened.
        #[arg(long)]
        labels_only: bool,
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
    },
    /// An annotation.json of R2Gen or D2R-Net.
    AnnotationJson {
        #[command(flatten)]
        folder: DatasetFolder,
    },
    /// A COCO detection dataset.
    Coco {
        #[command(flatten)]
        folder: DatasetFolder,
    },
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context(output)?;
    let (kind, folder, name) = match &args.layout {
        Layout::Vindr { folder, labels_only } => (Kind::Vindr { labels_only: *labels_only }, folder, "vindr"),
        Layout::Mimic { folder } => (Kind::Mimic, folder, "mimic"),
        Layout::IuXray { folder } => (Kind::IuXray, folder, "iu_xray"),
        Layout::AnnotationJson { folder } => (Kind::AnnotationJson, folder, "annotation"),
        Layout::Coco { folder } => (Kind::Coco, folder, "coco"),
    };
    let stage_args = ingest::Args {
        kind,
        root: folder.root.clone(),
        dataset: folder.dataset.clone().unwrap_or_else(|| name.to_owned()),
        lake: args.stage.lake(),
        shard: args.shard.shard,
    };
    args.stage.print_with_next(output, &ingest::run(&ctx, stage_args)?, "audit")
}
