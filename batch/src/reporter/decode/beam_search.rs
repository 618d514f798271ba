//! Beam search over a batch of images, on the device; width 1 is greedy. With several groups of beams it is diverse beam search
//! (Vijayakumar et al. 2016, arXiv:1610.02424): tokens that earlier groups chose at the same step are penalised.
//! Early stopping is exact: sums of log-probabilities never rise, so an image is finished once no live beam can reach the score of
//! its worst kept report. Finished images leave the batch.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::reporter::decode::finished_reports::{FinishedBeams, FinishedReports, Hypothesis, not_finite};
use crate::reporter::decode::generation_options::{GenerationOptions, Method};
use crate::reporter::decode::incremental_decoder::{IncrementalDecoder, check_interval};
use crate::reporter::decode::sampling::write_token_by_token;
use crate::reporter::decode::token_constraints::constrained;
use crate::reporter::model::encoder_decoder::{BOUNDARY, EncoderDecoder};

/// Subtracted from the sum of a beam that has ended, as in R2Gen: it is continued only where no other beam is left.
const ENDED_PENALTY: f64 = 1000.0;

/// The beams of the unfinished images. `K` beams, all groups together; `n` tokens so far.
struct Beams {
    /// The image of the batch that each row of the tensors belongs to.
    images: Vec<usize>,
    /// f32 `[B, K]`: sums of log-probabilities; before the first token all groups share one beam.
    sums: Tensor,
    /// i64 `[B, K, n]`.
    tokens: Tensor,
    /// f32 `[B, K, n]`.
    log_probs: Tensor,
    /// The best finished reports of each group.
    finished: Vec<FinishedBeams>,
}

/// The continuations that a group selects; each `[B, K / groups]`.
struct Selected {
    parent: Tensor,
    token: Tensor,
    log_prob: Tensor,
    sums: Tensor,
}

/// Writes `options.reports` reports for each image. With several groups the best report of each group comes first, then the second
/// of each. `keys`: one number per image; only sampling depends on it.
///
/// # Errors
/// [`Error::Config`] when the options contradict each other; [`Error::BadData`] when the model's output is not finite.
pub fn write_reports(
    decoder: impl IncrementalDecoder,
    options: &GenerationOptions,
    keys: &[u64],
) -> Result<Vec<Vec<Hypothesis>>> {
    options.check()?;
    let batch = decoder.images() as usize;
    if batch == 0 || options.max_words == 0 {
        let empty = Hypothesis { tokens: vec![], log_probs: vec![], sum: 0.0, ended: false };
        return Ok(vec![vec![empty; options.reports]; batch]);
    }
    if !decoder.is_finite()? {
        return Err(not_finite("the encoder's output"));
    }
    match options.method {
        Method::Beam => search(decoder, options),
        Method::Greedy | Method::Sample(_) => write_token_by_token(decoder, options, keys),
    }
}

/// The best report of each image. `encoded`: `[B, S, d_model]`; `present`: boolean `[B, S]`.
///
/// # Errors
/// Those of [`write_reports`].
pub fn beam_search(
    model: &EncoderDecoder,
    encoded: &Tensor,
    present: &Tensor,
    options: &GenerationOptions,
) -> Result<Vec<Hypothesis>> {
    let keys: Vec<u64> = (0..encoded.size()[0] as u64).collect();
    let _no_grad = tch::no_grad_guard();
    let reports = write_reports(model.begin(encoded, present), options, &keys)?;
    let without_report = || Error::Internal("an image was left without a report".into());
    reports.into_iter().map(|of_image| of_image.into_iter().next().ok_or_else(without_report)).collect()
}

fn search(mut decoder: impl IncrementalDecoder, options: &GenerationOptions) -> Result<Vec<Vec<Hypothesis>>> {
    let _no_grad = tch::no_grad_guard();
    let (batch, device) = (decoder.images(), decoder.device());
    let longest = options.max_words as i64;
    let mut beams = Beams::start(batch, options, device);
    let mut log_probs = decoder.step(&Tensor::full([batch], BOUNDARY, (Kind::Int64, device)));
    let mut reports: Vec<Vec<Hypothesis>> = vec![Vec::new(); batch as usize];
    let check_interval = check_interval(device);
    for t in 0..longest {
        let last = t + 1 == longest;
        let mut rows = beams.advance(&log_probs, options, last);
        if last || (t + 1) % check_interval == 0 {
            let unfinished = beams.unfinished(options, last, t)?;
            if last || unfinished.is_empty() {
                beams.collect(options.reports, &mut reports, |_| true)?;
                break;
            }
            if unfinished.len() < beams.images.len() {
                beams.collect(options.reports, &mut reports, |row| !unfinished.contains(&row))?;
                let kept: Vec<i64> = unfinished.iter().map(|&row| row as i64).collect();
                let kept = Tensor::from_slice(&kept).to_device(device);
                beams.keep(&kept, &unfinished);
                // The decoder still has the rows of all images; the kept rows select from them.
                rows = rows.index_select(0, &kept);
                decoder.select_images(&kept);
            }
        }
        log_probs = beams.step(&mut decoder, &rows, options);
    }
    Ok(reports)
}

impl Beams {
    fn start(batch: i64, options: &GenerationOptions, device: Device) -> Self {
        let zeros = |size: &[i64], kind| Tensor::zeros(size, (kind, device));
        let (kept, longest) = (options.reports_per_group() as i64, options.max_words as i64);
        Self {
            images: (0..batch as usize).collect(),
            sums: zeros(&[batch, 1], Kind::Float),
            tokens: zeros(&[batch, 1, 0], Kind::Int64),
            log_probs: zeros(&[batch, 1, 0], Kind::Float),
            finished: (0..options.groups).map(|_| FinishedBeams::none(batch, kept, longest, device)).collect(),
        }
    }

    /// Feeds the last tokens to the decoder, whose rows become `rows`: i64 `[B, K]`. Returns log-probabilities `[B * K, V]`.
    fn step(&self, decoder: &mut impl IncrementalDecoder, rows: &Tensor, options: &GenerationOptions) -> Tensor {
        decoder.select_rows(&rows.reshape([-1]));
        let log_probs = decoder.step(&self.tokens.select(2, self.tokens.size()[2] - 1).reshape([-1]));
        if options.temperature == 1.0 {
            return log_probs;
        }
        (log_probs / options.temperature).log_softmax(-1, Kind::Float)
    }

    /// Appends the best tokens by `log_probs` `[B * K, V]`. Returns the rows that they continue, i64 `[B, K']`.
    fn advance(&mut self, log_probs: &Tensor, options: &GenerationOptions, last: bool) -> Tensor {
        let (batch, rows, length) = (self.sums.size()[0], self.sums.size()[1], self.tokens.size()[2]);
        let log_probs = log_probs.view([batch, rows, log_probs.size()[1]]);
        let allowed = constrained(&log_probs, &self.tokens, options);
        let selected = self.select(&allowed, &log_probs, options);
        let joined = |of: fn(&Selected) -> &Tensor| Tensor::cat(&selected.iter().map(of).collect::<Vec<_>>(), 1);
        let (parent, token, sums) = (joined(|s| &s.parent), joined(|s| &s.token), joined(|s| &s.sums));
        let index = parent.unsqueeze(-1).expand([-1, -1, length], false);
        let extended =
            |old: &Tensor, new: &Tensor| Tensor::cat(&[&old.gather(1, &index, false), &new.unsqueeze(-1)], 2);
        self.tokens = extended(&self.tokens, &token);
        self.log_probs = extended(&self.log_probs, &joined(|s| &s.log_prob));
        let ended = token.eq(BOUNDARY);
        let finished = if last { ended.ones_like() } else { ended.shallow_clone() };
        let per_group = token.size()[1] / options.groups as i64;
        let divisor = options.length_penalty.divisor(length + 1);
        for (group, of_group) in self.finished.iter_mut().enumerate() {
            let own = |all: &Tensor| all.narrow(1, group as i64 * per_group, per_group);
            of_group.insert(&own(&sums), &own(&finished), &own(&self.tokens), &own(&self.log_probs), divisor);
        }
        self.sums = sums - ended.to_kind(Kind::Float) * ENDED_PENALTY;
        parent + Tensor::arange(batch, (Kind::Int64, self.sums.device())).unsqueeze(1) * rows
    }

    /// The best continuations of each group; parents are numbered over all beams. `allowed`, `log_probs`: `[B, K, V]`.
    fn select(&self, allowed: &Tensor, log_probs: &Tensor, options: &GenerationOptions) -> Vec<Selected> {
        let [batch, rows, vocabulary] = [0, 1, 2].map(|axis| allowed.size()[axis]);
        let groups = options.groups as i64;
        // All groups start from the same beam.
        let first = self.tokens.size()[2] == 0;
        let per_group = if first { rows } else { rows / groups };
        let mut chosen = Tensor::zeros([batch, 1, vocabulary], (Kind::Float, allowed.device()));
        let mut selected = Vec::with_capacity(options.groups);
        for group in 0..groups {
            let start = if first { 0 } else { group * per_group };
            let own = allowed.narrow(1, start, per_group);
            let scored = if group == 0 { own } else { own - &chosen * options.diversity };
            let candidates =
                (self.sums.narrow(1, start, per_group).unsqueeze(-1) + scored).view([batch, per_group * vocabulary]);
            let width = (options.beam_size as i64 / groups).min(per_group * vocabulary);
            let (sums, index) = candidates.topk(width, -1, true, true);
            let token = index.remainder(vocabulary);
            let own_log_probs = log_probs.narrow(1, start, per_group).reshape([batch, per_group * vocabulary]);
            let (parent, log_prob) =
                (index.divide_scalar_mode(vocabulary, "floor") + start, own_log_probs.gather(1, &index, false));
            if groups > 1 {
                chosen = chosen.scatter_add(2, &token.unsqueeze(1), &sums.ones_like().unsqueeze(1));
            }
            selected.push(Selected { parent, token, log_prob, sums });
        }
        selected
    }

    /// Rows of images whose reports can still improve. Synchronises with the device once.
    fn unfinished(&self, options: &GenerationOptions, last: bool, t: i64) -> Result<Vec<usize>> {
        let per_group = self.sums.size()[1] / options.groups as i64;
        // Upper bound of a live beam's final score: its present sum, at the longest length.
        let divisor = options.length_penalty.divisor(options.max_words as i64);
        let mut finished = Tensor::full([self.images.len() as i64], i64::from(!last), (Kind::Bool, self.sums.device()));
        let mut nan = self.sums.isnan().any().view([1]);
        for (group, kept) in self.finished.iter().enumerate() {
            let live = self.sums.narrow(1, group as i64 * per_group, per_group);
            let bound = live.amax([1i64].as_slice(), false) / divisor;
            let worst = kept.score.select(1, kept.score.size()[1] - 1);
            finished = finished.logical_and(&worst.ge_tensor(&bound));
            nan = nan.logical_or(&kept.score.isnan().any().view([1]));
        }
        let flags = Vec::<bool>::try_from(&Tensor::cat(&[finished, nan], 0))?;
        match flags.split_last() {
            Some((false, finished)) => Ok((0..finished.len()).filter(|&row| !finished[row]).collect()),
            _ => Err(not_finite(&format!("the log-probability of word {}", t + 1))),
        }
    }

    fn keep(&mut self, rows: &Tensor, unfinished: &[usize]) {
        self.images = unfinished.iter().map(|&row| self.images[row]).collect();
        self.sums = self.sums.index_select(0, rows);
        self.tokens = self.tokens.index_select(0, rows);
        self.log_probs = self.log_probs.index_select(0, rows);
        self.finished = self.finished.iter().map(|f| f.select(rows)).collect();
    }

    /// Stores at most `most` reports of each image whose row satisfies `take`.
    fn collect(&self, most: usize, reports: &mut [Vec<Hypothesis>], take: impl Fn(usize) -> bool) -> Result<()> {
        let groups = self.finished.iter().map(FinishedReports::read).collect::<Result<Vec<_>>>()?;
        for (row, &image) in self.images.iter().enumerate().filter(|(row, _)| take(*row)) {
            let kept = groups.first().map_or(0, |g| g.kept);
            let ranked = (0..kept).flat_map(|rank| groups.iter().map(move |g| (g, rank)));
            let of_image = ranked.filter_map(|(group, rank)| group.report(row, rank).transpose()).take(most);
            reports[image] = of_image.collect::<Result<Vec<_>>>()?;
            if reports[image].is_empty() {
                return Err(not_finite("a report's log-probability"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
