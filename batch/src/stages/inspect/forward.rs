//! `d2r inspect forward`: what a report model makes of visual features given in a file, for parity work by others.

use std::path::PathBuf;

use tch::{Kind, Tensor};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::reporter::card::load_reporter;
use crate::reporter::decode::beam_search::beam_search;
use crate::stages::decoding::generation_options;
use crate::training::named_tensors::{NamedTensors, read_tensors, write_tensors};

/// What to read and write.
#[derive(Debug, Clone)]
pub struct Args {
    /// A finished report model's run.
    pub reporter: PathBuf,
    /// A safetensors file with `att_feats` f32 `[B, P, d_visual]`, optionally `att_mask` `[B, P]` (not 0: there), and
    /// `ids` i64 `[B, T]`, a boundary (0) and then words.
    pub inputs: PathBuf,
    /// The safetensors file to write: `logprobs` f32 `[B, T - 1, V + 1]`, `beam_ids` i64 `[B, max_words]` padded with
    /// 0, `beam_logprobs` f32 `[B, max_words]` of each of its words, `beam_sum` f32 `[B]`.
    pub out: PathBuf,
}

/// Teacher-forced log-probabilities, and beam search by the configuration's `generate`. Returns the length of each
/// report.
///
/// # Errors
/// [`Error::BadData`] for tensors that are missing or of another shape, and for ids outside the vocabulary.
pub fn run(ctx: &Context, args: &Args) -> Result<Vec<usize>> {
    let (mut model, card) = load_reporter(&args.reporter, ctx.device)?;
    model.set_compute(ctx.compute_kind());
    let tensors = read_tensors(&args.inputs)?;
    let bad = |problem: String| Error::bad_data(args.inputs.display(), problem);
    let features = find(&tensors, "att_feats").ok_or_else(|| bad("it has no tensor `att_feats`".into()))?;
    let ids = find(&tensors, "ids").ok_or_else(|| bad("it has no tensor `ids`".into()))?;
    let (size, width) = (features.size(), model.d_visual());
    if size.len() != 3 || size[2] != width || features.kind() != Kind::Float {
        return Err(bad(format!("`att_feats` is {:?} {size:?}, expected Float [B, P, {width}]", features.kind())));
    }
    let words = card.model.vocabulary.len() as i64 + 1;
    let shape = ids.size();
    if shape.len() != 2 || shape[0] != size[0] || shape[1] < 2 || ids.kind() != Kind::Int64 {
        return Err(bad(format!("`ids` is {:?} {shape:?}, expected Int64 [{}, T] with T >= 2", ids.kind(), size[0])));
    }
    if ids.numel() > 0 && (ids.min().int64_value(&[]) < 0 || ids.max().int64_value(&[]) >= words) {
        return Err(bad(format!("`ids` must be 0 to {}", words - 1)));
    }
    let present = match find(&tensors, "att_mask") {
        None => Tensor::ones([size[0], size[1]], (Kind::Bool, ctx.device)),
        Some(mask) if mask.size() == size[..2] => mask.ne(0).to_device(ctx.device),
        Some(mask) => return Err(bad(format!("`att_mask` is {:?}, expected {:?}", mask.size(), &size[..2]))),
    };
    let _no_grad = tch::no_grad_guard();
    let network = model.encoder_decoder();
    let encoded = network.encode(&features.to_device(ctx.device), &present, false);
    let inputs = ids.narrow(1, 0, shape[1] - 1).to_device(ctx.device);
    let forced = network.forward_t(&encoded, &present, &inputs, false);
    let options = generation_options(ctx, &card.model.vocabulary);
    let reports = beam_search(network, &encoded, &present, &options)?;
    let mut beam_ids = vec![0i64; reports.len() * options.max_words];
    let mut beam_logprobs = vec![0f32; beam_ids.len()];
    for (row, report) in reports.iter().enumerate() {
        let start = row * options.max_words;
        beam_ids[start..start + report.tokens.len()].copy_from_slice(&report.tokens);
        beam_logprobs[start..start + report.tokens.len()].copy_from_slice(&report.log_probs);
    }
    let sums: Vec<f32> = reports.iter().map(|r| r.sum).collect();
    let size = [reports.len() as i64, options.max_words as i64];
    let out = [
        ("logprobs".to_owned(), forced.log_probs),
        ("beam_ids".to_owned(), Tensor::from_slice(&beam_ids).view(size)),
        ("beam_logprobs".to_owned(), Tensor::from_slice(&beam_logprobs).view(size)),
        ("beam_sum".to_owned(), Tensor::from_slice(&sums)),
    ];
    write_tensors(&args.out, &out)?;
    Ok(reports.iter().map(|r| r.tokens.len()).collect())
}

fn find<'a>(tensors: &'a NamedTensors, name: &str) -> Option<&'a Tensor> {
    tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t)
}
