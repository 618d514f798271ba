//! A detector's boxes for a set of radiographs, in their own pixels, and COCO figures of them.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::{Letterbox, Model, Original};

use crate::detector::test_time_augmentation::detect;
use crate::detector::batches::collate::stack_images;
use crate::detector::batches::loader::DetectionSet;
use crate::detector::detector::{Detection, Detector};
use crate::error::Result;
use crate::eval::detection::average_precision::{CocoFigures, coco};
use crate::eval::detection::image_boxes::{ImageBoxes, ScoredBox, TruthBox};
use crate::stop::StopFlag;

/// A detection in the radiograph's own pixels, clipped to it; `None` when nothing of it is inside.
pub fn in_original(detection: &Detection<Model>, letterbox: &Letterbox) -> Option<Detection<Original>> {
    let region: BoxXyxy<Original> = letterbox.original_from_model(&detection.region);
    let (x, y) = (1.0 / letterbox.scale_x, 1.0 / letterbox.scale_y);
    let edge_stds = detection.edge_stds.map(|[a, b, c, d]| [a * x, b * y, c * x, d * y]);
    let Detection { class_id, score, edge_logits, .. } = *detection;
    region.is_proper().then_some(Detection { class_id, score, region, edge_logits, edge_stds })
}

/// Detections of a set's images in their own pixels, in its order, best first. `flip_tta`: look at mirror images as well.
///
/// # Errors
/// [`crate::Error::Stopped`] after a signal; those of reading and of the detector.
pub fn detections(
    detector: &Detector,
    set: &DetectionSet,
    (batch_size, flip_tta): (usize, bool),
    stop: &StopFlag,
) -> Result<Vec<Vec<Detection<Original>>>> {
    let indices: Vec<usize> = (0..set.examples.len()).collect();
    let mut images = Vec::with_capacity(indices.len());
    for chunk in indices.chunks(batch_size.max(1)) {
        stop.check()?;
        let mut pixels = Vec::new();
        for &i in chunk {
            pixels.extend_from_slice(&set.pixels(i)?);
        }
        let films = stack_images(&pixels, &set.source.input, detector.device())?;
        let found = detect(detector, &films, flip_tta)?;
        for (&i, found) in chunk.iter().zip(&found) {
            images.push(found.iter().filter_map(|d| in_original(d, &set.examples[i].letterbox)).collect());
        }
    }
    Ok(images)
}

/// COCO figures over all classes of the detector; classes without truth boxes count nowhere.
///
/// # Errors
/// Those of [`detections`].
pub fn evaluate(detector: &Detector, set: &DetectionSet, batch_size: usize, stop: &StopFlag) -> Result<CocoFigures> {
    let scored = |d: &Detection<Original>| ScoredBox { class_id: d.class_id, score: d.score, region: d.region };
    let found = detections(detector, set, (batch_size, false), stop)?;
    let images = set.examples.iter().zip(&found).map(|(example, found)| ImageBoxes {
        truths: example.truths.iter().map(|&(class_id, region)| TruthBox { class_id, region }).collect(),
        detections: found.iter().map(scored).collect(),
    });
    let images: Vec<ImageBoxes> = images.collect();
    let classes: Vec<i32> = (0..detector.classes() as i32).collect();
    Ok(coco(&images, &classes))
}
