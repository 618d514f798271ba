//! Greedy decoding and sampling (top-k, nucleus). A sample is a function of (seed, image, report, step) alone, whatever else is in
//! the batch.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use crate::error::Result;
use crate::reporter::decode::finished_reports::{Hypothesis, not_finite};
use crate::reporter::decode::generation_options::{GenerationOptions, Method, Sampling};
use crate::reporter::decode::incremental_decoder::{IncrementalDecoder, check_interval};
use crate::reporter::decode::token_constraints::{constrained, ngram_counts};
use crate::reporter::model::encoder_decoder::BOUNDARY;

/// Length of the n-grams that the trigram penalty counts.
const TRIGRAM: i64 = 3;
/// ln 2, to R2Gen's three digits.
const LN_2: f64 = 0.693;

/// Writes `options.reports` reports per image, in the order of their numbers. `keys`: one number per image; with the seed it
/// determines the image's samples.
///
/// # Errors
/// [`crate::error::Error::BadData`] when the model's output is not finite.
pub fn write_token_by_token(
    mut decoder: impl IncrementalDecoder,
    options: &GenerationOptions,
    keys: &[u64],
) -> Result<Vec<Vec<Hypothesis>>> {
    let _no_grad = tch::no_grad_guard();
    let (images, per_image) = (decoder.images(), options.reports as i64);
    let (rows, device) = (images * per_image, decoder.device());
    let mut generators = generators(options, keys);
    decoder.select_rows(&Tensor::arange(images, (Kind::Int64, device)).repeat_interleave_self_int(per_image, 0, None));
    let mut tokens = Tensor::full([rows], BOUNDARY, (Kind::Int64, device));
    let mut prefix = Tensor::zeros([rows, 0], (Kind::Int64, device));
    let mut log_probs = Tensor::zeros([rows, 0], (Kind::Float, device));
    let mut ended = Tensor::zeros([rows], (Kind::Bool, device));
    let check_interval = check_interval(device);
    for t in 0..options.max_words as i64 {
        let next = decoder.step(&tokens);
        let scores = constrained_scores(&next, &prefix, options);
        tokens = match options.method {
            Method::Sample(sampling) => sample(&scores, sampling, options.temperature, &mut generators),
            Method::Beam | Method::Greedy => scores.argmax(1, false),
        };
        tokens = tokens.masked_fill(&ended, BOUNDARY);
        let log_prob = next.gather(1, &tokens.unsqueeze(1), false).masked_fill(&ended.unsqueeze(1), 0.0);
        prefix = Tensor::cat(&[&prefix, &tokens.unsqueeze(1)], 1);
        log_probs = Tensor::cat(&[&log_probs, &log_prob], 1);
        ended = ended.logical_or(&tokens.eq(BOUNDARY));
        if (t + 1) % check_interval == 0 && i64::try_from(ended.all())? == 1 {
            break;
        }
    }
    collect(&prefix, &log_probs, per_image as usize)
}

/// Log-probabilities `[rows, V]` after constraints and trigram penalty. `prefix`: i64 `[rows, n]`.
fn constrained_scores(log_probs: &Tensor, prefix: &Tensor, options: &GenerationOptions) -> Tensor {
    let (log_probs, prefix) = (log_probs.unsqueeze(1), prefix.unsqueeze(1));
    let mut scores = constrained(&log_probs, &prefix, options);
    if options.trigram_penalty > 0.0 && prefix.size()[2] >= TRIGRAM {
        scores = scores - ngram_counts(&prefix, TRIGRAM, &log_probs) * (LN_2 * options.trigram_penalty);
    }
    scores.squeeze_dim(1)
}

/// One random generator per row.
fn generators(options: &GenerationOptions, keys: &[u64]) -> Vec<ChaCha8Rng> {
    let Method::Sample(Sampling { seed, .. }) = options.method else { return Vec::new() };
    let generator = |image: u64, report: u64| {
        let mut key = [0u8; 32];
        for (slot, value) in key.chunks_exact_mut(8).zip([seed, image, report, u64::from_le_bytes(*b"sampling")]) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    };
    keys.iter().flat_map(|&image| (0..options.reports as u64).map(move |report| generator(image, report))).collect()
}

/// One token per row, i64 `[rows]`.
fn sample(log_probs: &Tensor, sampling: Sampling, temperature: f64, generators: &mut [ChaCha8Rng]) -> Tensor {
    let numbers: Vec<f64> = generators.iter_mut().map(|rng| rng.random::<f64>()).collect();
    let numbers = Tensor::from_slice(&numbers).to_device(log_probs.device());
    sample_at(&(log_probs / temperature), sampling, &numbers)
}

/// Inverse transform sampling: the first token at which the cumulative probability exceeds `numbers`, f64 `[rows]` in [0, 1).
/// Does not synchronise with the device: log-probabilities that are not finite give the end with such a log-probability, which
/// [`collect`] reports as an error.
fn sample_at(log_probs: &Tensor, sampling: Sampling, numbers: &Tensor) -> Tensor {
    let probs = filtered(&log_probs.to_kind(Kind::Double), sampling).softmax(-1, Kind::Double);
    let cumulative = probs.cumsum(1, Kind::Double);
    let total = cumulative.narrow(1, cumulative.size()[1] - 1, 1);
    // A token of probability 0 is never the first to exceed a number.
    let passed = cumulative.le_tensor(&(numbers.unsqueeze(1) * total));
    passed.to_kind(Kind::Int64).sum_dim_intlist([1i64].as_slice(), false, Kind::Int64)
}

/// Tokens outside top-k or nucleus at minus infinity.
fn filtered(log_probs: &Tensor, sampling: Sampling) -> Tensor {
    let vocabulary = log_probs.size()[1];
    let (sorted, order) = log_probs.sort(1, true);
    let rank = Tensor::arange(vocabulary, (Kind::Int64, log_probs.device())).unsqueeze(0);
    let mut dropped = Tensor::zeros([1, vocabulary], (Kind::Bool, log_probs.device()));
    if sampling.top_k > 0 {
        dropped = dropped.logical_or(&rank.ge(sampling.top_k as i64));
    }
    if sampling.top_p < 1.0 {
        // A token stays when the more likely ones together do not reach top-p; the first always stays.
        let probs = sorted.softmax(1, Kind::Double);
        let before = probs.cumsum(1, Kind::Double) - &probs;
        dropped = dropped.logical_or(&before.ge(sampling.top_p).logical_and(&rank.gt(0)));
    }
    log_probs.scatter(1, &order, &sorted.masked_fill(&dropped, f64::NEG_INFINITY))
}

fn collect(prefix: &Tensor, log_probs: &Tensor, per_image: usize) -> Result<Vec<Vec<Hypothesis>>> {
    let longest = prefix.size()[1] as usize;
    let tokens = Vec::<i64>::try_from(prefix.contiguous().reshape([-1]))?;
    let log_probs = Vec::<f32>::try_from(log_probs.contiguous().reshape([-1]))?;
    let rows = tokens.len().checked_div(longest).unwrap_or(0);
    let one = |row: usize| -> Result<Hypothesis> {
        let span = row * longest..(row + 1) * longest;
        let (tokens, log_probs) = (&tokens[span.clone()], &log_probs[span]);
        let length = tokens.iter().position(|id| *id == BOUNDARY).unwrap_or(longest);
        let ended = length < longest;
        let sum: f32 = log_probs[..longest.min(length + 1)].iter().sum();
        if !sum.is_finite() {
            return Err(not_finite("a report's log-probability"));
        }
        Ok(Hypothesis { tokens: tokens[..length].to_vec(), log_probs: log_probs[..length].to_vec(), sum, ended })
    };
    let all = (0..rows).map(one).collect::<Result<Vec<_>>>()?;
    Ok(all.chunks(per_image).map(<[Hypothesis]>::to_vec).collect())
}

#[cfg(test)]
mod tests;
