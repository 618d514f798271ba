//! Beam search on the step graph, a word at a time; beam 1 is greedy. The rules are those of the batch job: no `<unk>`,
//! no n-gram twice, and an end as soon as no better report can come.

use d2r_contracts::preview_bundle::{DecoderSizes, PreviewOptions};
use d2r_contracts::vocabulary::BOUNDARY_ID;
use tract_onnx::prelude::TValue;

use crate::error::Result;
use crate::graph::{Cache, Plan, step};

/// A written report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hypothesis {
    /// Vocabulary ids, without boundaries.
    pub words: Vec<i64>,
    /// Log-probability of each word.
    pub log_probs: Vec<f32>,
    /// Where each word looked: shares of the grid's cells.
    pub looks: Vec<Vec<f32>>,
    /// Sum of the log-probabilities, the end's included.
    pub sum: f32,
    /// The model ended the report itself.
    pub ended: bool,
}

#[derive(Debug)]
struct Beam {
    told: Hypothesis,
    cache: Cache,
}

/// A word that a beam may go on with.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    sum: f32,
    beam: usize,
    word: i64,
    log_prob: f32,
}

/// A report that is being written.
#[derive(Debug)]
pub struct Writer {
    plan: Plan,
    sizes: DecoderSizes,
    options: PreviewOptions,
    unknown: i64,
    memory: [TValue; 2],
    /// The likeliest first.
    beams: Vec<Beam>,
    best: Option<Hypothesis>,
    written: usize,
}

impl Writer {
    /// Without words. `memory` holds the film's keys and values; `unknown` is the id of `<unk>`.
    ///
    /// # Errors
    /// When there is no room for these sizes.
    pub fn new(
        plan: &Plan,
        sizes: DecoderSizes,
        options: PreviewOptions,
        unknown: i64,
        memory: [TValue; 2],
    ) -> Result<Self> {
        let beams = vec![Beam { told: Hypothesis::default(), cache: Cache::new(&sizes)? }];
        Ok(Self { plan: plan.clone(), sizes, options, unknown, memory, beams, best: None, written: 0 })
    }

    /// Ids of the likeliest words so far.
    pub fn words(&self) -> &[i64] {
        self.likeliest().map_or(&[], |told| &told.words)
    }

    /// The report; the likeliest unfinished one when it was stopped early.
    pub fn finish(self) -> Hypothesis {
        self.likeliest().cloned().unwrap_or_default()
    }

    fn likeliest(&self) -> Option<&Hypothesis> {
        self.best.as_ref().or_else(|| self.beams.first().map(|b| &b.told))
    }

    /// One more word; `false` when the report is done.
    ///
    /// # Errors
    /// Those of the step graph.
    pub fn advance(&mut self) -> Result<bool> {
        if self.beams.is_empty() || self.written >= self.sizes.max_words {
            return Ok(false);
        }
        self.written += 1;
        let last = self.written == self.sizes.max_words;
        let width = self.options.beam_size.max(1);
        let mut chosen = Vec::with_capacity(width + 1);
        let mut looks = Vec::with_capacity(self.beams.len());
        for (row, beam) in self.beams.iter_mut().enumerate() {
            let previous = beam.told.words.last().copied().unwrap_or(BOUNDARY_ID);
            let (log_probs, look) = step(&self.plan, &self.sizes, &self.memory, &mut beam.cache, previous)?;
            looks.push(look);
            let blocked = blocked(&beam.told.words, self.options.block_ngram);
            for (id, &log_prob) in log_probs.iter().enumerate() {
                let word = id as i64;
                let allowed = word == BOUNDARY_ID || (word != self.unknown && !blocked.contains(&word));
                if allowed && log_prob.is_finite() {
                    let sum = beam.told.sum + log_prob;
                    keep_best(&mut chosen, width, Candidate { sum, beam: row, word, log_prob });
                }
            }
        }
        let mut next = Vec::with_capacity(width);
        for (place, &Candidate { sum, beam, word, log_prob }) in chosen.iter().enumerate() {
            // The last that goes on with a beam takes what it has told, so that one beam alone copies nothing.
            let shared = chosen[place + 1..].iter().any(|c| c.beam == beam);
            let from = &mut self.beams[beam].told;
            let so_far = if shared { from.clone() } else { std::mem::take(from) };
            let mut told = Hypothesis { sum, ended: word == BOUNDARY_ID, ..so_far };
            if !told.ended {
                told.words.push(word);
                told.log_probs.push(log_prob);
                told.looks.push(if shared { looks[beam].clone() } else { std::mem::take(&mut looks[beam]) });
            }
            if !told.ended && !last {
                next.push(Beam { told, cache: self.beams[beam].cache.clone() });
            } else if self.best.as_ref().is_none_or(|b| told.sum > b.sum) {
                self.best = Some(told);
            }
        }
        let live = next.iter().map(|b| b.told.sum).fold(f32::NEG_INFINITY, f32::max);
        if self.best.as_ref().is_some_and(|b| b.sum >= live) {
            next.clear();
        }
        let goes_on = !next.is_empty();
        if goes_on || self.best.is_some() {
            self.beams = next;
        }
        Ok(goes_on)
    }
}

/// Puts a candidate among the best `width`, the best first; of equals the earlier stays ahead.
fn keep_best(chosen: &mut Vec<Candidate>, width: usize, new: Candidate) {
    if chosen.len() == width && chosen.last().is_none_or(|worst| worst.sum >= new.sum) {
        return;
    }
    let place = chosen.partition_point(|c| c.sum >= new.sum);
    chosen.insert(place, new);
    chosen.truncate(width);
}

/// Words that would repeat an n-gram.
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
    fn a_repeated_beginning_forbids_its_end() {
        assert_eq!(blocked(&[1, 2, 3, 1, 2], 3), [3]);
        assert!(blocked(&[1, 2, 3, 4, 5], 3).is_empty());
        assert_eq!(blocked(&[7, 8], 1), [7, 8]);
        assert!(blocked(&[1, 1], 0).is_empty());
    }

    #[test]
    fn the_best_stay_in_order_and_the_earlier_of_equals_first() {
        let mut chosen = Vec::new();
        for (word, sum) in [(1, -3.0), (2, -1.0), (3, -2.0), (4, -1.0), (5, -9.0)] {
            keep_best(&mut chosen, 3, Candidate { sum, beam: 0, word, log_prob: sum });
        }
        assert_eq!(chosen.iter().map(|c| c.word).collect::<Vec<_>>(), [2, 4, 3]);
    }
}
