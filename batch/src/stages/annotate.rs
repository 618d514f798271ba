//! `d2r annotate`: writes a detector's boxes for a dataset of the lake, all that score above the floor; the column
//! `accepted` marks those above the threshold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::label_set::LabelSet;
use d2r_contracts::rows::Row;
use d2r_contracts::space::Original;
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow, TimingRow};

use crate::config::detector::AnnotateConfig;
use crate::context::{Context, StageResult};
use crate::detector::batches::loader::{DetectionSet, LoadOptions};
use crate::detector::batches::radiograph_source::RadiographSource;
use crate::detector::card::{DetectorCard, STUDENT_FILE, load_detector, load_student};
use crate::detector::detection::Detection;
use crate::detector::inference::{InferenceOptions, detect_set};
use crate::detector::lesion_row::{RowOrigin, lesion_rows};
use crate::detector::model::Detector;
use crate::detector::thresholds::Thresholds;
use crate::error::{Error, Result};
use crate::lake::digest::sha256_file;
use crate::lake::{Committed, Lake, Partition, Provenance, Shard, Unfinished, images_per_sub_part};
use crate::progress::Task;
use crate::stages::stage_times::{StageTimes, timed};
use crate::stages::work_key::work_key;
use crate::training::prefetch::{Batches, made_ahead};

/// The stage's name, and its boxes' producer.
const VERB: &str = "annotate";

/// Images opened in parallel at a time, at least; whole batches. Bounds the memory.
const CHUNK: usize = 16;

#[derive(Debug, Clone)]
pub struct Args {
    pub lake: PathBuf,
    pub dataset: String,
    /// Splits; all when empty.
    pub splits: Vec<String>,
    /// Folder of a finished detector run.
    pub detector: PathBuf,
    /// Of a semi-supervised run, use the student instead of the teacher.
    pub student: bool,
    /// The part of each split to do.
    pub shard: Shard,
}

/// What is needed to annotate a split.
struct Job<'a> {
    lake: &'a Lake,
    detector: &'a Detector,
    /// The student of a semi-supervised run, for the column `student_iou`.
    student: Option<&'a Detector>,
    source: RadiographSource,
    config: &'a AnnotateConfig,
    thresholds: &'a Thresholds,
    /// The detector's classes.
    labels: &'a LabelSet,
    provenance: Provenance,
    shard: Shard,
}

/// Annotates split by split; a split whose parts have the same work key is skipped.
///
/// # Errors
/// [`Error::NoRows`] without images, [`Error::InputMissing`] without a detector; those of reading and writing. An image
/// that cannot be used becomes a row of `failures`. [`Error::BadData`] where other boxes of the dataset have another
/// label set.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    let lake = Lake::open(&args.lake)?;
    let config = &ctx.config.annotate;
    let (mut detector, mut card) = load_detector(&args.detector, config.score_floor, ctx.device)?;
    let mut student = load_student(&args.detector, &card, config.score_floor, ctx.device)?;
    if args.student {
        let absent = || Error::NothingToDo(format!("{} holds no student", args.detector.display()));
        detector = student.take().ok_or_else(absent)?;
        card.model_sha256 = sha256_file(&args.detector.join(STUDENT_FILE))?;
    }
    detector.set_compute(ctx.compute_kind());
    if let Some(student) = &mut student {
        student.set_compute(ctx.compute_kind());
    }
    let thresholds = thresholds(ctx, &args.detector, &card.model)?;
    let source = RadiographSource {
        root: lake.dataset_root(&args.dataset)?,
        decode: ImageDecodeOptions { allow_phi: ctx.config.ingest.allow_phi, ..ImageDecodeOptions::default() },
        input: card.model.input,
        prepared: None,
        short_edges: None,
    };
    let mut partitions = lake.partitions(ImageRow::TABLE)?;
    partitions.retain(|p| p.dataset == args.dataset && (args.splits.is_empty() || args.splits.contains(&p.split)));
    if partitions.is_empty() {
        let splits = if args.splits.is_empty() { String::new() } else { format!("/{}", args.splits.join(",")) };
        return Err(lake.no_rows(ImageRow::TABLE, format!("{}{splits}", args.dataset), "run `d2r ingest`"));
    }
    let mut result = StageResult { stage: "annotate".into(), cached: true, ..StageResult::default() };
    let thresholds_text = serde_json::to_string(&thresholds).map_err(|e| Error::Internal(e.to_string()))?;
    let label_set = serde_json::to_string(&card.model.labels).map_err(|e| Error::Internal(e.to_string()))?;
    for partition in &partitions {
        lake.check_label_set(partition, VERB, &card.model.labels)?;
    }
    for partition in partitions {
        let AnnotateConfig { score_floor, batch_size, flip_tta, .. } = *config;
        let config_text =
            serde_json::to_string(&(score_floor, batch_size, flip_tta)).map_err(|e| Error::Internal(e.to_string()))?;
        let input = serde_json::to_string(&card.model.input).map_err(|e| Error::Internal(e.to_string()))?;
        let key = work_key(&[
            ("verb", VERB),
            ("config", &config_text),
            ("thresholds", &thresholds_text),
            ("input", &input),
            ("precision", &ctx.config.run.precision),
            ("model", &card.model_sha256),
            ("label set", &label_set),
            ("partition", &partition.to_string()),
            ("images", &lake.content_digest(ImageRow::TABLE, &partition)?),
        ]);
        let provenance = Provenance::of_work(VERB, key, Some(&card.model_sha256));
        let job = Job {
            lake: &lake,
            detector: &detector,
            student: student.as_ref(),
            source: source.clone(),
            config,
            thresholds: &thresholds,
            labels: &card.model.labels,
            provenance,
            shard: args.shard,
        };
        let (committed, cached) = job.split(ctx, &partition)?;
        result.cached &= cached;
        result.add_commit(&lake, &committed);
        if let Some(notice) = committed.notice() {
            ctx.progress.line(&format!("{partition}: {notice}"));
        }
    }
    result.wall_s = start.elapsed().as_secs_f64();
    Ok(result)
}

/// The scores above which boxes are accepted: those of the detector's run, unless a number is set.
fn thresholds(ctx: &Context, run: &Path, card: &DetectorCard) -> Result<Thresholds> {
    let set = ctx.is_set("annotate.threshold");
    if let Some(score) = ctx.config.annotate.threshold.filter(|_| set) {
        return Ok(Thresholds::one(score));
    }
    if set && !card.thresholds.are_by_class() {
        let problem =
            format!("{} holds no thresholds by class, which are chosen in training: set a number", run.display());
        return Err(Error::Config { place: "annotate.threshold".into(), problem });
    }
    ctx.progress.line(&format!("boxes above {} are accepted, as the detector's run says", card.thresholds));
    Ok(card.thresholds.clone())
}

/// A chunk of images whose files were opened.
struct Opened {
    /// Images, usable or not.
    count: u64,
    set: DetectionSet,
    failures: Vec<FailureRow>,
    /// Wall time of opening them.
    wall_ms: f64,
}

/// Rows that are in no sub-part yet.
#[derive(Default)]
struct Found {
    images: u64,
    lesions: Vec<LesionRow>,
    failures: Vec<FailureRow>,
}

impl Job<'_> {
    /// The tables of one split, and whether they existed already.
    fn split(&self, ctx: &Context, partition: &Partition) -> Result<(Committed, bool)> {
        let tables = [LesionRow::TABLE, FailureRow::TABLE, TimingRow::TABLE].map(|table| (partition, table));
        if let Some(committed) = self.lake.finished(&tables, self.shard, &self.provenance)? {
            self.lake.discard_unfinished(partition, self.shard, &self.provenance, &committed)?;
            return Ok((committed, true));
        }
        let batch = self.config.batch_size.max(1);
        let chunk_size = CHUNK.div_ceil(batch) * batch;
        let range = self.shard.range_of_groups(self.lake.rows_of(ImageRow::TABLE, partition)?, chunk_size);
        let count = range.end - range.start;
        let mut kept = self.lake.unfinished(partition, self.shard, &self.provenance, ctx.again())?;
        let mut times: StageTimes = kept.state()?.unwrap_or_default();
        let finished = kept.finished();
        kept.said().iter().for_each(|line| ctx.progress.line(line));
        let images =
            self.lake.rows_in_order::<ImageRow>(partition, range.start + finished, count.saturating_sub(finished))?;
        let task = Arc::new(ctx.progress.task(&format!("annotate {partition}"), count, "images"));
        task.continue_after(finished);
        let mut found = Found::default();
        let mut chunks = self.opened(ctx, images, chunk_size, &task)?;
        while let Some(opened) = timed(&mut times.waiting_ms, || chunks.next()) {
            if found.images >= images_per_sub_part(chunk_size) {
                self.keep(&mut kept, &mut found, &mut times)?;
            }
            if let Err(error) = opened.and_then(|opened| self.annotate(ctx, opened, &mut found, &mut times)) {
                if matches!(error, Error::Stopped { .. }) && found.images > 0 {
                    self.keep(&mut kept, &mut found, &mut times)?;
                }
                return Err(error);
            }
        }
        task.finish();
        let start = Instant::now();
        let mut commit = self.lake.begin(self.shard, &self.provenance)?.with_labels(self.labels);
        commit.add_all(partition, &kept, found.lesions)?;
        commit.add_all(partition, &kept, found.failures)?;
        times.add_writing(start);
        let images = usize::try_from(count).unwrap_or(usize::MAX);
        commit.add(partition, vec![times.row("annotate", &self.provenance, self.shard, images)])?;
        let committed = commit.finish()?;
        kept.discard(&committed)?;
        Ok((committed, false))
    }

    /// Keeps the rows of some hundred images, so that a later process continues after them.
    fn keep(&self, kept: &mut Unfinished, found: &mut Found, times: &mut StageTimes) -> Result<()> {
        let (start, Found { images, lesions, failures }) = (Instant::now(), std::mem::take(found));
        let mut sub_part = kept.begin(&self.provenance)?;
        sub_part.add(lesions)?;
        sub_part.add(failures)?;
        times.add_writing(start);
        sub_part.finish(images, times)
    }

    /// The images, chunk by chunk, opened on another thread while the model works.
    fn opened(
        &self,
        ctx: &Context,
        mut images: impl Iterator<Item = Result<ImageRow>> + Send + 'static,
        chunk_size: usize,
        task: &Arc<Task>,
    ) -> Result<Batches<'static, Opened>> {
        let (source, stop, task) = (self.source.clone(), ctx.stop.clone(), Arc::clone(task));
        let chunks = std::iter::from_fn(move || {
            let chunk = images.by_ref().take(chunk_size).collect::<Result<Vec<ImageRow>>>();
            (!matches!(&chunk, Ok(images) if images.is_empty())).then_some(chunk)
        });
        made_ahead(1, chunks, move |chunk| {
            let (start, chunk) = (Instant::now(), chunk?);
            let count = chunk.len() as u64;
            let options = LoadOptions { cache_bytes: u64::MAX, stage: VERB, progress: &task, stop: &stop };
            let (set, failures) = DetectionSet::load(source.clone(), chunk, &[], options)?;
            Ok(Opened { count, set, failures, wall_ms: start.elapsed().as_secs_f64() * 1e3 })
        })
    }

    /// Detects the lesions of opened images.
    fn annotate(&self, ctx: &Context, opened: Opened, found: &mut Found, times: &mut StageTimes) -> Result<()> {
        let Opened { count, set, failures, wall_ms } = opened;
        times.add_opening(wall_ms, set.times);
        let AnnotateConfig { batch_size, flip_tta, .. } = *self.config;
        let options = InferenceOptions { input: set.source.input, batch_size, flip_tta };
        let mut detect = |detector| timed(&mut times.model_ms, || detect_set(detector, &set, options, &ctx.stop));
        let detected = detect(self.detector)?;
        let of_student = self.student.map(detect).transpose()?;
        for (i, (example, detections)) in set.examples.iter().zip(&detected).enumerate() {
            let of_student = of_student.as_ref().map(|found| found[i].as_slice());
            found.lesions.extend(self.rows(&example.image.image_id, detections, of_student)?);
        }
        found.failures.extend(failures);
        found.images += count;
        Ok(())
    }

    fn rows(
        &self,
        image_id: &str,
        detections: &[Detection<Original>],
        of_student: Option<&[Detection<Original>]>,
    ) -> Result<Vec<LesionRow>> {
        let model_sha256 = self.provenance.model_sha256.as_deref();
        let origin = RowOrigin { thresholds: self.thresholds, model_sha256, labels: self.labels };
        let mut rows = lesion_rows(image_id, detections, origin)?;
        if let Some(of_student) = of_student {
            for (row, detection) in rows.iter_mut().zip(detections) {
                row.student_iou = Some(best_iou(detection, of_student));
            }
        }
        Ok(rows)
    }
}

/// Highest IoU of a teacher's detection with a detection of the same class by the student; 0 without any.
fn best_iou(detection: &Detection<Original>, of_student: &[Detection<Original>]) -> f32 {
    let same_class = of_student.iter().filter(|s| s.class_id == detection.class_id);
    same_class.map(|s| s.region.iou(&detection.region)).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests;
