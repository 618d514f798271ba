//! The preview model's card, and the preview model of a finished run.

use std::path::Path;

use d2r_contracts::preprocess::{Fit, InputSpec};
use d2r_contracts::vocabulary::Vocabulary;
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::config::preview::PreviewModelConfig;
use crate::error::Result;
use crate::preview_model::model::preview_model::PreviewModel;
use crate::training::model_card::ModelCard;
use crate::training::named_tensors::load_strict;

/// Kind of its runs, in their cards and as prefix of their directories.
pub const KIND: &str = "preview";

/// What inference needs to rebuild a preview model, besides its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewModelCard {
    pub config: PreviewModelConfig,
    /// Preprocessing of images.
    pub input: InputSpec,
    /// Vocabulary of the report model.
    pub vocabulary: Vocabulary,
    /// Digest of the report model's weights.
    pub report_model_sha256: String,
}

/// Letterboxed grey images from 0 to 1, without further normalisation.
pub fn input_spec(config: &PreviewModelConfig) -> InputSpec {
    InputSpec { size: config.input_size, fit: Fit::Letterbox, mean: 0.0, std: 1.0 }
}

/// The preview model of a finished run, frozen.
///
/// # Errors
/// When the folder holds no finished preview model, or its weights do not fit its card.
pub fn load_preview_model(run: &Path, device: Device) -> Result<(PreviewModel, ModelCard<PreviewModelCard>)> {
    let card = ModelCard::<PreviewModelCard>::read(run, KIND)?;
    let mut model = PreviewModel::new(&card.model.config, card.model.vocabulary.len() as i64 + 1, device)?;
    load_strict(model.variables_mut(), &run.join("best").join("model.safetensors"))?;
    model.freeze();
    Ok((model, card))
}
