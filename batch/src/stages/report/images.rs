//! The images of a report, opened a chunk at a time: files of a dataset of the lake, or of a folder.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FailureRow, ImageRow};
use rayon::prelude::*;

use crate::context::Context;
use crate::datasets::source::{FileTimes, OpenedImage, list_folder, open_ingested, open_listed};
use crate::error::Result;
use crate::lake::digest::{sha256_file, sha256_hex};
use crate::lake::sorted_rows::SomeRows;
use crate::lake::{Lake, Partition};
use crate::reporter::batches::study::study_views;
use crate::stages::ingest::header_flags::refuse_burned_in;
use crate::stages::report::{Args, ImageSource};
use crate::training::prefetch::{Batches, made_ahead};

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
    /// Number of studies, opened or not.
    pub studies: u64,
    pub images: Vec<ReportImage>,
    pub failures: Vec<FailureRow>,
    /// Wall time of opening them.
    pub wall_ms: f64,
    /// The threads' time.
    pub threads: FileTimes,
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
pub struct ImageReader {
    files: ImageFiles,
    studies: Studies,
    /// Studies of this shard.
    count: u64,
    chunk_size: usize,
    /// Names and sizes, and also times, of the files of all shards, of a folder.
    listed: [String; 2],
    failures: Vec<FailureRow>,
    /// The partition of the lake that the images come from; `None` for a folder.
    ingested: Option<(Lake, Partition)>,
}

/// How the files of images are opened.
#[derive(Debug)]
struct ImageFiles {
    root: PathBuf,
    decode: ImageDecodeOptions,
    /// Rows of a folder's images lack size and digest.
    ingested: bool,
    refuse_burned_in: bool,
}

/// The images of each study of a shard: the one that the report is about, then its further views.
enum Studies {
    /// From number `next` on.
    Listed { all: Vec<Vec<ImageRow>>, next: usize },
    /// Images of a split that are read as they are asked for, from row `first` on.
    Read { rows: SomeRows<ImageRow>, first: u64 },
}

impl ImageReader {
    /// A shard of a source's studies. `views`: images of a study that one report is about.
    pub fn new(ctx: &Context, args: &Args, views: usize) -> Result<Self> {
        let shard = args.shard;
        let batch = ctx.config.generate.batch_size.max(1);
        let chunk_size = CHUNK.div_ceil(batch) * batch;
        let (mut failures, mut listed, mut ingested) = (Vec::new(), Default::default(), None);
        let (root, studies, count) = match &args.source {
            ImageSource::Lake { lake, dataset, split } => {
                let (lake, partition) = (Lake::open(lake)?, Partition::new(dataset, split));
                let n = lake.rows_of(ImageRow::TABLE, &partition)?;
                if n == 0 {
                    return Err(lake.no_rows(ImageRow::TABLE, &partition, "run `d2r ingest`"));
                }
                let root = lake.dataset_root(dataset)?;
                let (studies, count) = if views > 1 {
                    // The views of a study lie anywhere in the table.
                    Studies::listed(shard.of_groups(study_views(lake.read(&partition)?, views), chunk_size))
                } else {
                    let Range { start, end } = shard.range_of_groups(n, chunk_size);
                    let rows = lake.rows_in_order(&partition, start, end - start)?;
                    (Studies::Read { rows, first: start }, end - start)
                };
                ingested = Some((lake, partition));
                (root, studies, count)
            }
            ImageSource::Folder { images, .. } => {
                let found = list_folder(images, "report")?;
                failures = found.failures;
                listed = stamps(images, &found.images);
                let (studies, count) = Studies::listed(shard.of_groups(study_views(found.images, views), chunk_size));
                (images.clone(), studies, count)
            }
        };
        if shard.index > 0 {
            // One shard reports what the listing could not read.
            failures.clear();
        }
        let (decode, refuse_burned_in) = (ctx.decode_options(), args.refuse_burned_in);
        let files = ImageFiles { root, decode, ingested: ingested.is_some(), refuse_burned_in };
        Ok(Self { files, studies, count, chunk_size, listed, failures, ingested })
    }

    /// Number of studies.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Studies that are opened at a time.
    pub fn chunk_size(&self) -> usize {
        self.chunk_size
    }

    /// Passes over studies that are finished.
    ///
    /// # Errors
    /// Those of reading tables.
    pub fn skip(&mut self, finished: u64) -> Result<()> {
        match &mut self.studies {
            Studies::Listed { next, .. } => *next = usize::try_from(finished).unwrap_or(usize::MAX),
            Studies::Read { rows, first } => {
                if let Some((lake, partition)) = &self.ingested {
                    *first += finished;
                    *rows = lake.rows_in_order(partition, *first, self.count.saturating_sub(finished))?;
                }
            }
        }
        Ok(())
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
        let root = &self.files.root;
        let content = |i: &&ImageRow| match sha256_file(&root.join(&i.path)) {
            Ok(sha256) => format!("{} {sha256}", i.path),
            Err(_) => format!("{} unreadable", i.path),
        };
        let images: Vec<&ImageRow> = match &self.studies {
            Studies::Listed { all, .. } => all.iter().flatten().collect(),
            Studies::Read { .. } => Vec::new(),
        };
        let lines: Vec<String> = images.par_iter().map(content).collect();
        let [names, all] = self.listed.clone();
        Ok(ImageDigests { own: sha256_hex(lines.join("\n").as_bytes()), all, names })
    }

    /// The images, chunk by chunk, opened on another thread while the model works.
    ///
    /// # Errors
    /// Those of [`made_ahead`]; each chunk has those of reading tables.
    pub fn opened(self) -> Result<Batches<'static, OpenedImages>> {
        let Self { files, mut studies, chunk_size, .. } = self;
        let chunks = std::iter::from_fn(move || {
            let chunk = studies.take(chunk_size);
            (!matches!(&chunk, Ok(studies) if studies.is_empty())).then_some(chunk)
        });
        made_ahead(1, chunks, move |chunk| Ok(files.open_chunk(&chunk?)))
    }
}

impl ImageFiles {
    fn open_chunk(&self, chunk: &[Vec<ImageRow>]) -> OpenedImages {
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
        let studies = chunk.len() as u64;
        OpenedImages { studies, images, failures, wall_ms, threads: threads.into_iter().sum() }
    }

    fn open(&self, study: &[ImageRow]) -> Result<Vec<OpenedImage>, FailureRow> {
        let open = if self.ingested { open_ingested } else { open_listed };
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

impl Studies {
    /// Listed studies, and their number.
    fn listed(all: Vec<Vec<ImageRow>>) -> (Self, u64) {
        let count = all.len() as u64;
        (Self::Listed { all, next: 0 }, count)
    }

    /// The next `size` studies, fewer at the end.
    fn take(&mut self, size: usize) -> Result<Vec<Vec<ImageRow>>> {
        match self {
            Self::Listed { all, next } => {
                let chunk: Vec<_> = all.iter().skip(*next).take(size).cloned().collect();
                *next += chunk.len();
                Ok(chunk)
            }
            Self::Read { rows, .. } => rows.take(size).map(|row| row.map(|image| vec![image])).collect(),
        }
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
