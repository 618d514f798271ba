//! The similarity from which a word counts as matched, learnt from what is matched and what is not (NAAF, section 3.2): where
//! the density of mismatched words, times `ALPHA`, falls below that of matched ones. D2R-Net has no option for it, so it is
//! off by default. Nothing of it is read back from the device.

use tch::{Kind, Tensor, nn};

use crate::reporter::align::negative_aware::{Tokens, best_of_words};

/// How much worse a mismatch that is taken for a match is.
const ALPHA: f64 = 2.0;
/// Words on either side before the boundary moves.
const WORDS: f64 = 200.0;
/// Share of the new boundary when it moves.
const NEW: f64 = 0.7;

/// A boundary, fixed or learnt.
#[derive(Debug)]
pub struct Boundary {
    value: Tensor,
    /// f32 `[2, 3]`: number, sum and sum of squares of the best similarities of matched and of mismatched words since it moved
    /// last. `None` for one that is fixed.
    seen: Option<Tensor>,
}

impl Boundary {
    /// Starts at `value`; one that is learnt is stored with the variables, so that training goes on with it.
    pub fn new(path: &nn::Path, value: f64, learnt: bool) -> Self {
        if !learnt {
            return Self { value: Tensor::from(value as f32).to_device(path.device()), seen: None };
        }
        let mut start = path.zeros_no_train("value", &[1]);
        let _ = tch::no_grad(|| start.fill_(value));
        Self { value: start, seen: Some(path.zeros_no_train("seen", &[2, 3])) }
    }

    /// A number, f32 on the device.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Learns from a batch: from the words of every text whose own image is the likeliest, beside its own image and beside the
    /// one that fits worst. `similarity`: `[B, C]`; `own`: i64 `[C]`, a text's image; `same`: boolean `[B, C]`, pairs that are
    /// no mismatch.
    pub fn learn(&mut self, image: &Tokens, text: &Tokens, similarity: &Tensor, own: &Tensor, same: &Tensor) {
        let _no_grad = tch::no_grad_guard();
        let Some(seen) = &mut self.seen else { return };
        let best = best_of_words(image, text);
        let words = best.size()[2];
        let of = |images: &Tensor| {
            best.gather(0, &images.view([1, -1, 1]).expand([1, -1, words], false), false).squeeze_dim(0)
        };
        let mine = similarity.gather(0, &own.unsqueeze(0), false).squeeze_dim(0);
        let no_mismatch = same.scatter_value(0, &own.unsqueeze(0), 1);
        let (_, worst) = similarity.masked_fill(&no_mismatch, f64::INFINITY).min_dim(0, false);
        let told = mine
            .ge_tensor(&similarity.amax([0i64].as_slice(), false))
            .logical_and(&no_mismatch.all_dim(0, false).logical_not());
        let counted = text.present.logical_and(&told.unsqueeze(1)).to_kind(Kind::Float);
        for (row, best) in [of(own), of(&worst)].into_iter().enumerate() {
            let sums = Tensor::stack(
                &[&counted, &(&counted * &best), &(&counted * best.square())].map(|t| t.sum(Kind::Float)),
                0,
            );
            let _ = seen.get(row as i64).g_add_(&sums);
        }
        let enough = seen.select(1, 0).amin([0i64].as_slice(), false).ge(WORDS);
        let count = seen.select(1, 0).clamp_min(1.0);
        let mean = seen.select(1, 1) / &count;
        let variance = (seen.select(1, 2) / &count - mean.square()).clamp_min(0.0);
        let next = solved(&mean, &variance) * NEW + &self.value * (1.0 - NEW);
        self.value.copy_(&next.where_self(&enough, &self.value));
        seen.copy_(&seen.zeros_like().where_self(&enough, seen));
    }
}

/// Where `ALPHA` times the normal density of mismatched words is that of matched ones; 0 where that is not within 0 and 1. `mean` and
/// `variance`: f32 `[2]`, matched and mismatched.
fn solved(mean: &Tensor, variance: &Tensor) -> Tensor {
    let part = |of: &Tensor, row: i64| of.to_kind(Kind::Double).get(row);
    let ([m, n], [v, w]) = ([part(mean, 0), part(mean, 1)], [part(variance, 0), part(variance, 1)]);
    let a = &v - &w;
    let b = (&m * &w - &n * &v) * 2.0;
    let c = n.square() * &v - m.square() * &w + (&w / &v).sqrt().divide_scalar(ALPHA).log() * &v * &w * 2.0;
    let found = (b.square() - &a * &c * 4.0).sqrt() - &b;
    let found = found / (a * 2.0);
    let within = found.ge(0.0).logical_and(&found.le(1.0));
    found.zeros_like().where_self(&within.logical_not(), &found).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn number(t: &Tensor) -> f64 {
        f64::try_from(t.reshape([-1]).get(0)).unwrap()
    }

    fn pair(values: [f64; 2]) -> Tensor {
        Tensor::from_slice(&values).to_kind(Kind::Float)
    }

    #[test]
    fn the_boundary_is_where_both_densities_meet() {
        let density =
            |x: f64, mean: f64, variance: f64| (-(x - mean).powi(2) / (2.0 * variance)).exp() / variance.sqrt();
        for (mean, variance) in [([0.6, 0.2], [0.04, 0.01]), ([0.5, 0.1], [0.02, 0.01]), ([0.7, 0.3], [0.01, 0.0144])] {
            let t = number(&solved(&pair(mean), &pair(variance)));
            assert!(mean[1] < t && t < mean[0], "{t}");
            let gap = ALPHA * density(t, mean[1], variance[1]) / density(t, mean[0], variance[0]);
            assert!((gap - 1.0).abs() < 1e-4, "{gap} at {t}");
        }
    }

    #[test]
    fn without_a_place_where_they_meet_it_is_zero() {
        for (mean, variance) in [([0.5, 0.5], [0.0, 0.0]), ([0.5, 0.2], [0.01, 0.01]), ([-0.5, -0.9], [0.04, 0.01])] {
            assert_eq!(number(&solved(&pair(mean), &pair(variance))), 0.0);
        }
    }

    /// Two images of one token and two texts of 100 words each; words of a text lie along their image at these similarities, and across the other.
    fn batch(near: f32, far: f32) -> (Tokens, Tokens) {
        let there = |n: i64, of: i64| Tensor::ones([n, of], (Kind::Bool, Device::Cpu));
        let images = Tensor::from_slice(&[1f32, 0.0, 0.0, 0.0, 1.0, 0.0]).view([2, 1, 3]);
        let word = |i: usize, along: usize| {
            let shift = if i.is_multiple_of(2) { 0.05 } else { -0.05 };
            let (near, far) = (near + 2.0 * shift, far + shift);
            let mut v = [far, far, 0.0];
            v[along] = near;
            v[2] = (1.0 - v[0] * v[0] - v[1] * v[1]).sqrt();
            v
        };
        let words: Vec<f32> = (0..2).flat_map(|text| (0..100).flat_map(move |i| word(i, text))).collect();
        (
            Tokens { vectors: images, present: there(2, 1) },
            Tokens { vectors: Tensor::from_slice(&words).view([2, 100, 3]), present: there(2, 100) },
        )
    }

    #[test]
    fn it_moves_once_enough_words_were_seen_and_starts_to_count_again() {
        let vs = nn::VarStore::new(Device::Cpu);
        let mut boundary = Boundary::new(&vs.root(), 0.1, true);
        let (image, text) = batch(0.6, 0.2);
        let own = Tensor::from_slice(&[0i64, 1]);
        let same = Tensor::zeros([2, 2], (Kind::Bool, Device::Cpu));
        let similarity = Tensor::from_slice(&[0.9f32, 0.1, 0.2, 0.8]).view([2, 2]);
        // The second text's own image is not its likeliest: only the first one's hundred words count.
        let muddled = Tensor::from_slice(&[0.9f32, 0.7, 0.2, 0.3]).view([2, 2]);
        boundary.learn(&image, &text, &muddled, &own, &same);
        assert!((number(boundary.value()) - 0.1).abs() < 1e-7);
        assert_eq!(number(&vs.variables()["seen"]), 100.0);
        // Pairs that are no mismatch teach nothing.
        boundary.learn(&image, &text, &similarity, &own, &same.ones_like());
        assert_eq!(number(&vs.variables()["seen"]), 100.0);
        boundary.learn(&image, &text, &similarity, &own, &same);
        // Means 0.6 and 0.2, deviations 0.1 and 0.05.
        let met = number(&solved(&pair([0.6, 0.2]), &pair([0.01, 0.0025])));
        assert!(
            (number(boundary.value()) - (0.7 * met + 0.3 * 0.1)).abs() < 1e-3,
            "{} of {met}",
            number(boundary.value())
        );
        assert_eq!(number(&vs.variables()["seen"]), 0.0);
    }

    #[test]
    fn a_fixed_one_stays_and_is_not_stored() {
        let vs = nn::VarStore::new(Device::Cpu);
        let mut boundary = Boundary::new(&vs.root(), 0.25, false);
        let (image, text) = batch(0.6, 0.2);
        let similarity = Tensor::from_slice(&[0.9f32, 0.1, 0.2, 0.8]).view([2, 2]);
        let same = Tensor::zeros([2, 2], (Kind::Bool, Device::Cpu));
        for _ in 0..3 {
            boundary.learn(&image, &text, &similarity, &Tensor::from_slice(&[0i64, 1]), &same);
        }
        assert_eq!(number(boundary.value()), 0.25);
        assert!(vs.variables().is_empty());
    }
}
