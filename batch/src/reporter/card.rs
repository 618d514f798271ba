//! The report model's card, and the report model of a finished run.

use std::path::Path;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::preprocess::InputSpec;
use d2r_contracts::vocabulary::Vocabulary;
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::config::report::{AlignmentConfig, ReportModelConfig};
use crate::error::Result;
use crate::reporter::batches::study::VisualSpec;
use crate::reporter::model::report_model::ReportModel;
use crate::training::model_card::ModelCard;
use crate::training::named_tensors::load_strict;

/// What inference needs to rebuild a report model, besides its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReporterCard {
    pub config: ReportModelConfig,
    /// Preprocessing of images and crops.
    pub visual: VisualSpec,
    pub vocabulary: Vocabulary,
    /// The classes of the boxes that the model is given.
    #[serde(default = "LabelSet::vindr")]
    pub labels: LabelSet,
    /// Alignment of image and text, if it was trained with any; the text encoder's weights are in `best/alignment.safetensors`.
    #[serde(default)]
    pub align: Option<AlignmentConfig>,
    /// Digest of the detector that annotated the training data; a copy is in the run's `detector/`.
    pub detector_sha256: Option<String>,
}

/// Preprocessing of a configuration.
pub fn visual_spec(config: &ReportModelConfig) -> VisualSpec {
    let regions = if config.regions { config.max_regions } else { 0 };
    let spec = VisualSpec::new(config.input_size, regions, config.region_size, config.region_margin);
    VisualSpec { image: InputSpec { fit: config.fit, ..spec.image }, views: config.views.max(1), ..spec }
}

/// An untrained model for this card, with initial values from `tch`'s current random state.
///
/// # Errors
/// Those of [`ReportModel::new`].
pub fn new_model(card: &ReporterCard, device: Device) -> Result<ReportModel> {
    let image = card.visual.image;
    let normalisation = (f64::from(image.mean), f64::from(image.std));
    let (tokens, classes) = (card.vocabulary.len() as i64 + 1, card.labels.classes.len() as i64);
    ReportModel::with_classes(&card.config, tokens, classes, normalisation, device)
}

/// The report model of a finished run.
///
/// # Errors
/// When the folder holds no finished report model, or its weights do not fit its card.
pub fn load_reporter(run: &Path, device: Device) -> Result<(ReportModel, ModelCard<ReporterCard>)> {
    let card = ModelCard::<ReporterCard>::read(run, "reporter")?;
    let mut model = new_model(&card.model, device)?;
    load_strict(model.variables_mut(), &run.join("best").join("model.safetensors"))?;
    Ok((model, card))
}
