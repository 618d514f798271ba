//! `d2r ingest`.

use std::path::PathBuf;

use clap::Subcommand;

use super::output;
use crate::cli::flags::Common;
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
}

#[derive(Debug, clap::Args)]
struct Place {
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
        place: Place,
        /// Read the csv alone; no image is opened.
        #[arg(long)]
        labels_only: bool,
    },
    /// MIMIC-CXR-JPG with the report files of MIMIC-CXR.
    Mimic {
        #[command(flatten)]
        place: Place,
    },
    /// IU X-Ray in R2Gen's layout: two views per study.
    IuXray {
        #[command(flatten)]
        place: Place,
    },
    /// An annotation.json of R2Gen or D2R-Net.
    AnnotationJson {
        #[command(flatten)]
        place: Place,
    },
    /// A COCO detection dataset.
    Coco {
        #[command(flatten)]
        place: Place,
    },
}

/// Reads it.
pub fn run(common: &Common, args: &Args) -> Result<()> {
    let ctx = common.context()?;
    let (kind, place, name) = match &args.layout {
        Layout::Vindr { place, labels_only } => (Kind::Vindr { labels_only: *labels_only }, place, "vindr"),
        Layout::Mimic { place } => (Kind::Mimic, place, "mimic"),
        Layout::IuXray { place } => (Kind::IuXray, place, "iu_xray"),
        Layout::AnnotationJson { place } => (Kind::AnnotationJson, place, "annotation"),
        Layout::Coco { place } => (Kind::Coco, place, "coco"),
    };
    let args = ingest::Args {
        kind,
        root: place.root.clone(),
        dataset: place.dataset.clone().unwrap_or_else(|| name.to_owned()),
        lake: common.lake.clone(),
        shard: common.shard,
    };
    output::result(common, &ingest::run(&ctx, args)?)
}
