//! Similarity of sentences and regions by the text encoder that the report model was trained with (LAB): weights of
//! links beside attention, where the run kept that encoder.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::reporter::align::alignment::Alignment;
use crate::reporter::align::text_encoder::TextInput;
use crate::reporter::batches::text_tokens::TextTokens;
use crate::reporter::card::ReporterCard;
use crate::reporter::model::visual::VisualFeatures;
use crate::training::named_tensors::load_strict;

/// The alignment of a finished run.
pub struct Similarity {
    alignment: Alignment,
    text: TextTokens,
    longest: usize,
}

impl Similarity {
    /// The run's text encoder; `None` where it has none.
    ///
    /// # Errors
    /// When its weights do not fit the run's card.
    pub fn of_run(run: &Path, card: &ReporterCard, d_visual: i64, device: Device) -> Result<Option<Self>> {
        let weights = run.join("best").join("alignment.safetensors");
        let Some(config) = card.align.as_ref().filter(|_| weights.is_file()) else { return Ok(None) };
        let text = TextTokens::configured(&config.text.weights, &card.vocabulary)?;
        let mut alignment = Alignment::new(config, text.token_count(), d_visual, device)?;
        load_strict(alignment.variables_mut(), &weights)?;
        Ok(Some(Self { alignment, text, longest: config.text.max_tokens.max(0) as usize }))
    }

    /// For each sentence its weight on each region of its image, as shares of 1 (or all 0). `sentences`: the image's
    /// index in `features`, and the text.
    ///
    /// # Errors
    /// When a libtorch operation fails.
    pub fn weights(&self, features: &VisualFeatures, sentences: &[(usize, String)]) -> Result<Vec<Vec<f32>>> {
        let regions = features.regions.size()[1] as usize;
        if sentences.is_empty() || regions == 0 {
            return Ok(vec![vec![0.0; regions]; sentences.len()]);
        }
        let encoded: Vec<Vec<i64>> = sentences.iter().map(|(_, text)| self.text.sentence(text, self.longest)).collect();
        let width = encoded.iter().map(Vec::len).max().unwrap_or(0);
        let padded: Vec<i64> =
            encoded.iter().flat_map(|ids| ids.iter().copied().chain(std::iter::repeat(0)).take(width)).collect();
        let device = features.regions.device();
        let ids = Tensor::f_from_slice(&padded)?.view([-1, width as i64]).to_device(device);
        let of_image: Vec<i64> = sentences.iter().map(|(image, _)| *image as i64).collect();
        let of_image = Tensor::f_from_slice(&of_image)?.to_device(device);
        let texts = TextInput { present: ids.gt(0), ids };
        let weights = self.alignment.sentence_weights(&features.regions, &features.present, &texts, &of_image);
        let flat = Vec::<f32>::try_from(weights.to_kind(Kind::Float).to_device(Device::Cpu).reshape([-1]))?;
        Ok(flat.chunks(regions).map(<[f32]>::to_vec).collect())
    }
}
