//! COCO average precision of a detector on a set of annotated radiographs.

use d2r_contracts::space::Original;

use crate::detector::batches::loader::DetectionSet;
use crate::detector::detection::Detection;
use crate::detector::inference::{InferenceOptions, detect_set};
use crate::detector::model::Detector;
use crate::error::Result;
use crate::eval::detection::average_precision::{CocoFigures, coco};
use crate::eval::detection::image_boxes::{ImageBoxes, ScoredBox, TruthBox};
use crate::stop::StopFlag;

/// COCO figures over all classes of the detector, without test-time augmentation; classes without truth boxes are left
/// out of the means.
///
/// # Errors
/// Those of [`detect_set`].
pub fn evaluate(detector: &Detector, set: &DetectionSet, batch_size: usize, stop: &StopFlag) -> Result<CocoFigures> {
    let options = InferenceOptions { input: set.source.input, batch_size, flip_tta: false };
    let found = detect_set(detector, set, options, stop)?;
    let scored = |d: &Detection<Original>| ScoredBox { class_id: d.class_id, score: d.score, region: d.region };
    let images = set.examples.iter().zip(&found).map(|(example, found)| ImageBoxes {
        truths: example.truths.iter().map(|t| TruthBox { class_id: t.class_id, region: t.region }).collect(),
        detections: found.iter().map(scored).collect(),
    });
    let images: Vec<ImageBoxes> = images.collect();
    let classes: Vec<i32> = (0..detector.classes() as i32).collect();
    Ok(coco(&images, &classes))
}
