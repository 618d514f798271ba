//! Beam search over a batch of images, on the device; beam 1 is greedy.
//! It stops exactly: sums of log-probabilities never rise, so an image is done once its best finished report is at
//! least as good as its best live one. Finished images leave the batch.

use tch::{Device, Kind, Tensor};

use super::encoder_decoder::{BOUNDARY, EncoderDecoder, MAX_POSITIONS};
use crate::error::{Error, Result};

/// How reports are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Beam width; 1 is greedy.
    pub beam_size: usize,
    /// Longest report, words.
    pub max_words: usize,
    /// No n-gram of this length twice; 0 allows all.
    pub block_ngram: usize,
    /// A word that is never written: the id of `<unk>`.
    pub banned: Option<i64>,
    /// Stop when no better report can come; off only to check that this changes nothing.
    pub early_stop: bool,
}

/// A written report.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Its words, without boundaries.
    pub words: Vec<i64>,
    /// Their log-probabilities.
    pub log_probs: Vec<f32>,
    /// Sum of all log-probabilities, the end's included.
    pub sum: f32,
    /// The model ended the report itself; `false` when it was cut at the longest length.
    pub ended: bool,
}

/// The beams of the images still being written. `K` beams, `n` words so far.
struct Beams {
    /// Which image of the batch each row is.
    images: Vec<usize>,
    /// `[B, K]`; minus infinity once finished.
    sums: Tensor,
    /// i64 `[B, K, n]`.
    words: Tensor,
    /// `[B, K, n]`.
    log_probs: Tensor,
    best: Best,
}

/// The best finished report of each image: `[B]`, and `[B, longest]` padded with zeros.
struct Best {
    sum: Tensor,
    length: Tensor,
    words: Tensor,
    log_probs: Tensor,
}

impl Best {
    fn select(&self, rows: &Tensor) -> Self {
        Self {
            sum: self.sum.index_select(0, rows),
            length: self.length.index_select(0, rows),
            words: self.words.index_select(0, rows),
            log_probs: self.log_probs.index_select(0, rows),
        }
    }
}

/// Writes one report per image. `encoded`: `[B, S, d_model]`; `present`: boolean `[B, S]`.
///
/// # Errors
/// [`Error::Config`] when the options ask for what the model cannot do; [`Error::BadData`] when the model's output
/// is not finite.
pub fn beam_search(
    model: &EncoderDecoder,
    encoded: &Tensor,
    present: &Tensor,
    options: &DecodeOptions,
) -> Result<Vec<Hypothesis>> {
    let _no_grad = tch::no_grad_guard();
    let batch = encoded.size()[0];
    if batch == 0 || options.max_words == 0 {
        return Ok(vec![Hypothesis { words: vec![], log_probs: vec![], sum: 0.0, ended: false }; batch as usize]);
    }
    check_options(options)?;
    check_finite("the encoder's output", encoded)?;
    let device = model.device();
    let longest = options.max_words as i64;
    let mut beams = Beams::start(batch, longest, device);
    let mut state = model.begin(encoded, present);
    let mut log_probs = model.step(&mut state, &Tensor::full([batch], BOUNDARY, (Kind::Int64, device)));
    let mut written: Vec<Option<Hypothesis>> = vec![None; batch as usize];
    // Reading a flag back makes the host wait for an accelerator, so it is asked less often there.
    let ask_every = if device == Device::Cpu { 1 } else { 8 };
    for t in 0..longest {
        let parents = beams.advance(&log_probs, options, t + 1 == longest);
        let last = t + 1 == longest;
        let mut rows = parents;
        if last || (t + 1) % ask_every == 0 {
            let open = beams.open_images(options.early_stop && !last, t)?;
            if last || open.is_empty() {
                beams.collect(&mut written, |_| true)?;
                break;
            }
            if open.len() < beams.images.len() {
                beams.collect(&mut written, |row| !open.contains(&row))?;
                let keep = Tensor::from_slice(&open.iter().map(|&r| r as i64).collect::<Vec<_>>()).to_device(device);
                beams.keep(&keep, &open);
                rows = rows.index_select(0, &keep);
                state.select_images(&keep);
            }
        }
        state.select_rows(&rows.reshape([-1]));
        let words = beams.words.select(2, t).reshape([-1]);
        log_probs = model.step(&mut state, &words);
    }
    written.into_iter().map(|w| w.ok_or_else(|| Error::Internal("an image was left without a report".into()))).collect()
}

fn check_options(options: &DecodeOptions) -> Result<()> {
    let bad = |problem: &str| Error::Config { place: "generate".into(), problem: problem.into() };
    if options.beam_size == 0 {
        return Err(bad("`beam_size` must be at least 1"));
    }
    if options.max_words as i64 > MAX_POSITIONS {
        return Err(bad("`max_words` is longer than the model's positions (1024)"));
    }
    Ok(())
}

fn check_finite(what: &str, values: &Tensor) -> Result<()> {
    if i64::try_from(values.isfinite().all())? == 0 {
        return Err(not_finite(what));
    }
    Ok(())
}

fn not_finite(what: &str) -> Error {
    Error::bad_data("report model", format!("{what} is not finite; the weights are damaged or training diverged"))
}

impl Beams {
    fn start(batch: i64, longest: i64, device: Device) -> Self {
        let zeros = |size: &[i64], kind| Tensor::zeros(size, (kind, device));
        Self {
            images: (0..batch as usize).collect(),
            sums: zeros(&[batch, 1], Kind::Float),
            words: zeros(&[batch, 1, 0], Kind::Int64),
            log_probs: zeros(&[batch, 1, 0], Kind::Float),
            best: Best {
                sum: Tensor::full([batch], f64::NEG_INFINITY, (Kind::Float, device)),
                length: zeros(&[batch], Kind::Int64),
                words: zeros(&[batch, longest], Kind::Int64),
                log_probs: zeros(&[batch, longest], Kind::Float),
            },
        }
    }

    /// Chooses the next words from `log_probs` `[B * K, words]`. Returns the rows they continue, i64 `[B, K']`.
    fn advance(&mut self, log_probs: &Tensor, options: &DecodeOptions, last: bool) -> Tensor {
        let (batch, beams) = (self.sums.size()[0], self.sums.size()[1]);
        let vocabulary = log_probs.size()[1];
        let log_probs = self.constrained(log_probs.view([batch, beams, vocabulary]), options);
        let candidates = (self.sums.unsqueeze(-1) + &log_probs).view([batch, beams * vocabulary]);
        let width = (options.beam_size as i64).min(beams * vocabulary);
        let (sums, index) = candidates.topk(width, -1, true, true);
        let parent = index.divide_scalar_mode(vocabulary, "floor");
        let word = index.remainder(vocabulary);
        let gather = |kept: &Tensor, new: &Tensor| {
            let length = kept.size()[2];
            let rows = parent.unsqueeze(-1).expand([batch, width, length], false);
            Tensor::cat(&[&kept.gather(1, &rows, false), &new.unsqueeze(-1)], 2)
        };
        self.words = gather(&self.words, &word);
        let chosen = log_probs.view([batch, beams * vocabulary]).gather(1, &index, false);
        self.log_probs = gather(&self.log_probs, &chosen);
        let ended = word.eq(BOUNDARY);
        let done = if last { ended.ones_like() } else { ended.shallow_clone() };
        self.remember(&sums.masked_fill(&done.logical_not(), f64::NEG_INFINITY));
        self.sums = sums.masked_fill(&ended, f64::NEG_INFINITY);
        let first_rows = Tensor::arange(batch, (Kind::Int64, parent.device())).unsqueeze(1) * beams;
        parent + first_rows
    }

    /// Takes over the best of the reports that have just been finished; the earlier one wins a tie.
    fn remember(&mut self, done_sums: &Tensor) {
        let longest = self.best.words.size()[1];
        let (batch, _, length) = (self.words.size()[0], self.words.size()[1], self.words.size()[2]);
        let (sum, beam) = done_sums.max_dim(1, false);
        let better = sum.gt_tensor(&self.best.sum);
        let of_beam = |all: &Tensor| {
            let row = beam.view([batch, 1, 1]).expand([batch, 1, length], false);
            all.gather(1, &row, false).squeeze_dim(1).constant_pad_nd([0, longest - length])
        };
        let better_row = better.unsqueeze(-1);
        self.best.words = of_beam(&self.words).where_self(&better_row, &self.best.words);
        self.best.log_probs = of_beam(&self.log_probs).where_self(&better_row, &self.best.log_probs);
        self.best.length = self.best.length.masked_fill(&better, length);
        self.best.sum = sum.where_self(&better, &self.best.sum);
    }

    /// `log_probs` `[B, K, words]` with forbidden words at minus infinity; ending is never forbidden.
    fn constrained(&self, log_probs: Tensor, options: &DecodeOptions) -> Tensor {
        let mut log_probs = log_probs;
        if let Some(word) = options.banned {
            let index = Tensor::from_slice(&[word]).to_device(log_probs.device());
            log_probs = log_probs.index_fill(2, &index, f64::NEG_INFINITY);
        }
        let (n, length) = (options.block_ngram as i64, self.words.size()[2]);
        if n > 0 && length >= n {
            // Every n-gram so far whose beginning equals the last n - 1 words forbids its last word.
            let grams = self.words.unfold(2, n, 1);
            let tail = self.words.narrow(2, length - (n - 1), n - 1).unsqueeze(2);
            let same = grams.narrow(3, 0, n - 1).eq_tensor(&tail).all_dim(3, false);
            let word = grams.select(3, n - 1);
            let hits = log_probs.zeros_like().scatter_add(2, &word, &same.to_kind(Kind::Float));
            let boundary = Tensor::from_slice(&[BOUNDARY]).to_device(log_probs.device());
            log_probs = log_probs.masked_fill(&hits.index_fill(2, &boundary, 0.0).gt(0.0), f64::NEG_INFINITY);
        }
        log_probs
    }

    /// Rows of images that can still improve. One read from the device.
    fn open_images(&self, early_stop: bool, t: i64) -> Result<Vec<usize>> {
        let live = self.sums.amax([1], false);
        let nan = live.isnan().logical_or(&self.best.sum.isnan()).any().view([1]);
        let closed = if early_stop { self.best.sum.ge_tensor(&live) } else { live.lt(f64::NEG_INFINITY) };
        let flags = Vec::<bool>::try_from(&Tensor::cat(&[closed, nan], 0))?;
        match flags.split_last() {
            Some((false, closed)) => Ok((0..closed.len()).filter(|&row| !closed[row]).collect()),
            _ => Err(not_finite(&format!("the log-probability of word {}", t + 1))),
        }
    }

    fn keep(&mut self, rows: &Tensor, open: &[usize]) {
        self.images = open.iter().map(|&row| self.images[row]).collect();
        self.sums = self.sums.index_select(0, rows);
        self.words = self.words.index_select(0, rows);
        self.log_probs = self.log_probs.index_select(0, rows);
        self.best = self.best.select(rows);
    }

    fn collect(&self, written: &mut [Option<Hypothesis>], take: impl Fn(usize) -> bool) -> Result<()> {
        let longest = self.best.words.size()[1] as usize;
        let words = Vec::<i64>::try_from(self.best.words.reshape([-1]))?;
        let log_probs = Vec::<f32>::try_from(self.best.log_probs.reshape([-1]))?;
        let lengths = Vec::<i64>::try_from(&self.best.length)?;
        let sums = Vec::<f32>::try_from(&self.best.sum)?;
        for (row, &image) in self.images.iter().enumerate().filter(|(row, _)| take(*row)) {
            if !sums[row].is_finite() {
                return Err(not_finite("a report's log-probability"));
            }
            let span = row * longest..row * longest + lengths[row] as usize;
            let mut words = words[span.clone()].to_vec();
            let mut log_probs = log_probs[span].to_vec();
            let ended = words.last() == Some(&BOUNDARY);
            if ended {
                words.pop();
                log_probs.pop();
            }
            written[image] = Some(Hypothesis { words, log_probs, sum: sums[row], ended });
        }
        Ok(())
    }
}
