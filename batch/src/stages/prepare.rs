//! `d2r prepare`: the images of a dataset as models take them, kept in `LAKE/prepared`, so that a training starts at once.
//! A training prepares what it needs itself; this verb does it before, in shards, and removes what is no longer needed.

use std::path::PathBuf;
use std::time::Instant;

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FailureRow, ImageRow};
use d2r_contracts::vocabulary::Vocabulary;

use crate::context::{Context, StageResult};
use crate::datasets::prepared::{self, Holdings, PreparedStore};
use crate::detector::batches::loader::{DetectionSet, LoadOptions};
use crate::detector::batches::radiograph_source::RadiographSource;
use crate::detector::card::input_spec;
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition, Shard};
use crate::reporter::batches::examples::examples;
use crate::reporter::batches::given_boxes::BoxesFrom;
use crate::reporter::card::{ReporterCard, visual_spec};

const STAGE: &str = "prepare";
/// Images prepared between two checks of the stop flag.
const CHUNK: usize = 256;

/// Which model's inputs are prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    Detector,
    /// Images and crops of the boxes that the lake holds; of the splits `train` and `val` where none is named.
    ReportModel,
}

#[derive(Debug, Clone)]
pub struct Args {
    pub lake: PathBuf,
    pub dataset: String,
    /// Splits; all when empty.
    pub splits: Vec<String>,
    pub model: For,
    /// The part of each split to do.
    pub shard: Shard,
}

/// Prepares the images of a dataset; those that are prepared are left alone. Images that cannot be used are counted and
/// shown, and become rows of `failures` in the stage that needs them.
///
/// # Errors
/// [`Error::NoRows`] without images; [`Error::Io`] when prepared images cannot be kept; those of reading tables.
pub fn run(ctx: &Context, args: &Args) -> Result<StageResult> {
    let start = Instant::now();
    let lake = Lake::open(&args.lake)?;
    let store = PreparedStore::at(lake.root().join(prepared::FOLDER));
    let before = store.holdings()?;
    let mut partitions = lake.partitions(ImageRow::TABLE)?;
    partitions.retain(|p| p.dataset == args.dataset && (args.splits.is_empty() || args.splits.contains(&p.split)));
    if partitions.is_empty() {
        return Err(lake.no_rows(ImageRow::TABLE, &args.dataset, "run `d2r ingest`"));
    }
    if args.model == For::ReportModel {
        if args.shard != Shard::WHOLE {
            return Err(Error::Usage("the report model's inputs are prepared as a whole; leave --shard out".into()));
        }
        partitions.retain(|p| !args.splits.is_empty() || p.split != "test");
    }
    let mut failures = Vec::new();
    for partition in &partitions {
        failures.extend(match args.model {
            For::Detector => detector_inputs(ctx, &lake, &store, partition, args.shard)?,
            For::ReportModel => study_inputs(ctx, &lake, partition)?,
        });
    }
    for failure in failures.iter().take(5) {
        let path = failure.path.as_deref().unwrap_or_default();
        ctx.progress.line(&format!("{path}: {}: {}", failure.code, failure.message));
    }
    let after = store.holdings()?;
    let figures = [
        ("prepared_files".to_owned(), after.files.saturating_sub(before.files) as f64),
        ("unusable_images".to_owned(), failures.len() as f64),
        ("kept_bytes".to_owned(), after.bytes as f64),
    ];
    let wall_s = start.elapsed().as_secs_f64();
    Ok(StageResult {
        stage: STAGE.into(),
        cached: after == before,
        figures: figures.into(),
        wall_s,
        ..StageResult::default()
    })
}

/// Removes what was prepared first until at most `bytes` are kept.
///
/// # Errors
/// Those of [`PreparedStore::prune`].
pub fn prune(lake: &std::path::Path, bytes: u64) -> Result<StageResult> {
    let start = Instant::now();
    let store = PreparedStore::at(Lake::open(lake)?.root().join(prepared::FOLDER));
    let before = store.holdings()?;
    let Holdings { files, bytes } = store.prune(bytes)?;
    let figures = [
        ("removed_files".to_owned(), before.files.saturating_sub(files) as f64),
        ("kept_files".to_owned(), files as f64),
        ("kept_bytes".to_owned(), bytes as f64),
    ];
    let wall_s = start.elapsed().as_secs_f64();
    Ok(StageResult { stage: STAGE.into(), figures: figures.into(), wall_s, ..StageResult::default() })
}

fn detector_inputs(
    ctx: &Context,
    lake: &Lake,
    store: &PreparedStore,
    partition: &Partition,
    shard: Shard,
) -> Result<Vec<FailureRow>> {
    ctx.config.detector.check_scales()?;
    let images = shard.of(lake.read::<ImageRow>(partition)?);
    if images.iter().any(|image| image.sha256.is_none()) {
        let problem = "holds images that were ingested by their labels alone; ingest their files";
        return Err(Error::bad_data(format!("table images {partition}"), problem));
    }
    let source = RadiographSource {
        root: lake.dataset_root(&partition.dataset)?,
        decode: ImageDecodeOptions { allow_phi: ctx.config.ingest.allow_phi, ..ImageDecodeOptions::default() },
        input: input_spec(&ctx.config.detector.model),
        prepared: Some(store.clone()),
        short_edges: ctx.config.detector.short_edges(&partition.split),
    };
    let task = ctx.progress.task(&format!("prepare {partition}"), images.len() as u64, "images");
    let mut failures = Vec::new();
    for chunk in images.chunks(CHUNK) {
        let options = LoadOptions { cache_bytes: 0, stage: STAGE, progress: &task, stop: &ctx.stop };
        failures.extend(DetectionSet::load(source.clone(), chunk.to_vec(), &[], options)?.1);
    }
    task.finish();
    Ok(failures)
}

fn study_inputs(ctx: &Context, lake: &Lake, partition: &Partition) -> Result<Vec<FailureRow>> {
    let config = &ctx.config.report.model;
    let card = ReporterCard {
        config: config.clone(),
        visual: visual_spec(config),
        vocabulary: Vocabulary::build(std::iter::empty(), 1),
        labels: lake.label_set(partition)?,
        align: None,
        detector_sha256: None,
    };
    Ok(examples(ctx, lake, partition, &card, None, BoxesFrom::Detector)?.1)
}

#[cfg(test)]
mod tests;
