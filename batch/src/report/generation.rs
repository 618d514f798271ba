//! From films to written reports: words, their log-probabilities, and how much each word looked at each region.

use tch::{Device, Tensor};

use super::beam_search::write_reports;
use super::decode_options::DecodeOptions;
use super::encoder_decoder::{BOUNDARY, MAX_POSITIONS};
use super::finished_reports::Hypothesis;
use super::report_model::{Encoded, ReportModel, VisualFeatures, VisualTensors};
use crate::error::{Error, Result};

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
    /// Writes one report per film, the best one.
    ///
    /// # Errors
    /// Those of [`write_reports`].
    pub fn generate(&self, visual: &VisualTensors, options: &DecodeOptions) -> Result<Vec<Written>> {
        let _no_grad = tch::no_grad_guard();
        let features = self.features(visual, false);
        let keys: Vec<u64> = (0..features.patches.size()[0] as u64).collect();
        let reports = self.write(&features, options, &keys)?.into_iter().map(|reports| reports.into_iter().next());
        reports.map(|r| r.ok_or_else(|| Error::Internal("a film was left without a report".into()))).collect()
    }

    /// Writes the reports of each film that `options` ask for. `keys`: one number per film, which only draws depend on.
    ///
    /// # Errors
    /// Those of [`write_reports`].
    pub fn write(&self, features: &VisualFeatures, options: &DecodeOptions, keys: &[u64]) -> Result<Vec<Vec<Written>>> {
        let _no_grad = tch::no_grad_guard();
        let encoded = self.encode_features(features, false);
        let reports = write_reports(self.encoder_decoder(), &encoded.tokens, &encoded.present, options, keys)?;
        let counts = Vec::<i64>::try_from(features.present.sum_dim_intlist(1, false, tch::Kind::Int64))?;
        let mut attention = self.attention(&encoded, &reports)?.into_iter();
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
