//! Images per second of a detector run's training step and inference, on random images, as one line of JSON; for
//! `tests/bench/detector.py`, which measures torchvision's detectors the same way.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use d2r_batch::Result;
use d2r_batch::config::detector::{DetectorTrainConfig, OptimizerKind};
use d2r_batch::config::{Layers, resolve};
use d2r_batch::detector::card::load_detector;
use d2r_batch::detector::model::BatchNormStatistics;
use d2r_batch::detector::pyramid::ImageBatch;
use d2r_batch::detector::rcnn::sampler::Draw;
use d2r_batch::detector::target::{BatchTargets, Target};
use d2r_batch::detector::train::supervised::optimizer;
use d2r_contracts::boxes::BoxXyxy;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

#[derive(Debug, Parser)]
struct Args {
    /// A finished detector run.
    #[arg(long)]
    run: PathBuf,
    /// Size of the square images, pixels.
    #[arg(long, default_value_t = 320)]
    size: i64,
    /// Images per step.
    #[arg(long, default_value_t = 2)]
    batch: i64,
    /// Timed steps, after one that is not timed.
    #[arg(long, default_value_t = 3)]
    steps: u32,
    /// `cpu` or `cuda`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Kind of products and convolutions: `f32` or `bf16`.
    #[arg(long, default_value = "f32", value_parser = ["f32", "bf16"])]
    precision: String,
    /// Scores above this are detections.
    #[arg(long, default_value_t = 0.05)]
    score_min: f64,
}

fn synchronise(device: Device) {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
}

/// Mean seconds per call, after one call that is not timed.
fn timed(steps: u32, device: Device, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    call()?;
    synchronise(device);
    let start = Instant::now();
    for _ in 0..steps {
        call()?;
    }
    synchronise(device);
    Ok(start.elapsed().as_secs_f64() / f64::from(steps))
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = if args.device == "cpu" { Device::Cpu } else { Device::Cuda(0) };
    let (mut detector, _) = load_detector(&args.run, args.score_min, device)?;
    detector.set_compute(if args.precision == "bf16" { Kind::BFloat16 } else { Kind::Float });
    tch::manual_seed(1);
    let images = ImageBatch::unpadded(&Tensor::randn([args.batch, 3, args.size, args.size], (Kind::Float, device)))?;
    let size = args.size as f32;
    let square =
        |a: f32, b: f32, class_id| Target::truth(class_id, BoxXyxy::new(a * size, a * size, b * size, b * size));
    let boxes = vec![square(0.1, 0.4, 0), square(0.3, 0.8, 1), square(0.5, 0.65, 2)];
    let targets = vec![boxes; args.batch as usize];
    let config = DetectorTrainConfig {
        optimizer: OptimizerKind::Sgd,
        lr: 1e-4,
        ..resolve(&Layers::default())?.config.detector.train
    };
    let inference = timed(args.steps, device, || detector.detect(&images).map(drop))?;
    let mut optimizer = optimizer(&detector, &config)?;
    let mut draw = Draw::Random(Box::new(ChaCha8Rng::seed_from_u64(1)));
    let training = timed(args.steps, device, || {
        let targets = BatchTargets::labelled(&targets);
        let losses = detector.losses(&images, targets, &mut draw, BatchNormStatistics::Updated)?;
        optimizer.backward(&losses.total())?;
        optimizer.step(1.0);
        Ok(())
    })?;
    let batch = args.batch as f64;
    let line =
        serde_json::json!({ "inference_images_per_s": batch / inference, "training_images_per_s": batch / training });
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
    Ok(())
}
