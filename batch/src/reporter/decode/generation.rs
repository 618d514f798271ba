//! From films to written reports: words, their log-probabilities, and how much each word looked at each region.

use tch::{Device, Tensor};

use crate::error::{Error, Result};
use crate::reporter::decode::beam_search::write_reports;
use crate::reporter::decode::decode_options::DecodeOptions;
use crate::reporter::decode::finished_reports::Hypothesis;
use crate::reporter::decode::test_time_augmentation::FlippedInput;
use crate::reporter::model::encoder_decoder::{BOUNDARY, MAX_POSITIONS};
use crate::reporter::model::report_model::{Encoded, ReportModel, VisualFeatures, VisualTensors};

/// A generated report.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Vocabulary ids, without boundaries.
    pub words: Vec<i64>,
    /// Log-probability of each word.
    pub log_probs: Vec<f32>,
    /// The model ended the report itself.
    pub ended: bool,
    /// Attention of each word to each region of its film; what is missing to 1 went to patches.
    pub attention: Vec<Vec<f32>>,
}

impl ReportModel {
    /// Writes one report per film, the best one. `swapped_tokens`: for each word its mirror image, where films are read both ways.
    ///
    /// # Errors
    /// Those of [`write_reports`].
    pub fn generate(
        &self,
        visual: &VisualTensors,
        swapped_tokens: Option<&[i64]>,
        options: &DecodeOptions,
    ) -> Result<Vec<Written>> {
        let _no_grad = tch::no_grad_guard();
        let features = self.features(visual, false);
        let mirrored = self.mirror_image(visual, swapped_tokens);
        let keys: Vec<u64> = (0..features.patches.size()[0] as u64).collect();
        let reports = self
            .write(&features, mirrored.as_ref(), options, &keys)?
            .into_iter()
            .map(|reports| reports.into_iter().next());
        reports.map(|r| r.ok_or_else(|| Error::Internal("a film was left without a report".into()))).collect()
    }

    /// The mirror images of a batch of films; `None` where films are read one way.
    pub fn mirror_image(&self, visual: &VisualTensors, words: Option<&[i64]>) -> Option<FlippedInput> {
        words.map(|words| FlippedInput { features: self.features(&visual.mirrored(), false), words: words.to_vec() })
    }

    /// Writes the reports of each film that `options` ask for. `mirrored`: the films' mirror images, where both are read.
    /// `keys`: one number per film, which only draws depend on.
    ///
    /// # Errors
    /// Those of [`write_reports`].
    pub fn write(
        &self,
        features: &VisualFeatures,
        mirrored: Option<&FlippedInput>,
        options: &DecodeOptions,
        keys: &[u64],
    ) -> Result<Vec<Vec<Written>>> {
        let _no_grad = tch::no_grad_guard();
        let network = self.encoder_decoder();
        let encoded = self.encode_features(features, false);
        let mirrored = mirrored.map(|m| (self.encode_features(&m.features, false), &m.words));
        let state = match &mirrored {
            None => network.begin(&encoded.tokens, &encoded.present),
            Some((image, words)) => {
                let words = Tensor::f_from_slice(words)?.to_device(network.device());
                network.begin_both_ways(&encoded.tokens, &image.tokens, &encoded.present, words)
            }
        };
        let reports = write_reports(network, state, options, keys)?;
        let counts = Vec::<i64>::try_from(features.present.sum_dim_intlist(1, false, tch::Kind::Int64))?;
        let mut attention = self.attention(&encoded, &reports)?;
        if let Some((image, words)) = &mirrored {
            let of_image = self.attention(image, &mirrored_reports(&reports, words))?;
            attention
                .iter_mut()
                .flatten()
                .flatten()
                .zip(of_image.into_iter().flatten().flatten())
                .for_each(|(a, b)| *a = (*a + b) / 2.0);
        }
        let mut attention = attention.into_iter();
        let written = reports.into_iter().zip(counts).map(|(reports, regions)| {
            let of_report = |report: Hypothesis| {
                let mut attention = attention.next().unwrap_or_default();
                attention.iter_mut().for_each(|of_word| of_word.truncate(regions as usize));
                let Hypothesis { words, log_probs, ended, .. } = report;
                Written { words, log_probs, ended, attention }
            };
            reports.into_iter().map(of_report).collect()
        });
        Ok(written.collect())
    }

    /// The attention of each word of each report to the regions of its film. One teacher-forced pass reads them all; step `t`
    /// writes word `t + 1`.
    fn attention(&self, encoded: &Encoded, reports: &[Vec<Hypothesis>]) -> Result<Vec<Vec<Vec<f32>>>> {
        let of_image: Vec<i64> = reports.iter().enumerate().flat_map(|(i, r)| vec![i as i64; r.len()]).collect();
        let all: Vec<&[i64]> = reports.iter().flatten().map(|r| r.words.as_slice()).collect();
        let longest = all.iter().map(|words| words.len()).max().unwrap_or(0).min(MAX_POSITIONS as usize);
        let regions = (encoded.tokens.size()[1] - encoded.patches) as usize;
        if longest == 0 || regions == 0 {
            return Ok(all.iter().map(|words| vec![Vec::new(); words.len()]).collect());
        }
        let mut inputs = vec![BOUNDARY; all.len() * longest];
        for (row, words) in all.iter().enumerate() {
            let before = words.len().min(longest - 1);
            inputs[row * longest + 1..row * longest + 1 + before].copy_from_slice(&words[..before]);
        }
        let device = encoded.tokens.device();
        let rows = Tensor::f_from_slice(&of_image)?.to_device(device);
        let inputs = Tensor::f_from_slice(&inputs)?.view([all.len() as i64, longest as i64]).to_device(device);
        let (tokens, present) = (encoded.tokens.index_select(0, &rows), encoded.present.index_select(0, &rows));
        let out = self.encoder_decoder().forward_t(&tokens, &present, &inputs, false);
        let on_regions = out.attention.narrow(2, encoded.patches, regions as i64).to_device(Device::Cpu).contiguous();
        let flat = Vec::<f32>::try_from(on_regions.reshape([-1]))?;
        let word = |row: usize, t: usize| flat[(row * longest + t) * regions..][..regions].to_vec();
        Ok(all.iter().enumerate().map(|(row, words)| (0..words.len()).map(|t| word(row, t)).collect()).collect())
    }
}

/// The same reports of the mirrored films.
fn mirrored_reports(reports: &[Vec<Hypothesis>], words: &[i64]) -> Vec<Vec<Hypothesis>> {
    let mirrored = |report: &Hypothesis| Hypothesis {
        words: report.words.iter().map(|&id| words[id as usize]).collect(),
        ..report.clone()
    };
    reports.iter().map(|of_film| of_film.iter().map(mirrored).collect()).collect()
}
