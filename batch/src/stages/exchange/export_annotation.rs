//! `d2r export annotation-json`: a dataset of the lake as D2R-Net's `annotation.json`, all splits in one file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use d2r_contracts::tables::{ImageRow, LesionRow, ReportRow};

use crate::context::{Context, StageResult};
use crate::datasets::annotation_export::{Example, examples, pad};
use crate::datasets::listing::Split;
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition, atomic_file};

#[derive(Debug, Clone)]
pub struct Args {
    pub lake: PathBuf,
    pub dataset: String,
    /// The file to write; its image paths are relative to the dataset's root.
    pub out: PathBuf,
}

/// Writes the file. The section of the reports is `ingest.section`.
///
/// # Errors
/// [`Error::NothingToDo`] when no image of the dataset has a report.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    let lake = Lake::open(&args.lake)?;
    let mut document: BTreeMap<&str, Vec<Example>> = BTreeMap::new();
    for split in Split::ALL.map(Split::as_str) {
        let partition = Partition::new(&args.dataset, split);
        let (images, lesions, reports) = (
            lake.read::<ImageRow>(&partition)?,
            lake.read::<LesionRow>(&partition)?,
            lake.read::<ReportRow>(&partition)?,
        );
        let labels = lake.label_set(&partition)?;
        document.insert(split, examples(split, images, &lesions, reports, &ctx.config.ingest.section, &labels));
        ctx.stop.check()?;
    }
    let rows: BTreeMap<String, u64> = document.iter().map(|(split, e)| ((*split).to_owned(), e.len() as u64)).collect();
    if rows.values().sum::<u64>() == 0 {
        let section = &ctx.config.ingest.section;
        return Err(Error::NothingToDo(format!("dataset {} has no image with a report ({section})", args.dataset)));
    }
    let boxes: usize = document.values().flatten().map(|e| e.boxes.len()).sum();
    let length = pad(document.values_mut().flatten());
    let file = atomic_file::write(&args.out, |w| {
        serde_json::to_writer(&mut *w, &document).map_err(|e| Error::io("write", &args.out, e.into()))?;
        w.write_all(b"\n").map_err(|e| Error::io("write", &args.out, e))
    })?;
    Ok(StageResult {
        stage: "export-annotation-json".into(),
        cached: false,
        rows,
        files: vec![file],
        figures: BTreeMap::from([("boxes".into(), boxes as f64), ("boxes_per_image_padded".into(), length as f64)]),
        wall_s: start.elapsed().as_secs_f64(),
    })
}
