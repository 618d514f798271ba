//! One report after the other word: the likeliest each time, or words drawn by their probabilities. Draws are a function of
//! (seed, image, report, place) alone, whatever else stands in the batch.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::reporter::decode::beam_search::ASK_EVERY;
use crate::reporter::decode::decode_options::{DecodeOptions, Method, Sampling};
use crate::reporter::decode::finished_reports::{Hypothesis, not_finite};
use crate::reporter::decode::word_constraints::{constrained, ngram_counts};
use crate::reporter::model::encoder_decoder::{BOUNDARY, DecodeState, EncoderDecoder};

/// Length of the sequences that are made less likely once they have been written.
const TRIGRAM: i64 = 3;
/// The published logarithm of a half.
const HALVED: f64 = 0.693;

/// Writes `options.reports` reports per image, in the order of their numbers. `state`: where `model` began; `keys`: one number per
/// image, which with the seed decides its draws.
///
/// # Errors
/// [`crate::error::Error::BadData`] when the model's output is not finite.
pub fn write_word_by_word(
    model: &EncoderDecoder,
    mut state: DecodeState,
    options: &DecodeOptions,
    keys: &[u64],
) -> Result<Vec<Vec<Hypothesis>>> {
    let _no_grad = tch::no_grad_guard();
    let (images, each) = (state.images(), options.reports as i64);
    let (rows, device) = (images * each, model.device());
    let mut draws = draws(options, keys);
    state.select_rows(&Tensor::arange(images, (Kind::Int64, device)).repeat_interleave_self_int(each, 0, None));
    let mut words = Tensor::full([rows], BOUNDARY, (Kind::Int64, device));
    let mut written = Tensor::zeros([rows, 0], (Kind::Int64, device));
    let mut log_probs = Tensor::zeros([rows, 0], (Kind::Float, device));
    let mut ended = Tensor::zeros([rows], (Kind::Bool, device));
    for t in 0..options.max_words as i64 {
        let said = model.step(&mut state, &words);
        let choice = preferred(&said, &written, options);
        words = match options.method {
            Method::Sample(sampling) => draw(&choice, sampling, options.temperature, &mut draws),
            Method::Beam | Method::Greedy => choice.argmax(1, false),
        };
        words = words.masked_fill(&ended, BOUNDARY);
        let log_prob = said.gather(1, &words.unsqueeze(1), false).masked_fill(&ended.unsqueeze(1), 0.0);
        written = Tensor::cat(&[&written, &words.unsqueeze(1)], 1);
        log_probs = Tensor::cat(&[&log_probs, &log_prob], 1);
        ended = ended.logical_or(&words.eq(BOUNDARY));
        let ask = device == Device::Cpu || (t + 1) % ASK_EVERY == 0;
        if ask && i64::try_from(ended.all())? == 1 {
            break;
        }
    }
    collect(&written, &log_probs, each as usize)
}

/// Log-probabilities `[rows, words]` under the rules; `written`: i64 `[rows, n]`.
fn preferred(log_probs: &Tensor, written: &Tensor, options: &DecodeOptions) -> Tensor {
    let (log_probs, written) = (log_probs.unsqueeze(1), written.unsqueeze(1));
    let mut choice = constrained(&log_probs, &written, options);
    if options.trigram_penalty > 0.0 && written.size()[2] >= TRIGRAM {
        choice = choice - ngram_counts(&written, TRIGRAM, &log_probs) * (HALVED * options.trigram_penalty);
    }
    choice.squeeze_dim(1)
}

/// One stream of numbers per row.
fn draws(options: &DecodeOptions, keys: &[u64]) -> Vec<ChaCha8Rng> {
    let Method::Sample(Sampling { seed, .. }) = options.method else { return Vec::new() };
    let stream = |image: u64, report: u64| {
        let mut key = [0u8; 32];
        for (slot, value) in key.chunks_exact_mut(8).zip([seed, image, report, u64::from_le_bytes(*b"sampling")]) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    };
    keys.iter().flat_map(|&image| (0..options.reports as u64).map(move |report| stream(image, report))).collect()
}

/// One word per row, i64 `[rows]`.
fn draw(log_probs: &Tensor, sampling: Sampling, temperature: f64, draws: &mut [ChaCha8Rng]) -> Tensor {
    let numbers: Vec<f64> = draws.iter_mut().map(|rng| rng.random::<f64>()).collect();
    let numbers = Tensor::from_slice(&numbers).to_device(log_probs.device());
    pick(&(log_probs / temperature), sampling, &numbers)
}

/// The word at which the summed probabilities of the words that may be drawn pass each number; `numbers`: f64 `[rows]` in [0, 1).
/// Nothing is read back: what is not finite draws the end with a log-probability that is not finite, which [`collect`] refuses.
fn pick(log_probs: &Tensor, sampling: Sampling, numbers: &Tensor) -> Tensor {
    let probs = kept(&log_probs.to_kind(Kind::Double), sampling).softmax(-1, Kind::Double);
    let summed = probs.cumsum(1, Kind::Double);
    let whole = summed.narrow(1, summed.size()[1] - 1, 1);
    // A word of probability 0 is never where the sum first exceeds a number.
    let passed = summed.le_tensor(&(numbers.unsqueeze(1) * whole));
    passed.to_kind(Kind::Int64).sum_dim_intlist([1i64].as_slice(), false, Kind::Int64)
}

/// Words that are not among the likeliest at minus infinity.
fn kept(log_probs: &Tensor, sampling: Sampling) -> Tensor {
    let words = log_probs.size()[1];
    let (sorted, order) = log_probs.sort(1, true);
    let rank = Tensor::arange(words, (Kind::Int64, log_probs.device())).unsqueeze(0);
    let mut dropped = Tensor::zeros([1, words], (Kind::Bool, log_probs.device()));
    if sampling.top_k > 0 {
        dropped = dropped.logical_or(&rank.ge(sampling.top_k as i64));
    }
    if sampling.top_p < 1.0 {
        // A word stays when the likelier ones together do not reach the share yet; the first always does.
        let probs = sorted.softmax(1, Kind::Double);
        let likelier = probs.cumsum(1, Kind::Double) - &probs;
        dropped = dropped.logical_or(&likelier.ge(sampling.top_p).logical_and(&rank.gt(0)));
    }
    log_probs.scatter(1, &order, &sorted.masked_fill(&dropped, f64::NEG_INFINITY))
}

fn collect(written: &Tensor, log_probs: &Tensor, each: usize) -> Result<Vec<Vec<Hypothesis>>> {
    let longest = written.size()[1] as usize;
    let words = Vec::<i64>::try_from(written.contiguous().reshape([-1]))?;
    let log_probs = Vec::<f32>::try_from(log_probs.contiguous().reshape([-1]))?;
    let rows = words.len().checked_div(longest).unwrap_or(0);
    let one = |row: usize| -> Result<Hypothesis> {
        let span = row * longest..(row + 1) * longest;
        let (words, probs) = (&words[span.clone()], &log_probs[span]);
        let length = words.iter().position(|w| *w == BOUNDARY).unwrap_or(longest);
        let ended = length < longest;
        let sum: f32 = probs[..longest.min(length + 1)].iter().sum();
        if !sum.is_finite() {
            return Err(not_finite("a report's log-probability"));
        }
        Ok(Hypothesis { words: words[..length].to_vec(), log_probs: probs[..length].to_vec(), sum, ended })
    };
    let all = (0..rows).map(one).collect::<Result<Vec<_>>>()?;
    Ok(all.chunks(each).map(<[Hypothesis]>::to_vec).collect())
}

#[cfg(test)]
mod tests;
