//! Corpus BLEU-1..4 as the COCO caption evaluation computes it (Papineni 2002): words split at blanks, clipped
//! counts summed over the set, the closest reference length, small constants in place of smoothing.
//! Strings in, figures out; the counts of each pair are kept, so that resampling needs no second pass.

use std::collections::HashMap;

/// What one pair adds to the corpus score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BleuCounts {
    /// Clipped n-gram matches, n = 1..4.
    pub correct: [u64; 4],
    /// n-grams of the hypothesis.
    pub guess: [u64; 4],
    /// Words of the hypothesis.
    pub words: u64,
    /// Words of the reference closest in length, the shorter in a tie.
    pub reference_words: u64,
}

type Grams<'a> = [HashMap<&'a [&'a str], u64>; 4];

fn grams<'a>(words: &'a [&'a str]) -> Grams<'a> {
    std::array::from_fn(|n| {
        let mut counts = HashMap::new();
        for gram in words.windows(n + 1) {
            *counts.entry(gram).or_insert(0) += 1;
        }
        counts
    })
}

impl BleuCounts {
    /// Counts of one hypothesis against its references; without references nothing can be correct.
    pub fn of(hypothesis: &str, references: &[String]) -> Self {
        let words: Vec<&str> = hypothesis.split_whitespace().collect();
        let references: Vec<Vec<&str>> = references.iter().map(|r| r.split_whitespace().collect()).collect();
        let reference_grams: Vec<Grams<'_>> = references.iter().map(|r| grams(r)).collect();
        let own = grams(&words);
        // Integer sums: the map's order does not matter.
        let correct = std::array::from_fn(|n| {
            own[n]
                .iter()
                .map(|(gram, &count)| {
                    let most = reference_grams.iter().filter_map(|g| g[n].get(gram)).max();
                    count.min(most.copied().unwrap_or(0))
                })
                .sum()
        });
        let lengths = references.iter().map(|r| r.len() as u64);
        Self {
            correct,
            guess: std::array::from_fn(|n| (words.len() as u64 + 1).saturating_sub(n as u64 + 1)),
            words: words.len() as u64,
            reference_words: lengths.min_by_key(|&l| (l.abs_diff(words.len() as u64), l)).unwrap_or(0),
        }
    }

    /// Adds `times` copies of another pair.
    pub fn add(&mut self, other: &Self, times: u64) {
        for n in 0..4 {
            self.correct[n] += times * other.correct[n];
            self.guess[n] += times * other.guess[n];
        }
        self.words += times * other.words;
        self.reference_words += times * other.reference_words;
    }

    /// BLEU-1..4 of the summed counts.
    pub fn score(&self) -> [f64; 4] {
        const SMALL: f64 = 1e-9;
        const TINY: f64 = 1e-15;
        let ratio = (self.words as f64 + TINY) / (self.reference_words as f64 + SMALL);
        let brevity = if ratio < 1.0 { (1.0 - 1.0 / ratio).exp() } else { 1.0 };
        let mut product = 1.0;
        std::array::from_fn(|n| {
            product *= (self.correct[n] as f64 + TINY) / (self.guess[n] as f64 + SMALL);
            product.powf(1.0 / (n + 1) as f64) * brevity
        })
    }
}

/// Counts of every pair, in order. The shorter list decides the number of pairs.
pub fn bleu_counts(hypotheses: &[String], references: &[Vec<String>]) -> Vec<BleuCounts> {
    hypotheses.iter().zip(references).map(|(h, r)| BleuCounts::of(h, r)).collect()
}

/// Corpus BLEU-1..4, each 0 to 1; 0 for an empty set.
pub fn bleu(hypotheses: &[String], references: &[Vec<String>]) -> [f64; 4] {
    total(&bleu_counts(hypotheses, references), None).score()
}

/// The sum over pairs, pair `i` taken `weights[i]` times.
pub fn total(counts: &[BleuCounts], weights: Option<&[u32]>) -> BleuCounts {
    let mut sum = BleuCounts::default();
    for (i, c) in counts.iter().enumerate() {
        sum.add(c, weights.map_or(1, |w| u64::from(w[i])));
    }
    sum
}
