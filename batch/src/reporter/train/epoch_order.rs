//! The order in which an epoch takes the studies: a function of seed and epoch.

use rand::seq::SliceRandom;

use crate::training::streams::purpose_rng;

/// Batches whose studies are sorted by length together.
const POOL: usize = 8;

/// The order of the studies in an epoch.
pub fn shuffled(count: usize, seed: u64, epoch: i64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut purpose_rng(seed, "report shuffle", epoch));
    order
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
