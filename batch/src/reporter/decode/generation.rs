//! Report generation: visual features in; token ids, their log-probabilities and their attention to regions out, as plain values.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::reporter::decode::beam_search::write_reports;

use crate::reporter::decode::finished_reports::Hypothesis;
use crate::reporter::decode::generation_options::GenerationOptions;
use crate::reporter::decode::test_time_augmentation::{FlipDecoder, FlippedInput, swapped_reports};
use crate::reporter::model::encoder_decoder::{BOUNDARY, DecodeState, MAX_POSITIONS};
use crate::reporter::model::report_model::{Encoded, ReportModel};
use crate::reporter::model::visual::{VisualFeatures, VisualInput};

#[derive(Debug, Clone, PartialEq)]
pub struct GeneratedReport {
    /// Token ids, without boundaries.
    pub tokens: Vec<i64>,
    /// Log-probability of each token.
    pub log_probs: Vec<f32>,
    /// The model wrote the end; `false` for a report that was truncated at the longest length.
    pub ended: bool,
    /// `[tokens][regions]`: cross-attention of each token to each region of its image. The rest, up to 1, is on patches.
    pub attention: Vec<Vec<f32>>,
}

/// The reports on a batch of images and the features that they were generated from.
#[derive(Debug)]
pub struct GeneratedBatch {
    pub features: VisualFeatures,
    /// Of each image, the best report first.
    pub reports: Vec<Vec<GeneratedReport>>,
}

impl ReportModel {
    /// Generates the best report of each image. `swapped_tokens`: for each token its laterality counterpart; `Some` turns flip
    /// test-time augmentation on.
    ///
    /// # Errors
    /// Those of [`write_reports`].
    pub fn generate(
        &self,
        visual: &VisualInput,
        swapped_tokens: Option<&[i64]>,
        options: &GenerationOptions,
    ) -> Result<Vec<GeneratedReport>> {
        let keys: Vec<u64> = (0..visual.images.size()[0] as u64).collect();
        let generated = self.generate_all(visual, swapped_tokens, options, &keys)?;
        let best = generated.reports.into_iter().map(|reports| reports.into_iter().next());
        best.map(|r| r.ok_or_else(|| Error::Internal("an image was left without a report".into()))).collect()
    }

    /// Generates for each image all reports that `options` request. `swapped_tokens`: as in [`Self::generate`]. `keys`: one
    /// number per image; only sampling depends on it.
    ///
    /// # Errors
    /// Those of [`write_reports`].
    pub fn generate_all(
        &self,
        visual: &VisualInput,
        swapped_tokens: Option<&[i64]>,
        options: &GenerationOptions,
        keys: &[u64],
    ) -> Result<GeneratedBatch> {
        let _no_grad = tch::no_grad_guard();
        let features = self.features(visual, false);
        let flipped = self.flipped_input(visual, swapped_tokens);
        let reports = self.generate_from(&features, flipped.as_ref(), options, keys)?;
        Ok(GeneratedBatch { features, reports })
    }

    /// Features of the mirror images; `None` without `swapped_tokens`.
    pub fn flipped_input(&self, visual: &VisualInput, swapped_tokens: Option<&[i64]>) -> Option<FlippedInput> {
        swapped_tokens.map(|swapped_tokens| FlippedInput {
            features: self.features(&visual.flipped(), false),
            swapped_tokens: swapped_tokens.to_vec(),
        })
    }

    /// Generates for each image the reports that `options` request. `flipped`: the mirror images, for flip test-time
    /// augmentation.
    /// `keys`: one number per image; only sampling depends on it.
    ///
    /// # Errors
    /// Those of [`write_reports`].
    pub fn generate_from(
        &self,
        features: &VisualFeatures,
        flipped: Option<&FlippedInput>,
        options: &GenerationOptions,
        keys: &[u64],
    ) -> Result<Vec<Vec<GeneratedReport>>> {
        let _no_grad = tch::no_grad_guard();
        let image = self.encode(features, false);
        let (reports, attention) = match flipped {
            None => {
                let reports = write_reports(self.begin(&image), options, keys)?;
                let attention = self.region_attention(&image, &reports)?;
                (reports, attention)
            }
            Some(FlippedInput { features, swapped_tokens }) => {
                let mirror = self.encode(features, false);
                let decoder = FlipDecoder::new(self.begin(&image), self.begin(&mirror), swapped_tokens)?;
                let reports = write_reports(decoder, options, keys)?;
                let mut attention = self.region_attention(&image, &reports)?;
                let of_mirror = self.region_attention(&mirror, &swapped_reports(&reports, swapped_tokens))?;
                let pairs = attention.iter_mut().flatten().flatten().zip(of_mirror.into_iter().flatten().flatten());
                pairs.for_each(|(a, b)| *a = (*a + b) / 2.0);
                (reports, attention)
            }
        };
        let region_counts = Vec::<i64>::try_from(features.present.sum_dim_intlist(1, false, Kind::Int64))?;
        let mut attention = attention.into_iter();
        let generated = reports.into_iter().zip(region_counts).map(|(reports, regions)| {
            let of_report = |report: Hypothesis| {
                let mut attention = attention.next().unwrap_or_default();
                attention.iter_mut().for_each(|of_token| of_token.truncate(regions as usize));
                let Hypothesis { tokens, log_probs, ended, .. } = report;
                GeneratedReport { tokens, log_probs, ended, attention }
            };
            reports.into_iter().map(of_report).collect()
        });
        Ok(generated.collect())
    }

    fn begin(&self, encoded: &Encoded) -> DecodeState<'_> {
        self.encoder_decoder().begin(&encoded.tokens, &encoded.present)
    }

    /// Attention of each token of each report to the region slots of its image: `[reports][tokens][N]`, by one teacher-forced pass
    /// over all reports.
    fn region_attention(&self, encoded: &Encoded, reports: &[Vec<Hypothesis>]) -> Result<Vec<Vec<Vec<f32>>>> {
        let of_image: Vec<i64> = reports.iter().enumerate().flat_map(|(i, r)| vec![i as i64; r.len()]).collect();
        let all: Vec<&[i64]> = reports.iter().flatten().map(|r| r.tokens.as_slice()).collect();
        let longest = all.iter().map(|tokens| tokens.len()).max().unwrap_or(0).min(MAX_POSITIONS as usize);
        let regions = (encoded.tokens.size()[1] - encoded.patches) as usize;
        if longest == 0 || regions == 0 {
            return Ok(all.iter().map(|tokens| vec![Vec::new(); tokens.len()]).collect());
        }
        let mut inputs = vec![BOUNDARY; all.len() * longest];
        for (row, tokens) in all.iter().enumerate() {
            let before = tokens.len().min(longest - 1);
            inputs[row * longest + 1..row * longest + 1 + before].copy_from_slice(&tokens[..before]);
        }
        let device = encoded.tokens.device();
        let rows = Tensor::f_from_slice(&of_image)?.to_device(device);
        let inputs = Tensor::f_from_slice(&inputs)?.view([all.len() as i64, longest as i64]).to_device(device);
        let (source, present) = (encoded.tokens.index_select(0, &rows), encoded.present.index_select(0, &rows));
        let out = self.encoder_decoder().forward_t(&source, &present, &inputs, false);
        let on_regions = out.attention.narrow(2, encoded.patches, regions as i64).to_device(Device::Cpu).contiguous();
        let flat = Vec::<f32>::try_from(on_regions.reshape([-1]))?;
        let of_token = |row: usize, t: usize| flat[(row * longest + t) * regions..][..regions].to_vec();
        Ok(all.iter().enumerate().map(|(row, tokens)| (0..tokens.len()).map(|t| of_token(row, t)).collect()).collect())
    }
}
