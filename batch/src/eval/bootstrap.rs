//! Percentile bootstrap: units (images or studies) are drawn with replacement, a figure is computed from how often
//! each was drawn, and the middle 95 % of the draws are the interval. Same seed, same interval, on any thread count.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// The middle 95 % of the draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// 2.5th percentile.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

/// The interval of `figure` over `units` units. `figure` gets the number of times that each unit was drawn; draws
/// in which it is undefined are left out. `None` without units, without draws, or when every draw is undefined.
pub fn interval<F>(units: usize, draws: usize, seed: u64, figure: F) -> Option<Interval>
where
    F: Fn(&[u32]) -> Option<f64> + Sync,
{
    if units == 0 || draws == 0 {
        return None;
    }
    let one = |draw: usize| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // A stream of its own for each draw: the order of threads does not matter.
        rng.set_stream(draw as u64);
        let mut weights = vec![0u32; units];
        for _ in 0..units {
            weights[rng.random_range(0..units)] += 1;
        }
        figure(&weights)
    };
    let mut values: Vec<f64> = (0..draws).into_par_iter().filter_map(one).filter(|v| v.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    Some(Interval { low: quantile(&values, 0.025)?, high: quantile(&values, 0.975)? })
}

/// Linear interpolation between order statistics.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let place = q * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of(values: &[f64]) -> impl Fn(&[u32]) -> Option<f64> + Sync + '_ {
        |weights| {
            let total: u32 = weights.iter().sum();
            let sum: f64 = values.iter().zip(weights).map(|(v, w)| v * f64::from(*w)).sum();
            (total > 0).then(|| sum / f64::from(total))
        }
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_approximation() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let found = interval(values.len(), 2000, 9223, mean_of(&values)).unwrap();
        let half = 1.96 * 0.5 / 20.0;
        assert!((found.low - (0.5 - half)).abs() < 0.006 && (found.high - (0.5 + half)).abs() < 0.006, "{found:?}");
    }

    #[test]
    fn seeds_decide_and_degenerate_cases_are_ordinary() {
        let values = [0.0, 1.0, 4.0, 9.0, 2.0];
        let of = |seed| interval(5, 50, seed, mean_of(&values));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert_eq!(interval(0, 50, 1, |_| Some(1.0)), None);
        assert_eq!(interval(5, 0, 1, |_| Some(1.0)), None);
        assert_eq!(interval(5, 50, 1, |_| None), None);
        assert_eq!(interval(5, 50, 1, |_| Some(f64::NAN)), None);
        assert_eq!(interval(1, 50, 1, |w| Some(f64::from(w[0]))), Some(Interval { low: 1.0, high: 1.0 }));
    }
}
