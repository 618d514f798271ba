//! The order in which an epoch takes the studies: a function of seed and epoch.

use d2r_contracts::labels::LabelState;
use rand::RngExt;
use rand::seq::SliceRandom;

use crate::training::streams::purpose_rng;

/// Studies with a label of fewer studies are drawn more often.
const RARE_SHARE: f64 = 0.2;

/// Batches whose studies are sorted by length together.
const POOL: usize = 8;

/// The order of the studies in an epoch.
pub fn shuffled(count: usize, seed: u64, epoch: i64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut purpose_rng(seed, "report shuffle", epoch));
    order
}

/// As many draws as there are studies, in which a study occurs as often as its factor says, on average: systematic
/// sampling over the running sums of the factors from a random offset, then shuffled. Factors are positive.
pub fn drawn(factors: &[f64], seed: u64, epoch: i64) -> Vec<usize> {
    let mut rng = purpose_rng(seed, "report draws", epoch);
    let total: f64 = factors.iter().sum();
    let (tick, offset) = (total / factors.len().max(1) as f64, rng.random::<f64>());
    let (mut order, mut sum, mut draw) = (Vec::with_capacity(factors.len()), 0.0, 0);
    for (study, factor) in factors.iter().enumerate() {
        sum += factor;
        while draw < factors.len() && (draw as f64 + offset) * tick < sum {
            order.push(study);
            draw += 1;
        }
    }
    order.resize(factors.len(), factors.len().saturating_sub(1));
    order.shuffle(&mut rng);
    order
}

/// Repeat factors (LVIS, arXiv:1908.03195, section 5.2) by the positive labels of the reports: a study with a label that a
/// share `f` of the studies has, `f < RARE_SHARE`, counts `sqrt(RARE_SHARE / f)` times.
pub fn repeat_factors(labels: &[[LabelState; 14]]) -> Vec<f64> {
    let positive = |l: &LabelState| *l == LabelState::Positive;
    let shares: Vec<f64> = (0..14)
        .map(|i| labels.iter().filter(|of| positive(&of[i])).count() as f64 / labels.len().max(1) as f64)
        .collect();
    let factor = |(state, share): (&LabelState, &f64)| match positive(state) {
        true => (RARE_SHARE / share).sqrt().max(1.0),
        false => 1.0,
    };
    labels.iter().map(|of| of.iter().zip(&shares).map(factor).fold(1.0, f64::max)).collect()
}

/// The same with batches of reports of similar lengths, so that little padding is computed: the studies of
/// [`POOL`] batches are sorted by length and cut into batches, and these are taken in random order. The rest of an epoch
/// that is no whole pool is sorted too, and its last, smaller batch stays at the end.
pub fn by_length(order: &[usize], lengths: &[usize], batch_size: usize, seed: u64, epoch: i64) -> Vec<usize> {
    let batch_size = batch_size.max(1);
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for pool in order.chunks(batch_size * POOL) {
        let mut pool = pool.to_vec();
        pool.sort_by_key(|&study| std::cmp::Reverse(lengths[study]));
        batches.extend(pool.chunks(batch_size).map(<[usize]>::to_vec));
    }
    let whole = lengths.len() / batch_size;
    batches[..whole].shuffle(&mut purpose_rng(seed, "report batches", epoch));
    batches.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_labels_are_drawn_more_often() {
        let mut labels = vec![[LabelState::Blank; 14]; 100];
        (0..5).for_each(|i| labels[i][3] = LabelState::Positive);
        (0..50).for_each(|i| labels[i][5] = LabelState::Positive);
        let factors = repeat_factors(&labels);
        assert_eq!((factors[0], factors[10], factors[99]), (2.0, 1.0, 1.0));
        let count = |epoch| drawn(&factors, 1, epoch).iter().filter(|&&i| i < 5).count() as f64;
        let mean = (0..40).map(count).sum::<f64>() / 40.0;
        assert!((mean - 100.0 * 10.0 / 105.0).abs() < 0.3, "{mean}");
        assert_eq!(drawn(&factors, 1, 3).len(), 100);
        assert_eq!(drawn(&factors, 1, 3), drawn(&factors, 1, 3));
    }

    #[test]
    fn batches_of_similar_lengths_hold_every_study_once() {
        let lengths: Vec<usize> = (0..103).map(|i| (i * 37) % 80).collect();
        let ordered = |epoch| by_length(&shuffled(103, 7, epoch), &lengths, 4, 7, epoch);
        let order = ordered(2);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..103).collect::<Vec<_>>());
        let padding = |order: &[usize]| -> usize {
            let of = |batch: &[usize]| {
                let longest = batch.iter().map(|&i| lengths[i]).max().unwrap_or(0);
                batch.iter().map(|&i| longest - lengths[i]).sum::<usize>()
            };
            order.chunks(4).map(of).sum()
        };
        assert!(5 * padding(&order) < padding(&shuffled(103, 7, 2)), "{}", padding(&order));
        assert_eq!(order, ordered(2));
        assert_ne!(order, ordered(3));
        // Long and short batches are mixed.
        let first: Vec<usize> = order.chunks(4).take(20).map(|b| lengths[b[0]]).collect();
        assert!(!first.is_sorted_by(|a, b| a >= b), "{first:?}");
    }
}
