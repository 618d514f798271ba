//! The constant-report baseline : the one training report that, given to every study, scores best.
//! It is chosen on the training split alone, by BLEU-4 against a sample of it; a useful model scores higher.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::eval::text::bleu::{BleuCounts, total};

/// Candidates tried, most frequent first.
const CANDIDATES: usize = 200;
/// Training reports that a candidate is scored against.
const REFERENCES: usize = 400;

/// The training report with the highest BLEU-4 against the (sampled) training reports; the first in alphabetical
/// order in a tie. `None` without training reports that have words.
pub fn best_constant_report(train: &[&str], seed: u64) -> Option<String> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for report in train.iter().filter(|r| !r.trim().is_empty()) {
        *times.entry(report).or_default() += 1;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut sample: Vec<&str> = train.to_vec();
    sample.shuffle(&mut rng);
    let references: Vec<Vec<String>> = sample.into_iter().take(REFERENCES).map(|r| vec![r.to_owned()]).collect();
    // Frequent reports come first, the rest in drawn order: an alphabetical cut would favour one wording.
    let mut candidates: Vec<&str> = times.keys().copied().collect();
    candidates.shuffle(&mut rng);
    candidates.sort_by_key(|c| std::cmp::Reverse(times[c]));
    candidates.truncate(CANDIDATES);
    let score = |candidate: &str| {
        let counts: Vec<BleuCounts> = references.iter().map(|r| BleuCounts::of(candidate, r)).collect();
        total(&counts, None).score()[3]
    };
    let scored: Vec<(f64, &str)> = candidates.par_iter().map(|&c| (score(c), c)).collect();
    scored.into_iter().max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1))).map(|(_, c)| c.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::text::bleu::bleu;

    #[test]
    fn the_choice_scores_at_least_as_well_as_any_other_training_report() {
        let normal = "the heart is normal in size . the lungs are clear . no pneumothorax is seen .";
        let mut train = vec![
            "a nodule is seen in the left lung . the heart is normal in size .",
            "the lungs are clear .",
            "the heart is enlarged . no pneumothorax is seen .",
            "",
        ];
        train.extend([normal; 6]);
        let best = best_constant_report(&train, 9223).unwrap();
        let references: Vec<Vec<String>> = train.iter().map(|r| vec![(*r).to_owned()]).collect();
        let score = |text: &str| bleu(&vec![text.to_owned(); train.len()], &references)[3];
        for other in &train {
            assert!(score(&best) >= score(other), "{best} against {other}");
        }
        assert_eq!(best, normal);
        assert_eq!(best_constant_report(&train, 1), best_constant_report(&train, 1));
    }

    #[test]
    fn one_report_is_its_own_baseline_and_none_has_none() {
        assert_eq!(best_constant_report(&["clear ."], 0).as_deref(), Some("clear ."));
        assert_eq!(best_constant_report(&[], 0), None);
        assert_eq!(best_constant_report(&[" "], 0), None);
    }
}
