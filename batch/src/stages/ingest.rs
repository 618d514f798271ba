//! `d2r ingest`: a dataset's folder into the lake. Label files are listed, images are read, digested and measured
//! in parallel (pixels are not kept), annotators' boxes are fused, reports are cut into sections and cleaned.
//! What cannot be used becomes a row of `failures`; the loop continues.

pub mod dataset_reader;
pub mod header_flags;
pub mod ingest_parts;
pub mod key;
pub mod outcome;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::report_text::CleaningRules;

use crate::config::ingest::IngestConfig;
use crate::context::{Context, StageResult};
use crate::datasets::frames::original_size;
pub use crate::datasets::label_sets::LabelChoice;
use crate::datasets::layouts::{annotation_json, chestx_det, coco, iu_xray, mimic, nih, openi, rsna, vindr};
use crate::datasets::lesion_rows::FusionRule;
use crate::datasets::listing::{ListOptions, Listing, Split};
use crate::datasets::report_sections::Section;
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition, Shard};
use crate::stages::ingest::ingest_parts::IngestParts;

/// Which layout is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// VinDr-CXR, PhysioNet's layout or Kaggle's.
    Vindr,
    Mimic,
    /// IU X-Ray as R2Gen distributes it.
    IuXray,
    /// `annotation.json` of R2Gen or D2R-Net.
    AnnotationJson,
    /// COCO detection files.
    Coco,
    /// NIH ChestX-ray14.
    Nih,
    /// RSNA Pneumonia Detection Challenge.
    Rsna,
    ChestxDet,
    /// Open-i's Indiana University collection, as published.
    Openi,
}

impl Kind {
    /// All layouts, by the names that commands use.
    pub const NAMES: [(&'static str, Self); 9] = [
        ("vindr", Self::Vindr),
        ("mimic", Self::Mimic),
        ("iu-xray", Self::IuXray),
        ("annotation-json", Self::AnnotationJson),
        ("coco", Self::Coco),
        ("nih", Self::Nih),
        ("rsna", Self::Rsna),
        ("chestx-det", Self::ChestxDet),
        ("openi", Self::Openi),
    ];

    /// The name in the lake of a dataset of this layout, where none is given.
    pub fn dataset(self) -> &'static str {
        match self {
            Self::Vindr => "vindr",
            Self::Mimic => "mimic",
            Self::IuXray => "iu_xray",
            Self::AnnotationJson => "annotation",
            Self::Coco => "coco",
            Self::Nih => "nih",
            Self::Rsna => "rsna",
            Self::ChestxDet => "chestx_det",
            Self::Openi => "openi",
        }
    }

    /// Whether tables of original sizes are looked for in the root: the layouts whose boxes are in the pixels of files that
    /// circulate as resized copies.
    fn has_tables_of_sizes(self) -> bool {
        matches!(self, Self::Vindr | Self::Coco)
    }
}

/// What to read, and where to.
#[derive(Debug, Clone)]
pub struct Args {
    pub kind: Kind,
    /// The dataset's folder (or a label file, for labels only).
    pub root: PathBuf,
    /// The dataset's name in the lake.
    pub dataset: String,
    pub lake: PathBuf,
    /// The part of the studies that this process reads.
    pub shard: Shard,
    /// Read the label files alone; sizes and digests stay unknown.
    pub labels_only: bool,
    /// A table with the sizes of the images that the boxes refer to, where the files are resized copies.
    pub original_size: Option<PathBuf>,
    /// Images whose header says that text is burned into the pixels are rows of `failures`.
    pub refuse_burned_in: bool,
    /// The label set of the boxes.
    pub labels: LabelChoice,
}

/// The settings of an ingest, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the label files are read.
    pub list: ListOptions,
    /// How files are decoded.
    pub decode: ImageDecodeOptions,
    /// Whether images with burned-in text are refused.
    pub refuse_burned_in: bool,
    /// How annotators' boxes are fused.
    pub fusion: FusionRule,
    /// The section of a report that is used.
    pub section: Section,
}

/// Reads a dataset into the lake.
///
/// # Errors
/// [`Error::InputMissing`] and [`Error::BadData`] of the layout's parser; [`Error::BadData`] when boxes have categories
/// that the label set does not know (nothing is written), when no image at all can be used, or most boxes are outside
/// their images (the rows are written before); [`Error::NothingToDo`] when the folder lists none; [`Error::Stopped`]
/// after a signal, with nothing written.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    let settings = settings(&ctx.config.ingest, ctx.config.run.seed, &args)?;
    Partition::new(&args.dataset, Split::Train.as_str()).check()?;
    let root = args.root.canonicalize().map_err(|e| Error::io("read", &args.root, e))?;
    let mut listing = list(&root, args.kind, &settings.list)?;
    listing.box_names.check(&listing.labels, &args.dataset, args.root.display())?;
    let folder = if root.is_file() { root.parent().map_or_else(|| root.clone(), Path::to_path_buf) } else { root };
    if args.original_size.is_some() || args.kind.has_tables_of_sizes() {
        original_size::apply(&mut listing, &folder, args.original_size.as_deref())?;
    }
    ingest_parts::drop_repeated_images(&mut listing);
    let work_key = key::work_key(&listing, &folder, &ctx.config.ingest, &args, ctx.config.run.seed)?;
    ingest_parts::keep_shard(&mut listing, args.shard);

    let lake = Lake::create(&args.lake)?;
    let target = IngestParts {
        lake: &lake,
        dataset: &args.dataset,
        shard: args.shard,
        work_key: &work_key,
        labels: &listing.labels,
    };
    let (committed, cached) = match target.finished()? {
        Some(committed) => (committed, true),
        None => {
            let rows = dataset_reader::read(ctx, &folder, &listing, &settings)?;
            ctx.stop.check()?;
            header_flags::warn_of(&rows);
            (target.write(rows)?, false)
        }
    };
    lake.register_dataset(&args.dataset, &folder, listing.layout)?;
    let result = StageResult::of_commit("ingest", &lake, &committed);
    if let Some(notice) = committed.notice() {
        ctx.progress.line(&notice);
    }
    outcome::check_used(&lake, &result.rows, &listing, &args)?;
    if committed.missing.is_empty() {
        outcome::check_boxes(&lake, &args)?;
    }
    let mut figures: BTreeMap<String, f64> =
        listing.notes.iter().map(|(name, n)| ((*name).to_owned(), *n as f64)).collect();
    figures.insert("listed_images".into(), listing.images.len() as f64);
    figures.insert("listed_studies".into(), listing.studies.len() as f64);
    Ok(StageResult { cached, figures, wall_s: start.elapsed().as_secs_f64(), ..result })
}

fn settings(config: &IngestConfig, seed: u64, args: &Args) -> Result<Settings> {
    let wrong = |key: &str, problem: &str| Error::Config { place: format!("ingest.{key}"), problem: problem.into() };
    let section =
        Section::parse(&config.section).ok_or_else(|| wrong("section", "one of findings, impression, both"))?;
    if !(0.0..=1.0).contains(&config.val_share) {
        return Err(wrong("val_share", "a share lies between 0 and 1"));
    }
    if config.min_annotators < 1 {
        return Err(wrong("min_annotators", "a box needs at least one annotator"));
    }
    let labels_only = args.labels_only;
    let IngestConfig { val_share, frontal_only, .. } = *config;
    Ok(Settings {
        list: ListOptions { seed, val_share, frontal_only, labels_only, labels: args.labels.clone() },
        refuse_burned_in: args.refuse_burned_in,
        decode: ImageDecodeOptions { allow_phi: config.allow_phi, ..ImageDecodeOptions::default() },
        fusion: FusionRule { iou_min: config.fusion_iou, min_annotators: config.min_annotators },
        section,
    })
}

fn list(root: &Path, kind: Kind, options: &ListOptions) -> Result<Listing> {
    match kind {
        Kind::Vindr => vindr::list(root, options),
        Kind::Mimic => mimic::list(root, options),
        Kind::IuXray => iu_xray::list(root, options),
        Kind::AnnotationJson => annotation_json::list(root, "annotation-json", CleaningRules::MimicCxr, options),
        Kind::Coco => coco::list(root, options),
        Kind::Nih => nih::list(root, options),
        Kind::Rsna => rsna::list(root, options),
        Kind::ChestxDet => chestx_det::list(root, options),
        Kind::Openi => openi::list(root, options),
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod phantom_tests;
#[cfg(test)]
mod size_tests;

#[cfg(test)]
mod frame_tests;
