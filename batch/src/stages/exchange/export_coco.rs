//! `d2r export coco`: a partition of the lake as a COCO detection file. The labelled export has the accepted fused
//! lesions, and also images without any: without them precision would be overestimated.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use d2r_contracts::tables::{ImageRow, LesionRow};

use crate::context::{Context, StageResult};
pub use crate::datasets::coco_export::Content;
use crate::datasets::coco_export::document;
use crate::datasets::layouts::coco::image_ids::ImageIds;
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition, atomic_file};

#[derive(Debug, Clone)]
pub struct Args {
    pub lake: PathBuf,
    pub dataset: String,
    pub split: String,
    /// Which images, with which boxes.
    pub content: Content,
    /// A COCO file of the same images, whose image ids are kept.
    pub image_ids: Option<PathBuf>,
    /// The file to write; its image paths are relative to the dataset's root.
    pub out: PathBuf,
}

/// Writes the file.
///
/// # Errors
/// [`Error::NothingToDo`] when the partition has no such images; [`Error::BadData`] when sizes are not known, or the
/// file of image ids lacks an image.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    let lake = Lake::open(&args.lake)?;
    let partition = Partition::new(&args.dataset, &args.split);
    let images: Vec<ImageRow> = lake.read(&partition)?;
    let content = args.content;
    let lesions: Vec<LesionRow> = if content == Content::ImagesOnly { Vec::new() } else { lake.read(&partition)? };
    let labels = lake.label_set(&partition)?;
    let ids = args.image_ids.as_deref().map(ImageIds::read).transpose()?;
    let name = format!("{} {}", args.dataset, args.split);
    let coco = document(&name, &images, &lesions, content, &labels, ids.as_ref())?;
    if coco.images.is_empty() {
        let which = if images.is_empty() { "no images" } else { "no images that readers looked at" };
        return Err(Error::NothingToDo(format!("dataset {}, split {} has {which}", args.dataset, args.split)));
    }
    ctx.stop.check()?;
    let file = atomic_file::write(&args.out, |w| {
        serde_json::to_writer(&mut *w, &coco).map_err(|e| Error::io("write", &args.out, e.into()))?;
        w.write_all(b"\n").map_err(|e| Error::io("write", &args.out, e))
    })?;
    let annotations = coco.annotations.as_ref().map_or(0, Vec::len);
    Ok(StageResult {
        stage: "export-coco".into(),
        cached: false,
        rows: BTreeMap::from([("images".into(), coco.images.len() as u64), ("annotations".into(), annotations as u64)]),
        files: vec![file],
        figures: BTreeMap::new(),
        wall_s: start.elapsed().as_secs_f64(),
    })
}
