//! The images of a report, opened a chunk at a time: files of a dataset of the lake, or of a folder.

use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FailureRow, ImageRow};
use rayon::prelude::*;

use crate::context::Context;
use crate::datasets::source::{OpenedImage, list_folder, open_ingested, open_listed};
use crate::error::Result;
use crate::lake::digest::{sha256_file, sha256_hex};
use crate::lake::{Lake, Partition};
use crate::reporter::batches::study::study_views;
use crate::stages::ingest::header_flags::refuse_burned_in;
use crate::stages::report::{Args, ImageSource};
use crate::stages::stage_times::StageTimes;

/// Studies opened at a time, at least; whole batches of generation. Bounds the memory.
const CHUNK: usize = 16;

/// An opened image that a report is written about.
#[derive(Debug)]
pub struct ReportImage {
    pub row: ImageRow,
    /// The image in original pixels.
    pub radiograph: Radiograph,
    /// The study's further views.
    pub views: Vec<Radiograph>,
}

/// A chunk of images, and the rows of those that cannot be used.
#[derive(Debug)]
pub struct OpenedImages {
    pub images: Vec<ReportImage>,
    pub failures: Vec<FailureRow>,
}

/// The identity of images: the rows of a lake, or a folder's files.
#[derive(Debug)]
pub struct ImageDigests {
    /// Names and contents of this shard's files.
    pub own: String,
    /// Names, sizes and times of all files.
    pub all: String,
    /// Names and sizes of all files: what a run is called by, wherever the folder is.
    pub names: String,
}

/// Opens the images of a source, a chunk at a time.
#[derive(Debug)]
pub struct ImageReader {
    root: PathBuf,
    /// The images of each study: the one that the report is about, then its further views.
    studies: Vec<Vec<ImageRow>>,
    next: usize,
    chunk_size: usize,
    /// Names and sizes, and also times, of the files of all shards, of a folder.
    listed: [String; 2],
    failures: Vec<FailureRow>,
    decode: ImageDecodeOptions,
    /// The partition of the lake that the images come from; `None` for a folder, whose rows lack size and digest.
    ingested: Option<(Lake, Partition)>,
    refuse_burned_in: bool,
}

impl ImageReader {
    /// A shard of a source's studies. `views`: images of a study that one report is about.
    pub fn new(ctx: &Context, args: &Args, views: usize) -> Result<Self> {
        let shard = args.shard;
        let (root, images, mut failures, ingested) = match &args.source {
            ImageSource::Lake { lake, dataset, split } => {
                let (lake, partition) = (Lake::open(lake)?, Partition::new(dataset, split));
                let images = lake.read_some(&partition, "run `d2r ingest`")?;
                (lake.dataset_root(dataset)?, images, Vec::new(), Some((lake, partition)))
            }
            ImageSource::Folder { images, .. } => {
                let listed = list_folder(images, "report")?;
                (images.clone(), listed.images, listed.failures, None)
            }
        };
        if shard.index > 0 {
            // One shard reports what the listing could not read.
            failures.clear();
        }
        let listed = if ingested.is_none() { stamps(&root, &images) } else { Default::default() };
        let batch = ctx.config.generate.batch_size.max(1);
        let chunk_size = CHUNK.div_ceil(batch) * batch;
        let studies = shard.of_groups(study_views(images, views), chunk_size);
        let decode = ctx.decode_options();
        let refuse_burned_in = args.refuse_burned_in;
        Ok(Self { root, studies, next: 0, chunk_size, listed, failures, decode, ingested, refuse_burned_in })
    }

    /// Number of studies.
    pub fn count(&self) -> usize {
        self.studies.len()
    }

    /// Rows of files that the listing could not read.
    pub fn take_failures(&mut self) -> Vec<FailureRow> {
        std::mem::take(&mut self.failures)
    }

    /// The identity of the images.
    pub fn digests(&self) -> Result<ImageDigests> {
        if let Some((lake, partition)) = &self.ingested {
            let rows = lake.content_digest(ImageRow::TABLE, partition)?;
            return Ok(ImageDigests { own: rows.clone(), all: rows.clone(), names: rows });
        }
        // A file of the same name and size may show another patient.
        let content = |i: &&ImageRow| match sha256_file(&self.root.join(&i.path)) {
            Ok(sha256) => format!("{} {sha256}", i.path),
            Err(_) => format!("{} unreadable", i.path),
        };
        let images: Vec<&ImageRow> = self.studies.iter().flatten().collect();
        let lines: Vec<String> = images.par_iter().map(content).collect();
        let [names, all] = self.listed.clone();
        Ok(ImageDigests { own: sha256_hex(lines.join("\n").as_bytes()), all, names })
    }

    /// The next images; `None` at the end.
    pub fn next_chunk(&mut self, times: &mut StageTimes) -> Option<OpenedImages> {
        let chunk = &self.studies[self.next..(self.next + self.chunk_size).min(self.studies.len())];
        if chunk.is_empty() {
            return None;
        }
        self.next += chunk.len();
        let start = Instant::now();
        let opened: Vec<_> = chunk.par_iter().map(|study| self.open(study)).collect();
        let wall_ms = start.elapsed().as_secs_f64() * 1e3;
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        let mut threads = Vec::new();
        for study in opened {
            match study {
                Err(failure) => failures.push(failure),
                Ok(views) => {
                    threads.extend(views.iter().map(|v| v.times));
                    let mut views = views.into_iter();
                    let Some(OpenedImage { row, radiograph, .. }) = views.next() else { continue };
                    images.push(ReportImage { row, radiograph, views: views.map(|v| v.radiograph).collect() });
                }
            }
        }
        times.add_opening(wall_ms, threads.into_iter().sum());
        Some(OpenedImages { images, failures })
    }

    fn open(&self, study: &[ImageRow]) -> Result<Vec<OpenedImage>, FailureRow> {
        let open = if self.ingested.is_some() { open_ingested } else { open_listed };
        let open_view = |view: &ImageRow| {
            let opened = open(&self.root, view, &self.decode).and_then(|opened| {
                if self.refuse_burned_in {
                    refuse_burned_in(opened.row.burned_in_annotation)?;
                }
                Ok(opened)
            });
            opened.map_err(|e| e.into_row("report", &view.path, Some(&view.image_id)))
        };
        study.iter().map(open_view).collect()
    }
}

/// Digests of files' names and sizes, and of these and their times of change.
fn stamps(root: &Path, images: &[ImageRow]) -> [String; 2] {
    let (mut names, mut times) = (String::new(), String::new());
    for image in images {
        let (size, time) = match std::fs::metadata(root.join(&image.path)) {
            Ok(m) => (m.len(), m.modified().ok()),
            Err(_) => (0, None),
        };
        names.push_str(&format!("{} {size}\n", image.path));
        times.push_str(&format!("{time:?}\n"));
    }
    times.insert_str(0, &names);
    [names, times].map(|text| sha256_hex(text.as_bytes()))
}
