//! The similarity from which a text token counts as matched: fixed, or estimated from matched and mismatched tokens (NAAF, section
//! 3.2) as the point where the density of mismatched ones, times `ALPHA`, falls below that of matched ones. D2R-Net has no such
//! option, so it is off by default. Updates do not synchronise with the device.

use tch::{Kind, Tensor, nn};

use crate::reporter::align::negative_aware::{Tokens, max_similarities};

/// Weight of a mismatched token that is taken for a match, relative to the opposite error.
const ALPHA: f64 = 2.0;
/// Matched tokens, and mismatched tokens, needed for an update.
const TOKENS_MIN: f64 = 200.0;
/// Weight of the new estimate in an update.
const UPDATE_RATE: f64 = 0.7;

/// A boundary, fixed or adaptive.
#[derive(Debug)]
pub struct Boundary {
    value: Tensor,
    /// f32 `[2, 3]`: count, sum and sum of squares of the maximum similarities of matched and of mismatched tokens since the last
    /// update; stored as `seen`. `None` for a fixed boundary.
    statistics: Option<Tensor>,
}

impl Boundary {
    /// Starts at `value`. An adaptive boundary is stored with the variables, for resumed training.
    pub fn new(path: &nn::Path, value: f64, adaptive: bool) -> Self {
        if !adaptive {
            return Self { value: Tensor::from(value as f32).to_device(path.device()), statistics: None };
        }
        let mut start = path.zeros_no_train("value", &[1]);
        let _ = tch::no_grad(|| start.fill_(value));
        Self { value: start, statistics: Some(path.zeros_no_train("seen", &[2, 3])) }
    }

    /// f32 scalar on the device.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Updates an adaptive boundary with a batch. Of every text whose most similar image is its own, it uses the tokens' maximum
    /// similarities to this image and to the mismatched image with the lowest similarity. `similarity`: `[B, C]`; `own`: i64 `[C]`,
    /// the image of each text; `same`: boolean `[B, C]`, pairs that are no mismatch.
    pub fn update(&mut self, image: &Tokens, text: &Tokens, similarity: &Tensor, own: &Tensor, same: &Tensor) {
        let _no_grad = tch::no_grad_guard();
        let Some(statistics) = &mut self.statistics else { return };
        let maximum = max_similarities(image, text);
        let length = maximum.size()[2];
        let of = |images: &Tensor| {
            maximum.gather(0, &images.view([1, -1, 1]).expand([1, -1, length], false), false).squeeze_dim(0)
        };
        let of_own = similarity.gather(0, &own.unsqueeze(0), false).squeeze_dim(0);
        let no_mismatch = same.scatter_value(0, &own.unsqueeze(0), 1);
        let (_, worst) = similarity.masked_fill(&no_mismatch, f64::INFINITY).min_dim(0, false);
        let used = of_own
            .ge_tensor(&similarity.amax([0i64].as_slice(), false))
            .logical_and(&no_mismatch.all_dim(0, false).logical_not());
        let counted = text.present.logical_and(&used.unsqueeze(1)).to_kind(Kind::Float);
        for (row, maximum) in [of(own), of(&worst)].into_iter().enumerate() {
            let sums = Tensor::stack(
                &[&counted, &(&counted * &maximum), &(&counted * maximum.square())].map(|t| t.sum(Kind::Float)),
                0,
            );
            let _ = statistics.get(row as i64).g_add_(&sums);
        }
        let enough = statistics.select(1, 0).amin([0i64].as_slice(), false).ge(TOKENS_MIN);
        let count = statistics.select(1, 0).clamp_min(1.0);
        let mean = statistics.select(1, 1) / &count;
        let variance = (statistics.select(1, 2) / &count - mean.square()).clamp_min(0.0);
        let next = intersection(&mean, &variance) * UPDATE_RATE + &self.value * (1.0 - UPDATE_RATE);
        self.value.copy_(&next.where_self(&enough, &self.value));
        statistics.copy_(&statistics.zeros_like().where_self(&enough, statistics));
    }
}

/// Where `ALPHA` times the normal density of mismatched tokens equals that of matched ones; 0 when that is not within 0 and 1. `mean`
/// and `variance`: f32 `[2]`, matched and mismatched.
fn intersection(mean: &Tensor, variance: &Tensor) -> Tensor {
    let part = |of: &Tensor, row: i64| of.to_kind(Kind::Double).get(row);
    let ([m, n], [v, w]) = ([part(mean, 0), part(mean, 1)], [part(variance, 0), part(variance, 1)]);
    let a = &v - &w;
    let b = (&m * &w - &n * &v) * 2.0;
    let c = n.square() * &v - m.square() * &w + (&w / &v).sqrt().divide_scalar(ALPHA).log() * &v * &w * 2.0;
    let root = ((b.square() - &a * &c * 4.0).sqrt() - &b) / (a * 2.0);
    let within = root.ge(0.0).logical_and(&root.le(1.0));
    root.zeros_like().where_self(&within.logical_not(), &root).to_kind(Kind::Float)
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
    fn the_boundary_is_where_the_densities_intersect() {
        let density =
            |x: f64, mean: f64, variance: f64| (-(x - mean).powi(2) / (2.0 * variance)).exp() / variance.sqrt();
        for (mean, variance) in [([0.6, 0.2], [0.04, 0.01]), ([0.5, 0.1], [0.02, 0.01]), ([0.7, 0.3], [0.01, 0.0144])] {
            let t = number(&intersection(&pair(mean), &pair(variance)));
            assert!(mean[1] < t && t < mean[0], "{t}");
            let gap = ALPHA * density(t, mean[1], variance[1]) / density(t, mean[0], variance[0]);
            assert!((gap - 1.0).abs() < 1e-4, "{gap} at {t}");
        }
    }

    #[test]
    fn without_an_intersection_it_is_zero() {
        for (mean, variance) in [([0.5, 0.5], [0.0, 0.0]), ([0.5, 0.2], [0.01, 0.01]), ([-0.5, -0.9], [0.04, 0.01])] {
            assert_eq!(number(&intersection(&pair(mean), &pair(variance))), 0.0);
        }
    }

    /// Two images of one token and two texts of 100 tokens each, with mean similarity `near` to their own image and `far` to the other.
    fn batch(near: f32, far: f32) -> (Tokens, Tokens) {
        let all = |n: i64, tokens: i64| Tensor::ones([n, tokens], (Kind::Bool, Device::Cpu));
        let images = Tensor::from_slice(&[1f32, 0.0, 0.0, 0.0, 1.0, 0.0]).view([2, 1, 3]);
        let token = |i: usize, own: usize| {
            let shift = if i.is_multiple_of(2) { 0.05 } else { -0.05 };
            let (near, far) = (near + 2.0 * shift, far + shift);
            let mut v = [far, far, 0.0];
            v[own] = near;
            v[2] = (1.0 - v[0] * v[0] - v[1] * v[1]).sqrt();
            v
        };
        let tokens: Vec<f32> = (0..2).flat_map(|text| (0..100).flat_map(move |i| token(i, text))).collect();
        (
            Tokens { vectors: images, present: all(2, 1) },
            Tokens { vectors: Tensor::from_slice(&tokens).view([2, 100, 3]), present: all(2, 100) },
        )
    }

    #[test]
    fn it_is_updated_after_enough_tokens_and_counts_anew() {
        let vs = nn::VarStore::new(Device::Cpu);
        let mut boundary = Boundary::new(&vs.root(), 0.1, true);
        let (image, text) = batch(0.6, 0.2);
        let own = Tensor::from_slice(&[0i64, 1]);
        let same = Tensor::zeros([2, 2], (Kind::Bool, Device::Cpu));
        let similarity = Tensor::from_slice(&[0.9f32, 0.1, 0.2, 0.8]).view([2, 2]);
        // The second text's own image is not its most similar one: only the first text's 100 tokens count.
        let confused = Tensor::from_slice(&[0.9f32, 0.7, 0.2, 0.3]).view([2, 2]);
        boundary.update(&image, &text, &confused, &own, &same);
        assert!((number(boundary.value()) - 0.1).abs() < 1e-7);
        assert_eq!(number(&vs.variables()["seen"]), 100.0);
        // Without mismatched pairs nothing is counted.
        boundary.update(&image, &text, &similarity, &own, &same.ones_like());
        assert_eq!(number(&vs.variables()["seen"]), 100.0);
        boundary.update(&image, &text, &similarity, &own, &same);
        // Means 0.6 and 0.2, deviations 0.1 and 0.05.
        let estimate = number(&intersection(&pair([0.6, 0.2]), &pair([0.01, 0.0025])));
        assert!(
            (number(boundary.value()) - (0.7 * estimate + 0.3 * 0.1)).abs() < 1e-3,
            "{} of {estimate}",
            number(boundary.value())
        );
        assert_eq!(number(&vs.variables()["seen"]), 0.0);
    }

    #[test]
    fn a_fixed_boundary_is_neither_updated_nor_stored() {
        let vs = nn::VarStore::new(Device::Cpu);
        let mut boundary = Boundary::new(&vs.root(), 0.25, false);
        let (image, text) = batch(0.6, 0.2);
        let similarity = Tensor::from_slice(&[0.9f32, 0.1, 0.2, 0.8]).view([2, 2]);
        let same = Tensor::zeros([2, 2], (Kind::Bool, Device::Cpu));
        for _ in 0..3 {
            boundary.update(&image, &text, &similarity, &Tensor::from_slice(&[0i64, 1]), &same);
        }
        assert_eq!(number(boundary.value()), 0.25);
        assert!(vs.variables().is_empty());
    }
}
