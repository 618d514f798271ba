//! `d2r phantom`: draws a phantom and writes it in the layouts of the real datasets, with its truth tables beside it.
//! The same settings and seed give the same bytes; a folder that already holds them is left as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::rows::Row;
use d2r_phantom::catalogue::{Catalogue, PlannedSet};
use d2r_phantom::layouts::Layout;
use d2r_phantom::layouts::identity::Split;
use d2r_phantom::layouts::output_folder::{MANIFEST, Manifest, OutputFolder, sha256_hex};
use d2r_phantom::truth::{of_labelled, of_visits};
use d2r_phantom::{Observer, PhantomConfig, layouts};
use walkdir::WalkDir;

use crate::context::{Context, FileDigest, StageResult};
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition, Provenance, Shard};
use crate::progress::Task;
use crate::stages::work_key::work_key;
use crate::stop::StopFlag;

/// The truth tables' folder, a lake of its own.
pub const TRUTH: &str = "truth";

/// What to draw, and where.
#[derive(Debug, Clone, Default)]
pub struct Args {
    /// The folder to write; created, or replaced where it holds an earlier phantom.
    pub out: PathBuf,
    /// Labelled images, and studies with reports, instead of the configured numbers.
    pub images: Option<u32>,
    /// Seed instead of the configured one.
    pub seed: Option<u64>,
    /// The layouts that are written; empty: [`Layout::USUAL`].
    pub layouts: Vec<Layout>,
}

/// Writes the phantom.
///
/// # Errors
/// [`Error::Usage`] when the folder holds something else; [`Error::Config`] for settings that cannot be drawn;
/// [`Error::Stopped`] after a signal; [`Error::Io`] when a file cannot be written.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    let (config, seed) = settings(ctx, &args)?;
    let catalogue =
        Catalogue::of_layouts(&config, seed, if args.layouts.is_empty() { &Layout::USUAL } else { &args.layouts });
    let work_key = key(&config, seed, catalogue.layouts())?;
    let (manifest, cached) = match Manifest::verified(&args.out, &work_key) {
        Some(manifest) => (manifest, true),
        None => (write(ctx, &args.out, &catalogue, seed, &work_key)?, false),
    };
    result(&args.out, manifest, cached, start)
}

fn settings(ctx: &Context, args: &Args) -> Result<(PhantomConfig, u64)> {
    let mut config = ctx.config.phantom.clone();
    if let Some(images) = args.images {
        config.labelled_images = images;
        config.report_studies = images;
    }
    config.check()?;
    Ok((config, args.seed.unwrap_or(ctx.config.run.seed)))
}

fn key(config: &PhantomConfig, seed: u64, layouts: &[Layout]) -> Result<String> {
    let settings = serde_json::to_string(config).map_err(|e| Error::Internal(e.to_string()))?;
    let layouts = layouts.iter().map(|l| l.name()).collect::<Vec<_>>().join(" ");
    Ok(work_key(&[("stage", "phantom"), ("phantom", &settings), ("seed", &seed.to_string()), ("layouts", &layouts)]))
}

/// Progress and stop signal of a phantom's writing.
struct Watch {
    task: Task,
    stop: StopFlag,
}

impl Observer for Watch {
    fn written(&self, n: u64) {
        self.task.advance(n);
    }

    fn layout(&self, name: &str) {
        self.task.message(name);
    }

    fn stop_signal(&self) -> Option<i32> {
        self.stop.signal()
    }
}

fn write(ctx: &Context, out: &Path, catalogue: &Catalogue, seed: u64, work_key: &str) -> Result<Manifest> {
    let watch = Watch { task: ctx.progress.task("phantom", catalogue.images(), "images"), stop: ctx.stop.clone() };
    let folder = OutputFolder::start(out, &watch)?;
    layouts::write(&folder, catalogue, seed)?;
    watch.layout("truth tables");
    let mut counts = write_truth(&folder, catalogue, work_key)?;
    counts.extend(catalogue.sets().map(|(layout, set)| match set {
        PlannedSet::Labelled(images) => (format!("{}.images", layout.name()), images.len() as u64),
        PlannedSet::Visits(visits) => (format!("{}.studies", layout.name()), visits.len() as u64),
    }));
    let manifest = folder.finish(work_key, counts)?;
    watch.task.finish();
    Ok(manifest)
}

/// Writes the truth tables of all sets; the number of rows by table.
fn write_truth(folder: &OutputFolder, catalogue: &Catalogue, work_key: &str) -> Result<BTreeMap<String, u64>> {
    let root = folder.root().join(TRUTH);
    let lake = Lake::create(&root)?;
    let provenance = Provenance::of_work("phantom", work_key.to_owned(), None);
    let mut counts = BTreeMap::new();
    for split in [Split::Train, Split::Val, Split::Test] {
        for (layout, set) in catalogue.sets() {
            let truth = match set {
                PlannedSet::Labelled(images) => of_labelled(images, split),
                PlannedSet::Visits(visits) => of_visits(visits, split),
            };
            let partition = Partition::new(layout.name(), split.name());
            put(&lake, &partition, truth.lesions, &provenance, &mut counts)?;
            put(&lake, &partition, truth.links, &provenance, &mut counts)?;
            put(&lake, &partition, truth.findings, &provenance, &mut counts)?;
            put(&lake, &partition, truth.mentions, &provenance, &mut counts)?;
            put(&lake, &partition, truth.statements, &provenance, &mut counts)?;
        }
    }
    let mut paths = Vec::new();
    for entry in WalkDir::new(&root).sort_by_file_name() {
        let entry = entry.map_err(|e| Error::Internal(format!("list the truth tables: {e}")))?;
        if let (true, Ok(path)) = (entry.file_type().is_file(), entry.path().strip_prefix(folder.root())) {
            paths.push(path.to_string_lossy().into_owned());
        }
    }
    for path in &paths {
        folder.adopt(path)?;
    }
    Ok(counts)
}

fn put<R: Row>(
    lake: &Lake,
    partition: &Partition,
    rows: Vec<R>,
    provenance: &Provenance,
    counts: &mut BTreeMap<String, u64>,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    *counts.entry(R::TABLE.to_owned()).or_insert(0) += rows.len() as u64;
    lake.write(partition, Shard { index: 0, count: 1 }, rows, provenance).map(|_| ())
}

/// Counts of tables become rows, other counts figures; of the files, those that hold tables are named.
fn result(out: &Path, manifest: Manifest, cached: bool, start: Instant) -> Result<StageResult> {
    let tables: Vec<FileDigest> = manifest
        .files
        .iter()
        .filter(|(path, _)| [".csv", ".csv.gz", ".json", ".parquet"].iter().any(|end| path.ends_with(end)))
        .map(|(path, file)| FileDigest { path: out.join(path), bytes: file.bytes, sha256: file.sha256.clone() })
        .collect();
    let text = std::fs::read(out.join(MANIFEST)).map_err(|e| Error::io("read", out.join(MANIFEST), e))?;
    let itself = FileDigest { path: out.join(MANIFEST), bytes: text.len() as u64, sha256: sha256_hex(&text) };
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    let (rows, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        manifest.counts.into_iter().partition(|(name, _)| name.starts_with("truth_"));
    let mut figures: BTreeMap<String, f64> = others.into_iter().map(|(name, n)| (name, n as f64)).collect();
    figures.insert("files".into(), manifest.files.len() as f64);
    figures.insert("bytes".into(), bytes as f64);
    Ok(StageResult {
        stage: "phantom".into(),
        cached,
        rows,
        files: [vec![itself], tables].concat(),
        figures,
        wall_s: start.elapsed().as_secs_f64(),
    })
}

#[cfg(test)]
mod tests;
