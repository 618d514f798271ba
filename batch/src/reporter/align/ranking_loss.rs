//! Ranking loss of image-text matching: a pair must be more similar than every mismatch of its image and of its text by a margin.
//! The margin is smaller between similar reports; equal reports are no mismatches of each other.

use tch::{Kind, Tensor};

use crate::reporter::align::negative_aware::unit;

/// Cost of pairs that are no mismatch; below every margin.
const IGNORED: f64 = -1e9;

/// Which mismatches the loss uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negatives {
    /// The mean over all; easier at the start of training.
    All,
    /// The hardest one of each image and of each text.
    Hardest,
}

/// Mismatched pairs of a batch and their margins.
#[derive(Debug)]
pub struct Pairs {
    /// Boolean `[B, B]`.
    pub mismatched: Tensor,
    /// f32 `[B, B]`, symmetric.
    pub margin: Tensor,
}

impl Pairs {
    /// From the mean vectors of the texts, `[B, D]`, without gradient. `same`: boolean `[B, B]`, pairs of equal texts; texts with a
    /// cosine similarity above `same_report` count as equal too. The batch mean is subtracted first: an untrained encoder gives
    /// nearly the same vector for all texts, which would leave no mismatch.
    pub fn new(texts: &Tensor, same: &Tensor, margin: f64, margin_ratio: f64, same_report: f64) -> Self {
        let texts = texts.detach();
        let texts = unit(&(&texts - texts.mean_dim([0i64].as_slice(), true, Kind::Float)));
        let similarity = texts.matmul(&texts.tr());
        let eye = Tensor::eye(similarity.size()[0], (Kind::Float, similarity.device())).to_kind(Kind::Bool);
        let equal = same.logical_or(&similarity.gt(same_report)).logical_or(&eye);
        Self { mismatched: equal.logical_not(), margin: (-similarity + 1.0).clamp(margin_ratio, 1.0) * margin }
    }
}

/// The loss of a similarity matrix `[B, B]` (images by texts) whose diagonal holds the pairs: a scalar, mean over pairs or their sum.
pub fn ranking_loss(scores: &Tensor, pairs: &Pairs, negatives: Negatives, sum: bool) -> Tensor {
    let own = scores.diagonal(0, 0, 1);
    let of_images = &pairs.margin + scores - own.unsqueeze(1);
    let of_texts = &pairs.margin + scores.tr() - own.unsqueeze(1);
    let violated = |cost: Tensor| match negatives {
        Negatives::All => {
            let counted = pairs.mismatched.to_kind(Kind::Float);
            let count = counted.sum_dim_intlist([1i64].as_slice(), false, Kind::Float).clamp_min(1.0);
            (cost.relu() * counted).sum_dim_intlist([1i64].as_slice(), false, Kind::Float) / count
        }
        Negatives::Hardest => {
            cost.masked_fill(&pairs.mismatched.logical_not(), IGNORED).amax([1i64].as_slice(), false).relu()
        }
    };
    let total = violated(of_images) + violated(of_texts);
    if sum { total.sum(Kind::Float) } else { total.mean(Kind::Float) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(mismatched: &[bool], margin: f32, count: i64) -> Pairs {
        Pairs {
            mismatched: Tensor::from_slice(mismatched).view([count, count]),
            margin: Tensor::full([count, count], f64::from(margin), (Kind::Float, tch::Device::Cpu)),
        }
    }

    fn number(t: &Tensor) -> f64 {
        f64::try_from(t).unwrap()
    }

    #[test]
    fn only_violations_of_the_margin_have_a_loss() {
        let scores = Tensor::from_slice(&[0.9f32, 0.8, 0.0, 0.1, 0.5, 0.4, 0.0, 0.0, 1.0]).view([3, 3]);
        let all = [false, true, true, true, false, true, true, true, false];
        // Image 0: text 1 violates by 0.1. Image 1: text 2 by 0.1. Text 1: image 0 by 0.5. Text 0, text 2: none.
        let hardest = ranking_loss(&scores, &pairs(&all, 0.2, 3), Negatives::Hardest, true);
        assert!((number(&hardest) - 0.7).abs() < 1e-6, "{hardest:?}");
        let mean = ranking_loss(&scores, &pairs(&all, 0.2, 3), Negatives::All, false);
        assert!((number(&mean) - 0.7 / 2.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn a_common_component_does_not_make_texts_equal() {
        let texts = Tensor::from_slice(&[5f32, 0.1, 0.0, 5.0, 0.0, 0.1, 5.0, -0.1, -0.1]).view([3, 3]);
        let none = Tensor::zeros([3, 3], (Kind::Bool, tch::Device::Cpu));
        let batch = Pairs::new(&texts, &none, 0.2, 0.1, 0.95);
        let mismatched = Vec::<bool>::try_from(batch.mismatched.reshape([-1])).unwrap();
        assert_eq!(mismatched, [false, true, true, true, false, true, true, true, false]);
    }

    #[test]
    fn equal_reports_are_no_mismatches() {
        let texts = Tensor::from_slice(&[1f32, 0.0, 1.0, 0.01, 0.0, 1.0]).view([3, 2]);
        let none = Tensor::zeros([3, 3], (Kind::Bool, tch::Device::Cpu));
        let batch = Pairs::new(&texts, &none, 0.2, 0.1, 0.95);
        let mismatched = Vec::<bool>::try_from(batch.mismatched.reshape([-1])).unwrap();
        assert_eq!(mismatched, [false, false, true, false, false, true, true, true, false]);
        assert!((batch.margin.double_value(&[0, 2]) - 0.2).abs() < 1e-6);
        assert!((batch.margin.double_value(&[0, 1]) - 0.02).abs() < 1e-6, "similar reports keep a tenth of the margin");
        // A batch of equal reports has no mismatch and no loss.
        let scores = Tensor::from_slice(&[0.1f32, 0.9, 0.9, 0.1]).view([2, 2]);
        let same = Tensor::ones([2, 2], (Kind::Bool, tch::Device::Cpu));
        let twins = Pairs::new(&texts.narrow(0, 0, 2), &same, 0.2, 0.1, 0.95);
        for negatives in [Negatives::All, Negatives::Hardest] {
            assert_eq!(number(&ranking_loss(&scores, &twins, negatives, false)), 0.0);
        }
    }
}
