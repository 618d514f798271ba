//! Speed of beam search: reports per second and token ids for features in a file, as one line of JSON. For
//! `tests/bench/decode.py`, which decodes the same features with PyTorch.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use d2r_batch::Result;
use d2r_batch::reporter::card::load_reporter;
use d2r_batch::reporter::decode::beam_search::beam_search;
use d2r_batch::reporter::decode::generation_options::GenerationOptions;
use d2r_batch::training::named_tensors::read_tensors;
use tch::{Device, Kind, Tensor};

#[derive(Debug, Parser)]
struct Args {
    /// A report model's run.
    #[arg(long)]
    run: PathBuf,
    /// `att_feats`, f32 [B, P, d].
    #[arg(long)]
    inputs: PathBuf,
    /// Beam width.
    #[arg(long, default_value_t = 3)]
    beam: usize,
    /// Longest report, words.
    #[arg(long, default_value_t = 100)]
    max_words: usize,
    /// Timed rounds, after one warm-up round.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Device.
    #[arg(long, default_value = "cpu")]
    device: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = if args.device == "cpu" { Device::Cpu } else { Device::Cuda(0) };
    let (model, _) = load_reporter(&args.run, device)?;
    let features = read_tensors(&args.inputs)?.into_iter().find(|(name, _)| name == "att_feats");
    let (_, features) = features.ok_or_else(|| d2r_batch::Error::Usage("no tensor `att_feats`".into()))?;
    let features = features.to_device(device);
    let present = Tensor::ones([features.size()[0], features.size()[1]], (Kind::Bool, device));
    let options = GenerationOptions::beam(args.beam, args.max_words);
    let _no_grad = tch::no_grad_guard();
    let decode = || {
        let encoded = model.encoder_decoder().encode(&features, &present, false);
        beam_search(model.encoder_decoder(), &encoded, &present, &options)
    };
    let reports = decode()?;
    let start = Instant::now();
    for _ in 0..args.rounds {
        decode()?;
    }
    let seconds = start.elapsed().as_secs_f64() / f64::from(args.rounds.max(1));
    let ids: Vec<&[i64]> = reports.iter().map(|r| r.tokens.as_slice()).collect();
    let line = serde_json::json!({ "reports_per_s": reports.len() as f64 / seconds, "ids": ids });
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
    Ok(())
}
