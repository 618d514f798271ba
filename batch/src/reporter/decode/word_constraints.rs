//! What may be written next: nothing that is banned, no n-gram twice, no end before the shortest length.

use tch::{Kind, Tensor};

use crate::reporter::decode::decode_options::DecodeOptions;
use crate::reporter::model::encoder_decoder::BOUNDARY;

/// `log_probs` `[B, K, words]` with forbidden words at minus infinity. `written`: i64 `[B, K, n]`.
/// Where a rule leaves nothing to write, the report may end.
pub fn constrained(log_probs: &Tensor, written: &Tensor, options: &DecodeOptions) -> Tensor {
    let length = written.size()[2];
    let mut allowed = log_probs.shallow_clone();
    for phrase in &options.banned {
        allowed = without_phrase(&allowed, written, phrase);
    }
    let n = options.block_ngram as i64;
    if n > 0 && length >= n {
        let end = index_of(BOUNDARY, log_probs);
        let repeated = ngram_counts(written, n, log_probs).index_fill(2, &end, 0.0).gt(0.0);
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

fn index_of(word: i64, like: &Tensor) -> Tensor {
    Tensor::from_slice(&[word]).to_device(like.device())
}

/// Forbids the last word of `phrase` after its other words.
fn without_phrase(log_probs: &Tensor, written: &Tensor, phrase: &[i64]) -> Tensor {
    let Some((&last, before)) = phrase.split_last() else { return log_probs.shallow_clone() };
    let barred = log_probs.index_fill(2, &index_of(last, log_probs), f64::NEG_INFINITY);
    let (length, wanted) = (written.size()[2], before.len() as i64);
    if wanted == 0 {
        return barred;
    }
    if length < wanted {
        return log_probs.shallow_clone();
    }
    let tail = written.narrow(2, length - wanted, wanted);
    let follows = tail.eq_tensor(&Tensor::from_slice(before).to_device(written.device())).all_dim(2, true);
    barred.where_self(&follows, log_probs)
}

/// How often each word has completed, earlier in the report, the n-gram that the last `n - 1` words begin: shaped as
/// `log_probs` `[B, K, words]`. `written`: i64 `[B, K, length]`, `length >= n`.
pub fn ngram_counts(written: &Tensor, n: i64, log_probs: &Tensor) -> Tensor {
    let length = written.size()[2];
    let grams = written.unfold(2, n, 1);
    let tail = written.narrow(2, length - (n - 1), n - 1).unsqueeze(2);
    let same = grams.narrow(3, 0, n - 1).eq_tensor(&tail).all_dim(3, false);
    log_probs.zeros_like().scatter_add(2, &grams.select(3, n - 1), &same.to_kind(log_probs.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn open(log_probs: &Tensor, written: &[i64], options: &DecodeOptions) -> Vec<usize> {
        let written = Tensor::from_slice(written).view([1, 1, written.len() as i64]);
        let allowed = Vec::<f32>::try_from(constrained(log_probs, &written, options).reshape([-1])).unwrap();
        (0..allowed.len()).filter(|&w| allowed[w].is_finite()).collect()
    }

    fn even(words: i64) -> Tensor {
        Tensor::full([1, 1, words], -1.0, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn a_phrase_is_barred_at_its_last_word_only() {
        let plain = DecodeOptions::beam(1, 9);
        let options = DecodeOptions { banned: vec![vec![4], vec![2, 3, 1], vec![]], ..plain };
        assert_eq!(open(&even(5), &[], &options), [0, 1, 2, 3]);
        assert_eq!(open(&even(5), &[2, 3], &options), [0, 2, 3]);
        assert_eq!(open(&even(5), &[3, 2], &options), [0, 1, 2, 3]);
        assert_eq!(open(&even(5), &[3], &options), [0, 1, 2, 3]);
    }

    #[test]
    fn the_end_comes_after_the_shortest_length_and_when_nothing_else_is_left() {
        let options = DecodeOptions { min_words: 3, ..DecodeOptions::beam(1, 9) };
        assert_eq!(open(&even(3), &[1, 1], &options), [1, 2]);
        assert_eq!(open(&even(3), &[1, 1, 1], &options), [0, 1, 2]);
        let stuck = DecodeOptions { block_ngram: 1, ..options };
        assert_eq!(open(&even(3), &[1, 2], &stuck), [0]);
    }

    #[test]
    fn repeats_of_an_ngram_are_counted() {
        let written = Tensor::from_slice(&[1i64, 2, 3, 1, 2, 3, 1, 2]).view([1, 1, 8]);
        let counts = ngram_counts(&written, 3, &even(5));
        assert_eq!(Vec::<f32>::try_from(counts.reshape([-1])).unwrap(), [0.0, 0.0, 0.0, 2.0, 0.0]);
    }
}
