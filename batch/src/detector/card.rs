//! The model card of a detector, and loading a detector from a finished run.

use std::path::Path;

use d2r_contracts::labels::LESION_CLASSES;
use d2r_contracts::preprocess::{Fit, InputSpec};
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::config::detector::DetectorModelConfig;
use crate::detector::model::Detector;
use crate::error::Result;
use crate::training::model_card::ModelCard;
use crate::training::named_tensors::load_strict;

/// What inference needs beside the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectorCard {
    pub config: DetectorModelConfig,
    pub input: InputSpec,
    /// Class names by id.
    pub classes: Vec<String>,
    /// Boxes with a score strictly above are accepted.
    pub threshold: f64,
}

impl DetectorCard {
    /// The card of a detector of the 22 lesion classes.
    pub fn new(config: &DetectorModelConfig, threshold: f64) -> Self {
        Self {
            config: config.clone(),
            input: input_spec(config),
            classes: LESION_CLASSES.iter().map(|c| (*c).to_owned()).collect(),
            threshold,
        }
    }
}

/// The input of a detector of this configuration.
pub fn input_spec(config: &DetectorModelConfig) -> InputSpec {
    InputSpec { size: config.input_size, fit: Fit::Letterbox, mean: config.input_mean, std: config.input_std }
}

/// The detector of a finished run; its detections score above `score_min`.
///
/// # Errors
/// When the folder has no finished detector, or its weights do not fit its card.
pub fn load_detector(run: &Path, score_min: f64, device: Device) -> Result<(Detector, ModelCard<DetectorCard>)> {
    let card = ModelCard::<DetectorCard>::read(run, "detector")?;
    let config = DetectorModelConfig { score_min, ..card.model.config.clone() };
    let mut detector = Detector::with_classes(&config, card.model.classes.len() as i64, device)?;
    load_strict(detector.variables_mut(), &run.join("best").join("model.safetensors"))?;
    Ok((detector, card))
}

/// File of the last student of a semi-supervised run; the teacher is the run's model.
pub const STUDENT_FILE: &str = "student.safetensors";

/// The student of a semi-supervised run; `None` for other runs.
///
/// # Errors
/// When its weights do not fit the card.
pub fn load_student(
    run: &Path,
    card: &ModelCard<DetectorCard>,
    score_min: f64,
    device: Device,
) -> Result<Option<Detector>> {
    let path = run.join(STUDENT_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let config = DetectorModelConfig { score_min, ..card.model.config.clone() };
    let mut student = Detector::with_classes(&config, card.model.classes.len() as i64, device)?;
    load_strict(student.variables_mut(), &path)?;
    Ok(Some(student))
}
