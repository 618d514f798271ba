//! Constraints on the next token: banned phrases, no repeated n-grams, no end before the shortest length.

use tch::{Kind, Tensor};

use crate::reporter::decode::generation_options::GenerationOptions;
use crate::reporter::model::encoder_decoder::BOUNDARY;

/// `log_probs` `[B, K, V]` with forbidden tokens at minus infinity. `prefix`: i64 `[B, K, n]`.
/// Where the constraints forbid every token, the report may end.
pub fn constrained(log_probs: &Tensor, prefix: &Tensor, options: &GenerationOptions) -> Tensor {
    let length = prefix.size()[2];
    let mut allowed = log_probs.shallow_clone();
    for phrase in &options.banned {
        allowed = without_phrase(&allowed, prefix, phrase);
    }
    let n = options.block_ngram as i64;
    if n > 0 && length >= n {
        let end = index_of(BOUNDARY, log_probs);
        let repeated = ngram_counts(prefix, n, log_probs).index_fill(2, &end, 0.0).gt(0.0);
        allowed = allowed.masked_fill(&repeated, f64::NEG_INFINITY);
    }
    if length < options.min_words as i64 {
        allowed = allowed.index_fill(2, &index_of(BOUNDARY, log_probs), f64::NEG_INFINITY);
        let stuck = allowed.amax([2i64].as_slice(), true).eq(f64::NEG_INFINITY);
        let ending = Tensor::arange(log_probs.size()[2], (Kind::Int64, log_probs.device())).eq(BOUNDARY);
        allowed = log_probs.where_self(&stuck.logical_and(&ending), &allowed);
    }
    allowed
}

fn index_of(token: i64, like: &Tensor) -> Tensor {
    Tensor::from_slice(&[token]).to_device(like.device())
}

/// Forbids the last token of `phrase` after its other tokens.
fn without_phrase(log_probs: &Tensor, prefix: &Tensor, phrase: &[i64]) -> Tensor {
    let Some((&last, before)) = phrase.split_last() else { return log_probs.shallow_clone() };
    let forbidden = log_probs.index_fill(2, &index_of(last, log_probs), f64::NEG_INFINITY);
    let (length, needed) = (prefix.size()[2], before.len() as i64);
    if needed == 0 {
        return forbidden;
    }
    if length < needed {
        return log_probs.shallow_clone();
    }
    let tail = prefix.narrow(2, length - needed, needed);
    let follows = tail.eq_tensor(&Tensor::from_slice(before).to_device(prefix.device())).all_dim(2, true);
    forbidden.where_self(&follows, log_probs)
}

/// For each token, how often the n-gram of the last `n - 1` tokens and this token already occurs: shaped as `log_probs`
/// `[B, K, V]`. `prefix`: i64 `[B, K, length]`, `length >= n`.
pub fn ngram_counts(prefix: &Tensor, n: i64, log_probs: &Tensor) -> Tensor {
    let length = prefix.size()[2];
    let ngrams = prefix.unfold(2, n, 1);
    let tail = prefix.narrow(2, length - (n - 1), n - 1).unsqueeze(2);
    let same = ngrams.narrow(3, 0, n - 1).eq_tensor(&tail).all_dim(3, false);
    log_probs.zeros_like().scatter_add(2, &ngrams.select(3, n - 1), &same.to_kind(log_probs.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn allowed(log_probs: &Tensor, prefix: &[i64], options: &GenerationOptions) -> Vec<usize> {
        let prefix = Tensor::from_slice(prefix).view([1, 1, prefix.len() as i64]);
        let log_probs = Vec::<f32>::try_from(constrained(log_probs, &prefix, options).reshape([-1])).unwrap();
        (0..log_probs.len()).filter(|&id| log_probs[id].is_finite()).collect()
    }

    fn uniform(vocabulary: i64) -> Tensor {
        Tensor::full([1, 1, vocabulary], -1.0, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn a_phrase_is_forbidden_at_its_last_token_only() {
        let plain = GenerationOptions::beam(1, 9);
        let options = GenerationOptions { banned: vec![vec![4], vec![2, 3, 1], vec![]], ..plain };
        assert_eq!(allowed(&uniform(5), &[], &options), [0, 1, 2, 3]);
        assert_eq!(allowed(&uniform(5), &[2, 3], &options), [0, 2, 3]);
        assert_eq!(allowed(&uniform(5), &[3, 2], &options), [0, 1, 2, 3]);
        assert_eq!(allowed(&uniform(5), &[3], &options), [0, 1, 2, 3]);
    }

    #[test]
    fn the_end_is_allowed_after_the_shortest_length_and_when_nothing_else_is() {
        let options = GenerationOptions { min_words: 3, ..GenerationOptions::beam(1, 9) };
        assert_eq!(allowed(&uniform(3), &[1, 1], &options), [1, 2]);
        assert_eq!(allowed(&uniform(3), &[1, 1, 1], &options), [0, 1, 2]);
        let stuck = GenerationOptions { block_ngram: 1, ..options };
        assert_eq!(allowed(&uniform(3), &[1, 2], &stuck), [0]);
    }

    #[test]
    fn repeats_of_an_ngram_are_counted() {
        let prefix = Tensor::from_slice(&[1i64, 2, 3, 1, 2, 3, 1, 2]).view([1, 1, 8]);
        let counts = ngram_counts(&prefix, 3, &uniform(5));
        assert_eq!(Vec::<f32>::try_from(counts.reshape([-1])).unwrap(), [0.0, 0.0, 0.0, 2.0, 0.0]);
    }
}
