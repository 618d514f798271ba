//! What a word counts in the word loss: words that name a side may count more than others. They are a thirtieth of a report's words and the
//! ones that matter most, and the loss of a model that takes sides at random is hardly larger than that of one that knows them.

use d2r_contracts::report_text::{Lateralities, lateralities};
use d2r_contracts::vocabulary::Vocabulary;
use tch::{Device, Tensor};

use crate::error::{Error, Result};

/// A weight for each word of the vocabulary; none where all count the same.
#[derive(Debug)]
pub struct WordWeights(Option<Tensor>);

impl WordWeights {
    /// Words that name a side count `laterality_weight`, others 1.
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
        // The boundary has no word.
        let weights: Vec<f32> = std::iter::once(1.0).chain(vocabulary.words().iter().map(weight)).collect();
        Ok(Self(Some(Tensor::f_from_slice(&weights)?.f_to_device(device)?)))
    }

    /// The weight of each word that is written; `kept`: f32 `[B, T]`, 1 where there is one; `ids`: i64 `[B, T + 1]`.
    pub fn of(&self, kept: Tensor, ids: &Tensor) -> Tensor {
        match &self.0 {
            None => kept,
            Some(weights) => {
                let next = ids.narrow(1, 1, kept.size()[1]).reshape([-1]);
                weights.index_select(0, &next).view_as(&kept) * kept
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn words_that_name_a_side_count_more() {
        let vocabulary = Vocabulary::build(["small left effusion , bilateral nodules ."].into_iter(), 1);
        let ids = vocabulary.encode("small left nodules , bilateral effusion .", 20);
        let (length, kept) = (ids.len() as i64, Tensor::ones([1, ids.len() as i64 - 1], (Kind::Float, Device::Cpu)));
        let _ = kept.narrow(1, length - 2, 1).fill_(0.0);
        let ids = Tensor::from_slice(&ids).view([1, length]);
        let of = |weight: f64| {
            let weights = WordWeights::new(&vocabulary, weight, Device::Cpu).unwrap().of(kept.copy(), &ids);
            Vec::<f32>::try_from(weights.view([-1])).unwrap()
        };
        assert_eq!(of(4.0)[..5], [1.0, 4.0, 1.0, 1.0, 4.0]);
        assert_eq!(of(4.0).last(), Some(&0.0), "padding counts nothing");
        assert_eq!(of(1.0)[..5], [1.0; 5]);
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = WordWeights::new(&vocabulary, weight, Device::Cpu).unwrap_err();
            assert_eq!(refused.exit().code(), 78, "{weight}");
        }
    }
}
