//! Beam search on the step graph, one word at a time; width 1 is greedy. The constraints are those of the batch job: no
//! `<unk>`, no repeated n-gram, and an end as soon as no better report is possible.

use d2r_contracts::preview_bundle::{DecoderSizes, PreviewOptions};
use d2r_contracts::vocabulary::BOUNDARY_ID;
use tract_onnx::prelude::TValue;

use crate::error::Result;
use crate::graph::{Cache, Plan, step};

/// A report or the beginning of one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hypothesis {
    /// Vocabulary ids, without boundaries.
    pub words: Vec<i64>,
    /// Log-probability of each word.
    pub log_probs: Vec<f32>,
    /// Cross-attention of each word over the patch tokens, `[grid * grid]`, sums to 1.
    pub attention: Vec<Vec<f32>>,
    /// Sum of the log-probabilities, that of the end included.
    pub sum: f32,
    /// The model wrote the end of the report.
    pub ended: bool,
}

#[derive(Debug)]
struct Beam {
    hypothesis: Hypothesis,
    cache: Cache,
}

/// A possible next word of a beam.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    sum: f32,
    beam: usize,
    word: i64,
    log_prob: f32,
}

/// The search for one image's report.
#[derive(Debug)]
pub struct BeamSearch {
    plan: Plan,
    sizes: DecoderSizes,
    options: PreviewOptions,
    unknown: i64,
    memory: [TValue; 2],
    /// By descending log-probability.
    beams: Vec<Beam>,
    /// The best finished hypothesis.
    best: Option<Hypothesis>,
    steps: usize,
}

impl BeamSearch {
    /// An empty hypothesis. `memory`: keys and values of the image's tokens; `unknown`: id of `<unk>`.
    ///
    /// # Errors
    /// When the caches cannot be allocated.
    pub fn new(
        plan: &Plan,
        sizes: DecoderSizes,
        options: PreviewOptions,
        unknown: i64,
        memory: [TValue; 2],
    ) -> Result<Self> {
        let beams = vec![Beam { hypothesis: Hypothesis::default(), cache: Cache::new(&sizes)? }];
        Ok(Self { plan: plan.clone(), sizes, options, unknown, memory, beams, best: None, steps: 0 })
    }

    /// Ids of the most probable hypothesis so far.
    pub fn words(&self) -> &[i64] {
        self.most_probable().map_or(&[], |hypothesis| &hypothesis.words)
    }

    /// The best hypothesis; an unfinished one when the search was stopped early.
    pub fn finish(self) -> Hypothesis {
        self.most_probable().cloned().unwrap_or_default()
    }

    fn most_probable(&self) -> Option<&Hypothesis> {
        self.best.as_ref().or_else(|| self.beams.first().map(|b| &b.hypothesis))
    }

    /// Adds one word; `false` when the report is finished.
    ///
    /// # Errors
    /// Those of the step graph.
    pub fn advance(&mut self) -> Result<bool> {
        if self.beams.is_empty() || self.steps >= self.sizes.max_words {
            return Ok(false);
        }
        self.steps += 1;
        let last = self.steps == self.sizes.max_words;
        let width = self.options.beam_size.max(1);
        let mut chosen = Vec::with_capacity(width + 1);
        let mut attentions = Vec::with_capacity(self.beams.len());
        for (row, beam) in self.beams.iter_mut().enumerate() {
            let previous = beam.hypothesis.words.last().copied().unwrap_or(BOUNDARY_ID);
            let (log_probs, attention) = step(&self.plan, &self.sizes, &self.memory, &mut beam.cache, previous)?;
            attentions.push(attention);
            let blocked = blocked(&beam.hypothesis.words, self.options.block_ngram);
            for (id, &log_prob) in log_probs.iter().enumerate() {
                let word = id as i64;
                let allowed = word == BOUNDARY_ID || (word != self.unknown && !blocked.contains(&word));
                if allowed && log_prob.is_finite() {
                    let sum = beam.hypothesis.sum + log_prob;
                    keep_best(&mut chosen, width, Candidate { sum, beam: row, word, log_prob });
                }
            }
        }
        let mut next = Vec::with_capacity(width);
        for (place, &Candidate { sum, beam, word, log_prob }) in chosen.iter().enumerate() {
            // The last continuation of a beam moves its hypothesis, so that greedy search copies nothing.
            let shared = chosen[place + 1..].iter().any(|c| c.beam == beam);
            let parent = &mut self.beams[beam].hypothesis;
            let prefix = if shared { parent.clone() } else { std::mem::take(parent) };
            let mut hypothesis = Hypothesis { sum, ended: word == BOUNDARY_ID, ..prefix };
            if !hypothesis.ended {
                let attention = &mut attentions[beam];
                hypothesis.words.push(word);
                hypothesis.log_probs.push(log_prob);
                hypothesis.attention.push(if shared { attention.clone() } else { std::mem::take(attention) });
            }
            if !hypothesis.ended && !last {
                next.push(Beam { hypothesis, cache: self.beams[beam].cache.clone() });
            } else if self.best.as_ref().is_none_or(|b| hypothesis.sum > b.sum) {
                self.best = Some(hypothesis);
            }
        }
        let live = next.iter().map(|b| b.hypothesis.sum).fold(f32::NEG_INFINITY, f32::max);
        if self.best.as_ref().is_some_and(|b| b.sum >= live) {
            next.clear();
        }
        let continues = !next.is_empty();
        if continues || self.best.is_some() {
            self.beams = next;
        }
        Ok(continues)
    }
}

/// Inserts a candidate into the best `width`, in descending order; of equals the earlier one is first.
fn keep_best(chosen: &mut Vec<Candidate>, width: usize, new: Candidate) {
    if chosen.len() == width && chosen.last().is_none_or(|worst| worst.sum >= new.sum) {
        return;
    }
    let place = chosen.partition_point(|c| c.sum >= new.sum);
    chosen.insert(place, new);
    chosen.truncate(width);
}

/// Words that would repeat an n-gram of length `n`.
fn blocked(words: &[i64], n: usize) -> Vec<i64> {
    if n == 0 || words.len() < n {
        return Vec::new();
    }
    let tail = &words[words.len() + 1 - n..];
    words.windows(n).filter(|gram| gram[..n - 1] == *tail).map(|gram| gram[n - 1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_complete_a_repeated_ngram_are_blocked() {
        assert_eq!(blocked(&[1, 2, 3, 1, 2], 3), [3]);
        assert!(blocked(&[1, 2, 3, 4, 5], 3).is_empty());
        assert_eq!(blocked(&[7, 8], 1), [7, 8]);
        assert!(blocked(&[1, 1], 0).is_empty());
    }

    #[test]
    fn candidates_are_in_descending_order_and_stable_in_ties() {
        let mut chosen = Vec::new();
        for (word, sum) in [(1, -3.0), (2, -1.0), (3, -2.0), (4, -1.0), (5, -9.0)] {
            keep_best(&mut chosen, 3, Candidate { sum, beam: 0, word, log_prob: sum });
        }
        assert_eq!(chosen.iter().map(|c| c.word).collect::<Vec<_>>(), [2, 4, 3]);
    }
}
