//! Inference: decoded radiographs in, detections in their original pixels out. Letterbox, stack, detect (with or
//! without flip test-time augmentation), boxes back to original pixels.

use d2r_contracts::preprocess::{InputSpec, to_model_input};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::{Letterbox, Model, Original};
use rayon::prelude::*;

use crate::detector::batches::collate::stack_images;
use crate::detector::batches::loader::DetectionSet;
use crate::detector::detection::Detection;
use crate::detector::model::Detector;
use crate::detector::test_time_augmentation::detect;
use crate::error::Result;
use crate::stop::StopFlag;

/// How a detector is applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InferenceOptions {
    pub input: InputSpec,
    /// Images per forward pass.
    pub batch_size: usize,
    /// Average the detections of each image and of its horizontal mirror image.
    pub flip_tta: bool,
}

/// Detections of each radiograph in its original pixels, best first.
///
/// # Errors
/// [`crate::Error::Stopped`] after a signal; those of [`Detector::detect`].
pub fn detect_radiographs(
    detector: &Detector,
    radiographs: &[&Radiograph],
    options: InferenceOptions,
    stop: &StopFlag,
) -> Result<Vec<Vec<Detection<Original>>>> {
    let mut detections = Vec::with_capacity(radiographs.len());
    for batch in radiographs.chunks(options.batch_size.max(1)) {
        stop.check()?;
        let inputs: Vec<_> = batch.par_iter().map(|radiograph| to_model_input(radiograph, &options.input)).collect();
        let pixels: Vec<u8> = inputs.iter().flat_map(|input| input.pixels.iter().copied()).collect();
        let letterboxes: Vec<Letterbox> = inputs.iter().map(|input| input.letterbox).collect();
        detections.extend(detect_letterboxed(detector, &pixels, &letterboxes, &options)?);
    }
    Ok(detections)
}

/// The same for the images of a set, which are letterboxed already. `options.input` must be the input of the set.
///
/// # Errors
/// [`crate::Error::Stopped`] after a signal; those of reading and of the detector.
pub fn detect_set(
    detector: &Detector,
    set: &DetectionSet,
    options: InferenceOptions,
    stop: &StopFlag,
) -> Result<Vec<Vec<Detection<Original>>>> {
    let indices: Vec<usize> = (0..set.examples.len()).collect();
    let mut detections = Vec::with_capacity(indices.len());
    for batch in indices.chunks(options.batch_size.max(1)) {
        stop.check()?;
        let mut pixels = Vec::new();
        for &index in batch {
            pixels.extend_from_slice(&set.pixels(index)?);
        }
        let letterboxes: Vec<Letterbox> = batch.iter().map(|&index| set.examples[index].letterbox).collect();
        detections.extend(detect_letterboxed(detector, &pixels, &letterboxes, &options)?);
    }
    Ok(detections)
}

/// `pixels`: the grey levels of one batch of letterboxed images, image after image.
fn detect_letterboxed(
    detector: &Detector,
    pixels: &[u8],
    letterboxes: &[Letterbox],
    options: &InferenceOptions,
) -> Result<Vec<Vec<Detection<Original>>>> {
    let images = stack_images(pixels, &options.input, detector.device())?;
    let found = detect(detector, &images, options.flip_tta)?;
    let in_original = |(detections, letterbox): (Vec<Detection<Model>>, &Letterbox)| {
        detections.iter().filter_map(|d| d.in_original(letterbox)).collect()
    };
    Ok(found.into_iter().zip(letterboxes).map(in_original).collect())
}
