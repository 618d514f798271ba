//! Inference: decoded radiographs in, detections in their original pixels out. Resize, stack, detect (with or without flip
//! test-time augmentation), boxes back to original pixels. A batch is padded to its largest image, so that what is found
//! in an image may depend on the other images of its batch, which no number of shards changes.

use std::borrow::Borrow;

use d2r_contracts::preprocess::{InputSpec, to_model_input};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::{ImageSize, Letterbox, Model, Original};
use rayon::prelude::*;

use crate::detector::batches::collate::image_batch;
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
        let input = |radiograph: &&Radiograph| {
            let input = to_model_input(radiograph, &options.input);
            let ImageSize { width, height } = input.letterbox.model;
            (Radiograph { width, height, pixels: input.pixels }, input.letterbox)
        };
        let (inputs, letterboxes): (Vec<Radiograph>, Vec<Letterbox>) = batch.par_iter().map(input).unzip();
        detections.extend(detect_inputs(detector, &inputs, &letterboxes, &options)?);
    }
    Ok(detections)
}

/// The same for the images of a set, which have the model's size already. `options.input` must be the input of the set.
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
        let inputs = batch.iter().map(|&index| set.radiograph(index)).collect::<Result<Vec<_>>>()?;
        let letterboxes: Vec<Letterbox> = batch.iter().map(|&index| set.examples[index].letterbox).collect();
        detections.extend(detect_inputs(detector, &inputs, &letterboxes, &options)?);
    }
    Ok(detections)
}

/// `inputs`: the images of one batch at the model's size.
fn detect_inputs(
    detector: &Detector,
    inputs: &[impl Borrow<Radiograph>],
    letterboxes: &[Letterbox],
    options: &InferenceOptions,
) -> Result<Vec<Vec<Detection<Original>>>> {
    let batch = image_batch(inputs, &options.input, detector.device())?;
    let found = detect(detector, &batch, options.flip_tta)?;
    let in_original = |(detections, letterbox): (Vec<Detection<Model>>, &Letterbox)| {
        detections.iter().filter_map(|d| d.in_original(letterbox)).collect()
    };
    Ok(found.into_iter().zip(letterboxes).map(in_original).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::detector::DetectorModelConfig;
    use crate::detector::train::fixtures::{config, squares};

    #[test]
    fn files_and_sets_give_the_same_boxes_inside_their_images_for_every_input() {
        for input in ["detector.model.input=letterbox", "detector.model.input=short_edge"] {
            let folder = tempfile::tempdir().unwrap();
            let config = config(&[input]).detector;
            let set = squares(folder.path(), 5, &config, "val");
            let model = DetectorModelConfig { score_min: 0.0, candidates_per_level: 20, ..config.model };
            tch::manual_seed(2);
            let detector = Detector::new(&model, tch::Device::Cpu).unwrap();
            let radiographs: Vec<Radiograph> = (0..5)
                .map(|i| {
                    let picture = image::open(folder.path().join(format!("{i}.png"))).unwrap().to_luma8();
                    Radiograph::new(picture.width(), picture.height(), picture.into_raw()).unwrap()
                })
                .collect();
            for flip_tta in [false, true] {
                let options = InferenceOptions { input: set.source.input, batch_size: 3, flip_tta };
                let of_set = detect_set(&detector, &set, options, &StopFlag::default()).unwrap();
                let all: Vec<&Radiograph> = radiographs.iter().collect();
                assert_eq!(detect_radiographs(&detector, &all, options, &StopFlag::default()).unwrap(), of_set);
                for (found, radiograph) in of_set.iter().zip(&radiographs) {
                    let (width, height) = (radiograph.width as f32, radiograph.height as f32);
                    assert!(!found.is_empty());
                    assert!(found.iter().all(|d| d.region.x_max <= width && d.region.y_max <= height));
                    assert!(found.iter().any(|d| d.region.x_max > 0.9 * width), "{input}: the whole image is seen");
                }
            }
        }
    }
}
