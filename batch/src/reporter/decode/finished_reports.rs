//! The best finished reports of a beam search: on the device during the search, read once at the end.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::reporter::model::encoder_decoder::BOUNDARY;

/// A finished report of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Token ids, without boundaries.
    pub tokens: Vec<i64>,
    /// Their log-probabilities by the model, without penalties.
    pub log_probs: Vec<f32>,
    /// Sum of all log-probabilities, the end's included, minus diversity penalties.
    pub sum: f32,
    /// The model wrote the end; `false` for a report that was truncated at the longest length.
    pub ended: bool,
}

/// The error for model output with NaN or infinity.
pub fn not_finite(what: &str) -> Error {
    Error::bad_data("report model", format!("{what} is not finite; the weights are damaged or training diverged"))
}

/// The `N` best finished reports of a beam group for each of `B` images, best first. Empty slots have a score of minus infinity.
#[derive(Debug)]
pub struct FinishedBeams {
    /// f32 `[B, N]`: sum of log-probabilities after the length penalty.
    pub score: Tensor,
    /// f32 `[B, N]`: sum of log-probabilities.
    pub sum: Tensor,
    /// i64 `[B, N]`: tokens, the end included.
    pub length: Tensor,
    /// i64 `[B, N, longest]`, padded with 0.
    pub tokens: Tensor,
    /// f32 `[B, N, longest]`, padded with 0.
    pub log_probs: Tensor,
}

impl FinishedBeams {
    /// Only empty slots.
    pub fn none(batch: i64, kept: i64, longest: i64, device: Device) -> Self {
        let zeros = |size: &[i64], kind| Tensor::zeros(size, (kind, device));
        Self {
            score: Tensor::full([batch, kept], f64::NEG_INFINITY, (Kind::Float, device)),
            sum: zeros(&[batch, kept], Kind::Float),
            length: zeros(&[batch, kept], Kind::Int64),
            tokens: zeros(&[batch, kept, longest], Kind::Int64),
            log_probs: zeros(&[batch, kept, longest], Kind::Float),
        }
    }

    /// Images chosen by `rows`: i64 `[B']`.
    pub fn select(&self, rows: &Tensor) -> Self {
        let of = |all: &Tensor| all.index_select(0, rows);
        Self {
            score: of(&self.score),
            sum: of(&self.sum),
            length: of(&self.length),
            tokens: of(&self.tokens),
            log_probs: of(&self.log_probs),
        }
    }

    /// Inserts the beams that have just ended, if they are among the best; at equal scores the earlier report is kept.
    /// `sums`: `[B, K]`; `ended`: boolean `[B, K]`; `tokens`, `log_probs`: `[B, K, n]`.
    pub fn insert(&mut self, sums: &Tensor, ended: &Tensor, tokens: &Tensor, log_probs: &Tensor, divisor: f64) {
        let (kept, longest) = (self.score.size()[1], self.tokens.size()[2]);
        let length = tokens.size()[2];
        let score = (sums / divisor).masked_fill(&ended.logical_not(), f64::NEG_INFINITY);
        let (sorted, order) = Tensor::cat(&[&self.score, &score], 1).sort_stable(true, 1, true);
        let best = order.narrow(1, 0, kept);
        let merged = |old: &Tensor, new: &Tensor| Tensor::cat(&[old, new], 1).gather(1, &best, false);
        let merged_sequences = |old: &Tensor, new: &Tensor| {
            let index = best.unsqueeze(-1).expand([-1, kept, longest], false);
            Tensor::cat(&[old, &new.constant_pad_nd([0, longest - length])], 1).gather(1, &index, false)
        };
        *self = Self {
            score: sorted.narrow(1, 0, kept),
            sum: merged(&self.sum, sums),
            length: merged(&self.length, &sums.ones_like().to_kind(Kind::Int64).g_mul_scalar(length)),
            tokens: merged_sequences(&self.tokens, tokens),
            log_probs: merged_sequences(&self.log_probs, log_probs),
        };
    }
}

/// [`FinishedBeams`] as plain values.
#[derive(Debug)]
pub struct FinishedReports {
    /// Slots per image.
    pub kept: usize,
    longest: usize,
    score: Vec<f32>,
    sum: Vec<f32>,
    length: Vec<i64>,
    tokens: Vec<i64>,
    log_probs: Vec<f32>,
}

impl FinishedReports {
    /// Synchronises with the device.
    ///
    /// # Errors
    /// When a libtorch operation fails.
    pub fn read(beams: &FinishedBeams) -> Result<Self> {
        let numbers = |t: &Tensor| Vec::<f32>::try_from(t.reshape([-1]));
        let integers = |t: &Tensor| Vec::<i64>::try_from(t.reshape([-1]));
        Ok(Self {
            kept: beams.score.size()[1] as usize,
            longest: beams.tokens.size()[2] as usize,
            score: numbers(&beams.score)?,
            sum: numbers(&beams.sum)?,
            length: integers(&beams.length)?,
            tokens: integers(&beams.tokens)?,
            log_probs: numbers(&beams.log_probs)?,
        })
    }

    /// The report of an image at a rank; `None` when fewer reports have finished.
    ///
    /// # Errors
    /// [`Error::BadData`] when its log-probability is not finite.
    pub fn report(&self, row: usize, rank: usize) -> Result<Option<Hypothesis>> {
        let slot = row * self.kept + rank;
        if self.score[slot] == f32::NEG_INFINITY {
            return Ok(None);
        }
        if !self.sum[slot].is_finite() {
            return Err(not_finite("a report's log-probability"));
        }
        let start = slot * self.longest;
        let tokens = &self.tokens[start..start + self.length[slot] as usize];
        // A beam that was continued after its end is the same report again.
        let length = tokens.iter().position(|id| *id == BOUNDARY).unwrap_or(tokens.len());
        let log_probs = self.log_probs[start..start + length].to_vec();
        Ok(Some(Hypothesis {
            tokens: tokens[..length].to_vec(),
            log_probs,
            sum: self.sum[slot],
            ended: length < tokens.len(),
        }))
    }
}
