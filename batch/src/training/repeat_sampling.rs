//! Drawing examples of rare classes more often (repeat factors; LVIS, arXiv:1908.03195, section 5.2).

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

/// How often each example is drawn, relative to the others. An example with a class that is in a share `f < rare_share` of
/// the examples counts `sqrt(rare_share / f)` times. `classes`: those of each example.
pub fn repeat_factors<C: Ord + Copy>(classes: &[BTreeSet<C>], rare_share: f64) -> Vec<f64> {
    let mut examples_of: BTreeMap<C, usize> = BTreeMap::new();
    for class in classes.iter().flatten() {
        *examples_of.entry(*class).or_default() += 1;
    }
    let total = classes.len() as f64;
    let factor = |class: &C| (rare_share * total / examples_of[class] as f64).sqrt().max(1.0);
    classes.iter().map(|of| of.iter().map(factor).fold(1.0, f64::max)).collect()
}

/// Systematic sampling: evenly spaced positions over the running sums of the factors from a random offset, then shuffled.
/// An example occurs as often as its factor says, on average. `sums`: running sums, not empty.
pub fn systematic(sums: &[f64], draws: usize, rng: &mut impl Rng) -> Vec<usize> {
    let total = sums.last().copied().unwrap_or(0.0);
    let (tick, offset) = (total / draws as f64, rng.random::<f64>());
    let at = |i: usize| {
        let position = (i as f64 + offset) * tick;
        sums.partition_point(|s| *s <= position).min(sums.len() - 1)
    };
    let mut order: Vec<usize> = (0..draws).map(at).collect();
    order.shuffle(rng);
    order
}

/// Running sums of factors.
pub fn running_sums(factors: &[f64]) -> Vec<f64> {
    let add = |sum: &mut f64, factor: &f64| {
        *sum += factor;
        Some(*sum)
    };
    factors.iter().scan(0.0, add).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn rare_classes_are_drawn_more_often() {
        let class = |i: usize| BTreeSet::from_iter([(i < 5).then_some(3), (i < 50).then_some(5)].into_iter().flatten());
        let classes: Vec<BTreeSet<i32>> = (0..100).map(class).collect();
        let factors = repeat_factors(&classes, 0.2);
        assert_eq!((factors[0], factors[10], factors[99]), (2.0, 1.0, 1.0));
        let sums = running_sums(&factors);
        let order = |seed| systematic(&sums, 100, &mut ChaCha8Rng::seed_from_u64(seed));
        let mean = (0..40).map(|s| order(s).iter().filter(|&&i| i < 5).count() as f64).sum::<f64>() / 40.0;
        assert!((mean - 100.0 * 10.0 / 105.0).abs() < 0.3, "{mean}");
        assert_eq!((order(3).len(), order(3)), (100, order(3)));
    }
}
