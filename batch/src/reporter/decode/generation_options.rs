//! Options of report generation: beam search in one or more groups, greedy decoding or sampling; constraints on tokens.

use crate::error::{Error, Result};
use crate::reporter::model::encoder_decoder::MAX_POSITIONS;

/// The decoding method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Beam search; width 1 is greedy.
    Beam,
    /// The most likely token at each step, with [`GenerationOptions::trigram_penalty`].
    Greedy,
    /// Random tokens by their probabilities.
    Sample(Sampling),
}

/// Top-k and top-p (nucleus) sampling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Top-k: only the `k` most likely tokens; 0 takes all.
    pub top_k: usize,
    /// Nucleus: only the most likely tokens that together reach this probability, at least one; 1 takes all.
    pub top_p: f64,
    /// Random seed; with an image's key and the report's number it determines the sample.
    pub seed: u64,
}

/// How the sum of a finished report's log-probabilities becomes its score. The length includes the end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LengthPenalty {
    /// The score is the sum.
    None,
    /// Divided by `((5 + length) / 6)^alpha` (Wu et al. 2016, arXiv:1609.08144, equation 14).
    Wu(f64),
    /// Divided by the length.
    Average,
}

impl LengthPenalty {
    /// Divisor of the sum; never decreases with the length.
    pub fn divisor(self, length: i64) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Wu(alpha) => ((5.0 + length as f64) / 6.0).powf(alpha),
            Self::Average => length as f64,
        }
    }
}

/// How reports are generated.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationOptions {
    pub method: Method,
    /// Beam width, all groups together.
    pub beam_size: usize,
    /// Groups of diverse beam search (Vijayakumar et al. 2016, arXiv:1610.02424); they share the width equally.
    pub groups: usize,
    /// Penalty of a token for each beam of an earlier group that chose it at the same step.
    pub diversity: f64,
    /// Scoring of finished reports.
    pub length_penalty: LengthPenalty,
    /// Reports per image: the best of a beam search, or independent samples.
    pub reports: usize,
    /// Divisor of log-probabilities; beam search does not apply it to the first token, as published.
    pub temperature: f64,
    /// Shortest report, tokens.
    pub min_words: usize,
    /// Longest report, tokens.
    pub max_words: usize,
    /// n-grams of this length are never repeated; 0 allows all.
    pub block_ngram: usize,
    /// Token sequences that are never written.
    pub banned: Vec<Vec<i64>>,
    /// Greedy and sampling: each earlier occurrence of a trigram halves the probability of repeating it, this many times (without
    /// renormalisation); 0 is off, 2 is R2Gen's.
    pub trigram_penalty: f64,
}

impl GenerationOptions {
    /// Plain beam search.
    pub fn beam(beam_size: usize, max_words: usize) -> Self {
        Self {
            method: Method::Beam,
            beam_size,
            groups: 1,
            diversity: 0.5,
            length_penalty: LengthPenalty::None,
            reports: 1,
            temperature: 1.0,
            min_words: 0,
            max_words,
            block_ngram: 0,
            banned: Vec::new(),
            trigram_penalty: 0.0,
        }
    }

    /// Greedy decoding under the same constraints, one report: what validation uses.
    pub fn greedy(&self) -> Self {
        let (method, length_penalty) = (Method::Beam, LengthPenalty::None);
        Self { method, length_penalty, beam_size: 1, groups: 1, reports: 1, ..self.clone() }
    }

    /// Reports kept per group.
    pub fn reports_per_group(&self) -> usize {
        self.reports.div_ceil(self.groups.max(1))
    }

    /// # Errors
    /// [`Error::Config`] when the options contradict each other.
    pub fn check(&self) -> Result<()> {
        let bad = |problem: String| Err(Error::Config { place: "generate".into(), problem });
        let Self { beam_size, groups, reports, .. } = *self;
        if beam_size == 0 || groups == 0 || reports == 0 {
            return bad("`beam_size`, `groups` and `reports` must be at least 1".into());
        }
        if beam_size % groups != 0 {
            return bad(format!("`groups` = {groups} does not divide `beam_size` = {beam_size}"));
        }
        if self.method == Method::Beam && self.reports_per_group() > beam_size / groups {
            return bad(format!("a beam search of width {beam_size} cannot give {reports} reports"));
        }
        if self.max_words as i64 > MAX_POSITIONS {
            return bad(format!("`max_words` is longer than the model's positions ({MAX_POSITIONS})"));
        }
        if self.min_words > self.max_words {
            return bad(format!("`min_words` = {} is more than `max_words` = {}", self.min_words, self.max_words));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite() && self.diversity >= 0.0) {
            return bad("`temperature` must be above 0, `diversity` at least 0".into());
        }
        if matches!(self.length_penalty, LengthPenalty::Wu(alpha) if !(0.0..=10.0).contains(&alpha)) {
            return bad("`length_alpha` must be 0 to 10".into());
        }
        match self.method {
            Method::Sample(Sampling { top_p, .. }) if !(top_p > 0.0 && top_p <= 1.0) => {
                bad("`top_p` must be above 0 and at most 1".into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_penalties_equal_the_publications() {
        let score = |penalty: LengthPenalty| -12.0 / penalty.divisor(7);
        assert_eq!(score(LengthPenalty::None), -12.0);
        assert_eq!(score(LengthPenalty::Wu(1.0)), -6.0);
        assert_eq!(score(LengthPenalty::Wu(0.0)), -12.0);
        assert!((score(LengthPenalty::Average) + 12.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let plain = GenerationOptions::beam(6, 20);
        plain.check().unwrap();
        let refused = |options: GenerationOptions| options.check().is_err_and(|e| e.exit().code() == 78);
        assert!(refused(GenerationOptions { groups: 4, ..plain.clone() }));
        assert!(refused(GenerationOptions { groups: 0, ..plain.clone() }));
        assert!(refused(GenerationOptions { reports: 7, ..plain.clone() }));
        assert!(refused(GenerationOptions { min_words: 21, ..plain.clone() }));
        assert!(refused(GenerationOptions { temperature: 0.0, ..plain.clone() }));
        assert!(refused(GenerationOptions { length_penalty: LengthPenalty::Wu(-1.0), ..plain.clone() }));
        let sample = |top_p| Method::Sample(Sampling { top_k: 0, top_p, seed: 1 });
        assert!(refused(GenerationOptions { method: sample(0.0), ..plain.clone() }));
        GenerationOptions { method: sample(0.9), reports: 40, ..plain }.check().unwrap();
    }
}
