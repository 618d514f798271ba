//! Beam search over a batch of images, on the device; width 1 is greedy. With more than one group the beams of a group lose
//! what earlier groups chose at the same place (diverse beam search); groups go word by word side by side.
//! It stops exactly: sums of log-probabilities never rise, so an image is done once no live beam can get a better score than
//! the worst finished report that is kept. Finished images leave the batch.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
pub use crate::reporter::decode::decode_options::DecodeOptions;
use crate::reporter::decode::decode_options::Method;
use crate::reporter::decode::finished_reports::{Done, Finished, Hypothesis, not_finite};
use crate::reporter::decode::sampling::write_word_by_word;
use crate::reporter::decode::word_constraints::constrained;
use crate::reporter::model::encoder_decoder::{BOUNDARY, DecodeState, EncoderDecoder};

/// A finished beam goes on this much worse, as published, so that it returns only where nothing else is left.
const FINISHED: f64 = 1000.0;
/// Reading a flag back makes the host wait for an accelerator, so there it is asked only every so many words.
pub const ASK_EVERY: i64 = 8;

/// The beams of the images still being written. `K` beams, all groups side by side; `n` words so far.
struct Beams {
    /// Which image of the batch each row is.
    images: Vec<usize>,
    /// `[B, K]`; before the first word one beam is everybody's.
    sums: Tensor,
    /// i64 `[B, K, n]`.
    words: Tensor,
    /// `[B, K, n]`.
    log_probs: Tensor,
    /// The best finished reports of each group.
    done: Vec<Done>,
}

/// What a group goes on with: parent beam, word, its log-probability, sum; each `[B, K']`.
struct Picked {
    parent: Tensor,
    word: Tensor,
    log_prob: Tensor,
    sums: Tensor,
}

/// Writes reports by the options: for each image as many as asked for. With several groups the best of each comes first, then the
/// second of each. `state`: where `model` began; `keys`: one number per image, which only draws depend on.
///
/// # Errors
/// [`Error::Config`] when the options ask for what the model cannot do; [`Error::BadData`] when the model's output
/// is not finite.
pub fn write_reports(
    model: &EncoderDecoder,
    state: DecodeState,
    options: &DecodeOptions,
    keys: &[u64],
) -> Result<Vec<Vec<Hypothesis>>> {
    options.check()?;
    let batch = state.images() as usize;
    if batch == 0 || options.max_words == 0 {
        let empty = Hypothesis { words: vec![], log_probs: vec![], sum: 0.0, ended: false };
        return Ok(vec![vec![empty; options.reports]; batch]);
    }
    if !state.is_finite()? {
        return Err(not_finite("the encoder's output"));
    }
    match options.method {
        Method::Beam => search(model, state, options),
        Method::Greedy | Method::Sample(_) => write_word_by_word(model, state, options, keys),
    }
}

/// The best report of each image.
///
/// # Errors
/// Those of [`write_reports`].
pub fn beam_search(
    model: &EncoderDecoder,
    encoded: &Tensor,
    present: &Tensor,
    options: &DecodeOptions,
) -> Result<Vec<Hypothesis>> {
    let keys: Vec<u64> = (0..encoded.size()[0] as u64).collect();
    let _no_grad = tch::no_grad_guard();
    let written = write_reports(model, model.begin(encoded, present), options, &keys)?;
    written.into_iter().map(|reports| reports.into_iter().next().ok_or_else(without_report)).collect()
}

fn without_report() -> Error {
    Error::Internal("an image was left without a report".into())
}

fn search(model: &EncoderDecoder, mut state: DecodeState, options: &DecodeOptions) -> Result<Vec<Vec<Hypothesis>>> {
    let _no_grad = tch::no_grad_guard();
    let batch = state.images();
    let device = model.device();
    let longest = options.max_words as i64;
    let mut beams = Beams::start(batch, options, device);
    let mut log_probs = model.step(&mut state, &Tensor::full([batch], BOUNDARY, (Kind::Int64, device)));
    let mut written: Vec<Vec<Hypothesis>> = vec![Vec::new(); batch as usize];
    let ask_every = if device == Device::Cpu { 1 } else { ASK_EVERY };
    for t in 0..longest {
        let last = t + 1 == longest;
        let mut rows = beams.advance(&log_probs, options, last);
        if last || (t + 1) % ask_every == 0 {
            let open = beams.open_images(options, last, t)?;
            if last || open.is_empty() {
                beams.collect(options.reports, &mut written, |_| true)?;
                break;
            }
            if open.len() < beams.images.len() {
                beams.collect(options.reports, &mut written, |row| !open.contains(&row))?;
                let keep = Tensor::from_slice(&open.iter().map(|&r| r as i64).collect::<Vec<_>>()).to_device(device);
                beams.keep(&keep, &open);
                // The model's rows are still those of all images; the chosen rows name them.
                rows = rows.index_select(0, &keep);
                state.select_images(&keep);
            }
        }
        state.select_rows(&rows.reshape([-1]));
        let words = beams.words.select(2, t).reshape([-1]);
        log_probs = model.step(&mut state, &words);
        if options.temperature != 1.0 {
            log_probs = (log_probs / options.temperature).log_softmax(-1, Kind::Float);
        }
    }
    Ok(written)
}

impl Beams {
    fn start(batch: i64, options: &DecodeOptions, device: Device) -> Self {
        let zeros = |size: &[i64], kind| Tensor::zeros(size, (kind, device));
        let (kept, longest) = (options.reports_per_group() as i64, options.max_words as i64);
        Self {
            images: (0..batch as usize).collect(),
            sums: zeros(&[batch, 1], Kind::Float),
            words: zeros(&[batch, 1, 0], Kind::Int64),
            log_probs: zeros(&[batch, 1, 0], Kind::Float),
            done: (0..options.groups).map(|_| Done::none(batch, kept, longest, device)).collect(),
        }
    }

    /// Chooses the next words from `log_probs` `[B * K, words]`. Returns the rows they continue, i64 `[B, K']`.
    fn advance(&mut self, log_probs: &Tensor, options: &DecodeOptions, last: bool) -> Tensor {
        let (batch, rows, length) = (self.sums.size()[0], self.sums.size()[1], self.words.size()[2]);
        let log_probs = log_probs.view([batch, rows, log_probs.size()[1]]);
        let allowed = constrained(&log_probs, &self.words, options);
        let picked = self.pick(&allowed, &log_probs, options);
        let joined = |of: fn(&Picked) -> &Tensor| Tensor::cat(&picked.iter().map(of).collect::<Vec<_>>(), 1);
        let (parent, word, sums) = (joined(|p| &p.parent), joined(|p| &p.word), joined(|p| &p.sums));
        let index = parent.unsqueeze(-1).expand([-1, -1, length], false);
        let grown = |old: &Tensor, new: &Tensor| Tensor::cat(&[&old.gather(1, &index, false), &new.unsqueeze(-1)], 2);
        self.words = grown(&self.words, &word);
        self.log_probs = grown(&self.log_probs, &joined(|p| &p.log_prob));
        let ended = word.eq(BOUNDARY);
        let done = if last { ended.ones_like() } else { ended.shallow_clone() };
        let each = word.size()[1] / options.groups as i64;
        let divisor = options.length_penalty.divisor(length + 1);
        for (group, of_group) in self.done.iter_mut().enumerate() {
            let own = |all: &Tensor| all.narrow(1, group as i64 * each, each);
            of_group.remember(&own(&sums), &own(&done), &own(&self.words), &own(&self.log_probs), divisor);
        }
        self.sums = sums - ended.to_kind(Kind::Float) * FINISHED;
        parent + Tensor::arange(batch, (Kind::Int64, self.sums.device())).unsqueeze(1) * rows
    }

    /// The best continuations of each group; parents are numbered over all beams. `allowed`: `[B, K, words]`.
    fn pick(&self, allowed: &Tensor, log_probs: &Tensor, options: &DecodeOptions) -> Vec<Picked> {
        let [batch, rows, vocabulary] = [0, 1, 2].map(|axis| allowed.size()[axis]);
        let groups = options.groups as i64;
        // The first word of all groups comes from the same beam.
        let first = self.words.size()[2] == 0;
        let each = if first { rows } else { rows / groups };
        let mut taken = Tensor::zeros([batch, 1, vocabulary], (Kind::Float, allowed.device()));
        let mut picked = Vec::with_capacity(options.groups);
        for group in 0..groups {
            let start = if first { 0 } else { group * each };
            let own = allowed.narrow(1, start, each);
            let scored = if group == 0 { own } else { own - &taken * options.diversity };
            let candidates = (self.sums.narrow(1, start, each).unsqueeze(-1) + scored).view([batch, each * vocabulary]);
            let width = (options.beam_size as i64 / groups).min(each * vocabulary);
            let (sums, index) = candidates.topk(width, -1, true, true);
            let word = index.remainder(vocabulary);
            let said = log_probs.narrow(1, start, each).reshape([batch, each * vocabulary]);
            let (parent, log_prob) =
                (index.divide_scalar_mode(vocabulary, "floor") + start, said.gather(1, &index, false));
            if groups > 1 {
                taken = taken.scatter_add(2, &word.unsqueeze(1), &sums.ones_like().unsqueeze(1));
            }
            picked.push(Picked { parent, word, log_prob, sums });
        }
        picked
    }

    /// Rows of images that can still improve. One read from the device.
    fn open_images(&self, options: &DecodeOptions, last: bool, t: i64) -> Result<Vec<usize>> {
        let each = self.sums.size()[1] / options.groups as i64;
        // The best that a live beam can still come to: its sum, at the longest length.
        let divisor = options.length_penalty.divisor(options.max_words as i64);
        let mut closed = Tensor::full([self.images.len() as i64], i64::from(!last), (Kind::Bool, self.sums.device()));
        let mut nan = self.sums.isnan().any().view([1]);
        for (group, done) in self.done.iter().enumerate() {
            let live = self.sums.narrow(1, group as i64 * each, each).amax([1i64].as_slice(), false) / divisor;
            let worst = done.score.select(1, done.score.size()[1] - 1);
            closed = closed.logical_and(&worst.ge_tensor(&live));
            nan = nan.logical_or(&done.score.isnan().any().view([1]));
        }
        if !options.early_stop {
            closed = closed.zeros_like();
        }
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
        self.done = self.done.iter().map(|d| d.select(rows)).collect();
    }

    /// The finished reports of the images that `take` names, `most` of each image.
    fn collect(&self, most: usize, written: &mut [Vec<Hypothesis>], take: impl Fn(usize) -> bool) -> Result<()> {
        let groups = self.done.iter().map(Finished::read).collect::<Result<Vec<_>>>()?;
        for (row, &image) in self.images.iter().enumerate().filter(|(row, _)| take(*row)) {
            let kept = groups.first().map_or(0, |g| g.kept);
            let ranked = (0..kept).flat_map(|rank| groups.iter().map(move |g| (g, rank)));
            let reports = ranked.filter_map(|(group, rank)| group.report(row, rank).transpose()).take(most);
            written[image] = reports.collect::<Result<Vec<_>>>()?;
            if written[image].is_empty() {
                return Err(not_finite("a report's log-probability"));
            }
        }
        Ok(())
    }
}
