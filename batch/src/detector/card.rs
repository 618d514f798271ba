//! The model card of a detector, and loading a detector from a finished run.

use std::path::Path;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::preprocess::InputSpec;
use serde::{Deserialize, Deserializer, Serialize};
use tch::Device;

use crate::config::detector::DetectorModelConfig;
use crate::detector::model::Detector;
use crate::detector::thresholds::Thresholds;
use crate::error::{Error, Result};
use crate::training::model_card::ModelCard;
use crate::training::named_tensors::load_strict;

/// What inference needs beside the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectorCard {
    pub config: DetectorModelConfig,
    pub input: InputSpec,
    /// The classes. Cards of earlier versions list their names alone.
    #[serde(alias = "classes", deserialize_with = "set_or_names")]
    pub labels: LabelSet,
    /// Boxes with a score strictly above are accepted.
    #[serde(flatten)]
    pub thresholds: Thresholds,
}

impl DetectorCard {
    /// The card of a detector of these classes.
    pub fn new(config: &DetectorModelConfig, labels: &LabelSet, thresholds: Thresholds) -> Self {
        Self { config: config.clone(), input: input_spec(config), labels: labels.clone(), thresholds }
    }
}

/// A label set, or the names of its classes.
fn set_or_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LabelSet, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    if value.is_array() {
        let names: Vec<String> = serde_json::from_value(value).map_err(serde::de::Error::custom)?;
        return Ok(LabelSet::of_names(&names));
    }
    serde_json::from_value(value).map_err(serde::de::Error::custom)
}

/// The input of a detector of this configuration.
pub fn input_spec(config: &DetectorModelConfig) -> InputSpec {
    InputSpec { size: config.input_size, fit: config.fit, mean: config.input_mean, std: config.input_std }
}

/// The detector of a finished run; its detections score above `score_min`.
///
/// # Errors
/// When the folder has no finished detector, or its weights or thresholds do not fit its card.
pub fn load_detector(run: &Path, score_min: f64, device: Device) -> Result<(Detector, ModelCard<DetectorCard>)> {
    let card = ModelCard::<DetectorCard>::read(run, "detector")?;
    if !card.model.thresholds.fit(card.model.labels.classes.len()) {
        return Err(Error::bad_data(run.display(), "the card has another number of thresholds than of classes"));
    }
    let config = DetectorModelConfig { score_min, ..card.model.config.clone() };
    let mut detector = Detector::with_classes(&config, card.model.labels.classes.len() as i64, device)?;
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
    let mut student = Detector::with_classes(&config, card.model.labels.classes.len() as i64, device)?;
    load_strict(student.variables_mut(), &path)?;
    Ok(Some(student))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, resolve};

    #[test]
    fn cards_hold_a_label_set_and_earlier_ones_names() {
        let config =
            resolve(&Layers { preset: Some("tiny".into()), ..Layers::default() }).unwrap().config.detector.model;
        let two = LabelSet::of_categories("two", [(7, "Mass".to_owned()), (12, "Widget".to_owned())]);
        let card = DetectorCard::new(&config, &two, Thresholds::one(0.5));
        let mut json = serde_json::to_value(&card).unwrap();
        assert_eq!(serde_json::from_value::<DetectorCard>(json.clone()).unwrap(), card);
        json.as_object_mut().unwrap().remove("labels");
        json["classes"] = serde_json::json!(LabelSet::vindr().names());
        assert_eq!(serde_json::from_value::<DetectorCard>(json.clone()).unwrap().labels, LabelSet::vindr());
        json["classes"] = serde_json::json!(["a", "b"]);
        assert_eq!(serde_json::from_value::<DetectorCard>(json).unwrap().labels.names(), ["a", "b"]);
    }
}
