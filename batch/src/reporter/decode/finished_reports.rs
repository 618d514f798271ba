//! The best finished reports of a beam search, on the device until they are read.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::reporter::model::encoder_decoder::BOUNDARY;

/// A written report.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Its words, without boundaries.
    pub words: Vec<i64>,
    /// Their log-probabilities, by the model alone.
    pub log_probs: Vec<f32>,
    /// Sum of all log-probabilities, the end's included; what a group lost to earlier ones is subtracted.
    pub sum: f32,
    /// The model ended the report itself; `false` when it was cut at the longest length.
    pub ended: bool,
}

/// The error of a model that gives no numbers.
pub fn not_finite(what: &str) -> Error {
    Error::bad_data("report model", format!("{what} is not finite; the weights are damaged or training diverged"))
}

/// The best finished reports of a group, the best first: `[B, N]`, and `[B, N, longest]` padded with zeros. A place that is not
/// taken yet has a score of minus infinity.
#[derive(Debug)]
pub struct Done {
    /// Sums by the length penalty.
    pub score: Tensor,
    /// Sums of log-probabilities.
    pub sum: Tensor,
    /// Words, the end's included.
    pub length: Tensor,
    /// i64.
    pub words: Tensor,
    /// Of each word.
    pub log_probs: Tensor,
}

impl Done {
    /// No report yet.
    pub fn none(batch: i64, kept: i64, longest: i64, device: Device) -> Self {
        let zeros = |size: &[i64], kind| Tensor::zeros(size, (kind, device));
        Self {
            score: Tensor::full([batch, kept], f64::NEG_INFINITY, (Kind::Float, device)),
            sum: zeros(&[batch, kept], Kind::Float),
            length: zeros(&[batch, kept], Kind::Int64),
            words: zeros(&[batch, kept, longest], Kind::Int64),
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
            words: of(&self.words),
            log_probs: of(&self.log_probs),
        }
    }

    /// Takes over those of a group's beams that have just been finished and are good enough; the earlier one wins a tie.
    /// `ended`: boolean `[B, K]`; `words`, `log_probs`: `[B, K, n]`.
    pub fn remember(&mut self, sums: &Tensor, ended: &Tensor, words: &Tensor, log_probs: &Tensor, divisor: f64) {
        let (kept, longest) = (self.score.size()[1], self.words.size()[2]);
        let length = words.size()[2];
        let score = (sums / divisor).masked_fill(&ended.logical_not(), f64::NEG_INFINITY);
        let (sorted, order) = Tensor::cat(&[&self.score, &score], 1).sort_stable(true, 1, true);
        let best = order.narrow(1, 0, kept);
        let flat = |old: &Tensor, new: &Tensor| Tensor::cat(&[old, new], 1).gather(1, &best, false);
        let deep = |old: &Tensor, new: &Tensor| {
            let index = best.unsqueeze(-1).expand([-1, kept, longest], false);
            Tensor::cat(&[old, &new.constant_pad_nd([0, longest - length])], 1).gather(1, &index, false)
        };
        *self = Self {
            score: sorted.narrow(1, 0, kept),
            sum: flat(&self.sum, sums),
            length: flat(&self.length, &sums.ones_like().to_kind(Kind::Int64).g_mul_scalar(length)),
            words: deep(&self.words, words),
            log_probs: deep(&self.log_probs, log_probs),
        };
    }
}

/// A group's finished reports as plain values.
#[derive(Debug)]
pub struct Finished {
    /// Places of each image.
    pub kept: usize,
    longest: usize,
    score: Vec<f32>,
    sum: Vec<f32>,
    length: Vec<i64>,
    words: Vec<i64>,
    log_probs: Vec<f32>,
}

impl Finished {
    /// Waits for the device.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn read(done: &Done) -> Result<Self> {
        let numbers = |t: &Tensor| Vec::<f32>::try_from(t.reshape([-1]));
        let integers = |t: &Tensor| Vec::<i64>::try_from(t.reshape([-1]));
        Ok(Self {
            kept: done.score.size()[1] as usize,
            longest: done.words.size()[2] as usize,
            score: numbers(&done.score)?,
            sum: numbers(&done.sum)?,
            length: integers(&done.length)?,
            words: integers(&done.words)?,
            log_probs: numbers(&done.log_probs)?,
        })
    }

    /// The report of an image's rank; `None` where fewer were finished.
    ///
    /// # Errors
    /// [`Error::BadData`] when its log-probability is not finite.
    pub fn report(&self, row: usize, rank: usize) -> Result<Option<Hypothesis>> {
        let place = row * self.kept + rank;
        if self.score[place] == f32::NEG_INFINITY {
            return Ok(None);
        }
        if !self.sum[place].is_finite() {
            return Err(not_finite("a report's log-probability"));
        }
        let start = place * self.longest;
        let words = &self.words[start..start + self.length[place] as usize];
        // A beam that went on after its end is the same report once more.
        let length = words.iter().position(|w| *w == BOUNDARY).unwrap_or(words.len());
        let log_probs = self.log_probs[start..start + length].to_vec();
        Ok(Some(Hypothesis {
            words: words[..length].to_vec(),
            log_probs,
            sum: self.sum[place],
            ended: length < words.len(),
        }))
    }
}
