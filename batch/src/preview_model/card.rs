//! What a student's card holds, and the student read back from a finished run.

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

/// The kind of its runs.
pub const KIND: &str = "student";

/// What a student needs beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewModelCard {
    /// The network.
    pub config: PreviewModelConfig,
    /// How films are prepared.
    pub input: InputSpec,
    /// Words by id: the teacher's.
    pub vocabulary: Vocabulary,
    /// Digest of the teacher's weights.
    pub teacher_sha256: String,
}

/// Letterboxed grey films from 0 to 1: the encoder's first norm does the rest.
pub fn input_spec(config: &PreviewModelConfig) -> InputSpec {
    InputSpec { size: config.input_size, fit: Fit::Letterbox, mean: 0.0, std: 1.0 }
}

/// The student of a finished run, frozen.
///
/// # Errors
/// When the folder holds no finished student, or its weights do not fit its card.
pub fn load_student(run: &Path, device: Device) -> Result<(PreviewModel, ModelCard<PreviewModelCard>)> {
    let card = ModelCard::<PreviewModelCard>::read(run, KIND)?;
    let mut student = PreviewModel::new(&card.model.config, card.model.vocabulary.len() as i64 + 1, device)?;
    load_strict(student.variables_mut(), &run.join("best").join("model.safetensors"))?;
    student.freeze();
    Ok((student, card))
}
