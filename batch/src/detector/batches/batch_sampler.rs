//! Which images a step takes: a function of (seed, step) only, so that a resumed run and every process of a training
//! draw the same. Batches are of one orientation where inputs are no squares.

use std::sync::{Arc, Mutex, PoisonError};

use crate::training::repeat_sampling::{running_sums, systematic};
use crate::training::streams::{WIDE, epoch_rng};

/// The order in which examples are drawn: one permutation per epoch, in which an example occurs as often as its repeat
/// factor, on average.
#[derive(Debug, Clone)]
pub struct EpochSampler {
    seed: u64,
    /// Number of the first epoch.
    first: u64,
    /// Running sums of the factors.
    sums: Arc<[f64]>,
    epoch_length: usize,
    /// The epoch that was drawn from last.
    latest: Arc<Mutex<Option<NumberedEpoch>>>,
}

/// The number of an epoch and its examples in their order.
type NumberedEpoch = (u64, Arc<[usize]>);

impl EpochSampler {
    /// A sampler over `factors.len()` examples; factors are positive.
    pub fn new(seed: u64, factors: &[f64]) -> Self {
        Self::from_epoch(seed, 0, factors)
    }

    /// The same with another number for its first epoch, which makes another order of the same seed.
    fn from_epoch(seed: u64, first: u64, factors: &[f64]) -> Self {
        let sums = running_sums(factors);
        let epoch_length = sums.last().map_or(0, |s| s.round().max(1.0) as usize);
        Self { seed, first, sums: sums.into(), epoch_length, latest: Arc::default() }
    }

    /// Indices of the examples of a step: a function of the seed, the step and the batch size.
    pub fn batch(&self, step: u64, size: usize) -> Vec<usize> {
        if self.epoch_length == 0 {
            return Vec::new();
        }
        let draws = step * size as u64..(step + 1) * size as u64;
        let one = |draw| self.epoch(draw / self.epoch_length as u64)[(draw % self.epoch_length as u64) as usize];
        draws.map(one).collect()
    }

    /// The order of an epoch, which is made once while it is drawn from.
    fn epoch(&self, number: u64) -> Arc<[usize]> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some((known, order)) if *known == number => Arc::clone(order),
            _ => {
                let order =
                    systematic(&self.sums, self.epoch_length, &mut epoch_rng(self.seed, self.first + number)).into();
                *latest = Some((number, Arc::clone(&order)));
                order
            }
        }
    }
}

/// The images of each step.
#[derive(Debug, Clone)]
pub struct BatchSampler(Groups);

#[derive(Debug, Clone)]
enum Groups {
    /// One order of all images.
    Mixed(EpochSampler),
    /// A batch holds images that are wider than high, or images that are not, as by detectron2's aspect-ratio grouping.
    ByOrientation {
        /// Share of the batches whose images are wide: that of the wide images among all that are drawn.
        wide_share: f64,
        wide: Group,
        /// Squares and images that are higher than wide.
        other: Group,
    },
}

/// Images of one orientation.
#[derive(Debug, Clone)]
struct Group {
    /// Their indices among all images.
    members: Arc<[usize]>,
    order: EpochSampler,
}

impl Group {
    fn batch(&self, number: u64, size: usize) -> Vec<usize> {
        self.order.batch(number, size).into_iter().map(|i| self.members[i]).collect()
    }
}

impl BatchSampler {
    /// Batches from one order of all images. `factors`: how often each is drawn, relatively; positive.
    pub fn mixed(seed: u64, factors: &[f64]) -> Self {
        Self(Groups::Mixed(EpochSampler::new(seed, factors)))
    }

    /// Batches of one orientation. `wide`: whether each image is wider than high.
    ///
    /// Both orders are drawn through without a gap, and their batches alternate by their share, so that an image is drawn
    /// as often as its factor says. detectron2 fills a bucket per orientation and emits the one that is full, which has the
    /// same shares, but needs the whole history at a resume.
    pub fn by_orientation(seed: u64, factors: &[f64], wide: &[bool]) -> Self {
        let group = |first: u64, orientation: bool| {
            let members: Vec<usize> = (0..factors.len()).filter(|&i| wide[i] == orientation).collect();
            let of_members: Vec<f64> = members.iter().map(|&i| factors[i]).collect();
            let order = EpochSampler::from_epoch(seed, first, &of_members);
            (of_members.iter().sum::<f64>(), Group { members: members.into(), order })
        };
        let ((of_wide, wide), (of_other, other)) = (group(WIDE, true), group(0, false));
        let all = of_wide + of_other;
        let wide_share = if all > 0.0 { of_wide / all } else { 0.0 };
        Self(Groups::ByOrientation { wide_share, wide, other })
    }

    /// Indices of the examples of a step: a function of the seed, the step and the batch size.
    pub fn batch(&self, step: u64, size: usize) -> Vec<usize> {
        match &self.0 {
            Groups::Mixed(order) => order.batch(step, size),
            Groups::ByOrientation { wide_share, wide, other } => {
                let wide_before = |step: u64| (step as f64 * wide_share + 0.5).floor() as u64;
                let before = wide_before(step);
                if wide_before(step + 1) > before { wide.batch(before, size) } else { other.batch(step - before, size) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_epoch_draws_every_example_once() {
        let sampler = EpochSampler::new(7, &[1.0; 10]);
        assert_eq!(sampler.epoch_length, 10);
        let drawn: Vec<usize> = (0..10).flat_map(|step| sampler.batch(step, 3)).collect();
        for epoch in drawn.chunks(10) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(drawn[..10], drawn[10..20], "another order");
        assert_eq!(EpochSampler::new(7, &[1.0; 10]).batch(2, 3), drawn[6..9], "a function of the step");
        assert!(EpochSampler::new(7, &[]).batch(0, 3).is_empty());
    }

    #[test]
    fn rare_examples_are_drawn_more_often() {
        let sampler = EpochSampler::new(1, &[1.0, 3.0, 1.0, 1.0]);
        assert_eq!(sampler.epoch_length, 6);
        let drawn: Vec<usize> = (0..100).flat_map(|step| sampler.batch(step, 6)).collect();
        let share = drawn.iter().filter(|i| **i == 1).count() as f64 / drawn.len() as f64;
        assert!((share - 0.5).abs() < 0.02, "{share}");
    }

    #[test]
    fn batches_are_of_one_orientation_and_draw_every_image_equally_often() {
        let wide: Vec<bool> = (0..40).map(|i| i % 5 == 0).collect();
        let sampler = BatchSampler::by_orientation(3, &[1.0; 40], &wide);
        let batches: Vec<Vec<usize>> = (0..100).map(|step| sampler.batch(step, 4)).collect();
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for batch in &batches {
            assert!(batch.iter().all(|&i| wide[i] == wide[batch[0]]), "{batch:?}");
            batch.iter().for_each(|i| *counts.entry(*i).or_default() += 1);
        }
        assert_eq!(counts, (0..40).map(|i| (i, 10)).collect(), "400 draws of 40 images");
        let fresh = BatchSampler::by_orientation(3, &[1.0; 40], &wide);
        assert_eq!((fresh.batch(57, 4), fresh.batch(3, 4)), (batches[57].clone(), batches[3].clone()));
        assert_ne!(BatchSampler::by_orientation(4, &[1.0; 40], &wide).batch(3, 4), batches[3]);
    }

    #[test]
    fn one_orientation_alone_is_drawn_always() {
        for orientation in [true, false] {
            let sampler = BatchSampler::by_orientation(1, &[1.0; 3], &[orientation; 3]);
            let drawn: Vec<usize> = (0..6).flat_map(|step| sampler.batch(step, 2)).collect();
            for epoch in drawn.chunks(3) {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                assert_eq!(sorted, [0, 1, 2]);
            }
        }
        assert!(BatchSampler::by_orientation(1, &[], &[]).batch(0, 2).is_empty());
    }
}
