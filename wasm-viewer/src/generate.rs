//! Beam search on the step graph; beam 1 is greedy. The rules are those of the batch job: no `<unk>`, no n-gram twice,
//! and an end as soon as no better report can come.

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

struct Beam {
    told: Hypothesis,
    cache: Cache,
}

/// Writes a report. `on_word` is given each word of a greedy report as it comes; returning `false` stops.
///
/// # Errors
/// Those of the step graph.
pub fn generate(
    plan: &Plan,
    sizes: &DecoderSizes,
    options: &PreviewOptions,
    unknown: i64,
    memory: &[TValue; 2],
    on_word: &mut dyn FnMut(i64) -> bool,
) -> Result<Hypothesis> {
    let width = options.beam_size.max(1);
    let mut beams = vec![Beam { told: Hypothesis::default(), cache: Cache::new(sizes) }];
    let mut best: Option<Hypothesis> = None;
    for t in 0..sizes.max_words {
        let last = t + 1 == sizes.max_words;
        let mut candidates: Vec<(f32, usize, i64, f32)> = Vec::new();
        let mut looked = Vec::with_capacity(beams.len());
        for (row, beam) in beams.iter_mut().enumerate() {
            let previous = beam.told.words.last().copied().unwrap_or(BOUNDARY_ID);
            let (log_probs, look) = step(plan, sizes, memory, &mut beam.cache, previous)?;
            looked.push(look);
            let blocked = blocked(&beam.told.words, options.block_ngram);
            let allowed = |id: i64| id == BOUNDARY_ID || (id != unknown && !blocked.contains(&id));
            let mut own: Vec<(f32, usize, i64, f32)> = log_probs
                .iter()
                .enumerate()
                .filter(|(id, p)| allowed(*id as i64) && p.is_finite())
                .map(|(id, p)| (beam.told.sum + p, row, id as i64, *p))
                .collect();
            own.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
            candidates.extend(own.into_iter().take(width));
        }
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let mut next = Vec::with_capacity(width);
        for (sum, row, word, log_prob) in candidates.into_iter().take(width) {
            let mut told = Hypothesis { sum, ended: word == BOUNDARY_ID, ..beams[row].told.clone() };
            if !told.ended {
                told.words.push(word);
                told.log_probs.push(log_prob);
                told.looks.push(looked[row].clone());
            }
            if told.ended || last {
                if best.as_ref().is_none_or(|b| told.sum > b.sum) {
                    best = Some(told);
                }
            } else {
                if width == 1 && !on_word(word) {
                    return Ok(told);
                }
                next.push(Beam { told, cache: beams[row].cache.clone() });
            }
        }
        let live = next.iter().map(|b| b.told.sum).fold(f32::NEG_INFINITY, f32::max);
        if next.is_empty() || best.as_ref().is_some_and(|b| b.sum >= live) {
            break;
        }
        beams = next;
    }
    Ok(best.unwrap_or_default())
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
}
