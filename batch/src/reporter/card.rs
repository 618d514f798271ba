//! What a report model's card holds, and the report model read back from a finished run.

use std::path::Path;

use d2r_contracts::preprocess::InputSpec;
use d2r_contracts::vocabulary::Vocabulary;
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::config::report::{AlignmentConfig, ReportModelConfig};
use crate::error::Result;
use crate::reporter::batches::study::VisualSpec;
use crate::reporter::model::report_model::ReportModel;
use crate::training::checkpoint::load_strict;
use crate::training::model_card::ModelCard;

/// What a report model needs beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReporterCard {
    /// The network.
    pub config: ReportModelConfig,
    /// How films and crops are prepared.
    pub visual: VisualSpec,
    /// Words by id.
    pub vocabulary: Vocabulary,
    /// How image and text were aligned, where they were; the text encoder's weights stand in `best/alignment.safetensors`.
    #[serde(default)]
    pub align: Option<AlignmentConfig>,
    /// Digest of the detector whose boxes it learned from; a copy stands in the run's `detector/`.
    pub detector_sha256: Option<String>,
}

/// Films of the configured size and fit, with as many regions as configured.
pub fn visual_spec(config: &ReportModelConfig) -> VisualSpec {
    let regions = if config.regions { config.max_regions } else { 0 };
    let spec = VisualSpec::new(config.input_size, regions, config.region_size, config.region_margin);
    VisualSpec { film: InputSpec { fit: config.fit, ..spec.film }, views: config.views.max(1), ..spec }
}

/// A fresh model of this card's sizes, initial values from `tch`'s current random state.
///
/// # Errors
/// Those of [`ReportModel::new`].
pub fn new_model(card: &ReporterCard, device: Device) -> Result<ReportModel> {
    let film = card.visual.film;
    let normalisation = (f64::from(film.mean), f64::from(film.std));
    ReportModel::new(&card.config, card.vocabulary.len() as i64 + 1, normalisation, device)
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
