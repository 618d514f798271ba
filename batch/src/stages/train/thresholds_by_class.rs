//! The thresholds by class of a trained detector, chosen on images of which the present classes are known.

use std::path::Path;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{ImageRow, LesionRow};

use crate::config::detector::DetectorModelConfig;
use crate::context::Context;
use crate::detector::batches::loader::{DetectionSet, LoadOptions};
use crate::detector::inference::{InferenceOptions, detect_set};
use crate::detector::model::Detector;
use crate::detector::thresholds::choice::{Evidence, thresholds};
use crate::detector::thresholds::{Thresholds, UNKNOWN};
use crate::error::Result;
use crate::lake::{Lake, Partition};
use crate::stages::train::detector_inputs::{NamedClasses, annotated_boxes, source};
use crate::training::named_tensors::load_strict;

/// Images at most, evenly spaced over the split: a bound of the time.
const IMAGES_MAX: u64 = 2000;

/// Images in memory at a time, at least; whole batches.
const CHUNK: usize = 64;

/// How the present classes are known; the dataset's name.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    /// By the reports of the training split, which name these.
    FromReports(&'a str, &'a NamedClasses),
    /// By the annotators' boxes of the validation split.
    FromBoxes(&'a str),
}

/// Runs the detector of these weights as `annotate` does, and says what was chosen on what.
///
/// # Errors
/// Those of reading; [`crate::Error::Stopped`] after a signal.
pub fn thresholds_by_class(
    ctx: &Context,
    lake: &Lake,
    known: Known,
    labels: &LabelSet,
    weights: &Path,
) -> Result<Thresholds> {
    let annotate = &ctx.config.annotate;
    let model = DetectorModelConfig { score_min: annotate.score_floor, ..ctx.config.detector.model.clone() };
    let mut detector = Detector::with_classes(&model, labels.classes.len() as i64, ctx.device)?;
    load_strict(detector.variables_mut(), weights)?;
    detector.set_compute(ctx.compute_kind());
    let (partition, named, boxes, what) = match known {
        Known::FromReports(name, named) => {
            (Partition::new(name, "train"), Some(named), Vec::new(), "images with reports")
        }
        Known::FromBoxes(name) => {
            let partition = Partition::new(name, "val");
            let boxes: Vec<LesionRow> = annotated_boxes(lake, &partition)?;
            (partition, None, boxes, "images with annotators' boxes")
        }
    };
    let rows = lake.rows_of(ImageRow::TABLE, &partition)?;
    let every = usize::try_from(rows.div_ceil(IMAGES_MAX)).unwrap_or(usize::MAX).max(1);
    let mut images = lake.rows_in_order::<ImageRow>(&partition, 0, u64::MAX)?.step_by(every);
    let source = source(ctx, lake, &partition.dataset)?;
    let options =
        InferenceOptions { input: source.input, batch_size: annotate.batch_size, flip_tta: annotate.flip_tta };
    let task = ctx.progress.task("choose thresholds", rows.div_ceil(every as u64), "images");
    let mut evidence = Vec::new();
    loop {
        let chunk =
            images.by_ref().take(CHUNK.next_multiple_of(annotate.batch_size.max(1))).collect::<Result<Vec<_>>>()?;
        if chunk.is_empty() {
            break;
        }
        let load = LoadOptions { cache_bytes: u64::MAX, stage: "train-detector", progress: &task, stop: &ctx.stop };
        // What cannot be read was not read by the training either, which wrote it down.
        let (set, _) = DetectionSet::load(source.clone(), chunk, &boxes, load)?;
        for (example, found) in set.examples.iter().zip(detect_set(&detector, &set, options, &ctx.stop)?) {
            let present = match named {
                Some(named) => match named.get(&example.image.study_id) {
                    Some(classes) => classes.iter().copied().collect(),
                    None => continue,
                },
                None => example.truths.iter().map(|truth| truth.class_id).collect(),
            };
            evidence.push(Evidence { found: found.iter().map(|d| (d.class_id, d.score)).collect(), present });
        }
    }
    task.finish();
    let (count, place) = (evidence.len(), &partition);
    let Some(chosen) = thresholds(&evidence, labels.classes.len()) else {
        let line =
            format!("none of {count} {what} of {place} has a class that was found: boxes above {UNKNOWN} are accepted");
        ctx.progress.line(&line);
        return Ok(Thresholds::one(UNKNOWN));
    };
    ctx.progress.line(&format!("boxes above {chosen} are accepted, chosen on {count} {what} of {place}"));
    Ok(chosen)
}
