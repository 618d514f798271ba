//! Per-token loss weights: laterality tokens are rare (about 1 in 30) and important, so they can have a larger
//! weight. With equal weights the loss hardly changes when a model writes them at random.

use d2r_contracts::report_text::{Lateralities, lateralities};
use d2r_contracts::vocabulary::Vocabulary;
use tch::{Device, Tensor};

use crate::error::{Error, Result};

/// f32 `[V]`: a weight for each token id; `None` when all are 1.
#[derive(Debug)]
pub struct TokenWeights(Option<Tensor>);

impl TokenWeights {
    /// Laterality tokens have weight `laterality_weight`, others 1.
    ///
    /// # Errors
    /// [`Error::Config`] for a weight that is not above 0.
    pub fn new(vocabulary: &Vocabulary, laterality_weight: f64, device: Device) -> Result<Self> {
        if !(laterality_weight > 0.0 && laterality_weight.is_finite()) {
            let problem = format!("{laterality_weight} is not a number above 0");
            return Err(Error::Config { place: "report.train.laterality_weight".into(), problem });
        }
        if laterality_weight == 1.0 {
            return Ok(Self(None));
        }
        let weight =
            |word: &String| if lateralities(word) == Lateralities::default() { 1.0 } else { laterality_weight as f32 };
        // The boundary has id 0 and no word.
        let weights: Vec<f32> = std::iter::once(1.0).chain(vocabulary.words().iter().map(weight)).collect();
        Ok(Self(Some(Tensor::f_from_slice(&weights)?.f_to_device(device)?)))
    }

    /// Multiplies `mask` (f32 `[B, T]`, 1 for target tokens) by the weights of the tokens `ids[.., 1..]` (i64 `[B, T
    /// + 1]`).
    pub fn apply(&self, mask: Tensor, ids: &Tensor) -> Tensor {
        match &self.0 {
            None => mask,
            Some(weights) => {
                let next = ids.narrow(1, 1, mask.size()[1]).reshape([-1]);
                weights.index_select(0, &next).view_as(&mask) * mask
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn laterality_tokens_have_a_larger_weight() {
        let vocabulary = Vocabulary::build(["small left effusion , bilateral nodules ."].into_iter(), 1);
        let ids = vocabulary.encode("small left nodules , bilateral effusion .", 20);
        let (length, mask) = (ids.len() as i64, Tensor::ones([1, ids.len() as i64 - 1], (Kind::Float, Device::Cpu)));
        let _ = mask.narrow(1, length - 2, 1).fill_(0.0);
        let ids = Tensor::from_slice(&ids).view([1, length]);
        let of = |weight: f64| {
            let weights = TokenWeights::new(&vocabulary, weight, Device::Cpu).unwrap().apply(mask.copy(), &ids);
            Vec::<f32>::try_from(weights.view([-1])).unwrap()
        };
        assert_eq!(of(4.0)[..5], [1.0, 4.0, 1.0, 1.0, 4.0]);
        assert_eq!(of(4.0).last(), Some(&0.0), "padding has weight 0");
        assert_eq!(of(1.0)[..5], [1.0; 5]);
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = TokenWeights::new(&vocabulary, weight, Device::Cpu).unwrap_err();
            assert_eq!(refused.exit().code(), 78, "{weight}");
        }
    }
}
