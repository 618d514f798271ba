//! Drawn squares, and supervised training on them, for the tests of both kinds of training.

use std::path::Path;
use std::sync::Arc;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::preprocess::{Fit, InputSpec};
use d2r_contracts::space::Original;
use d2r_contracts::tables::{ImageRow, LesionRow};
use image::{GrayImage, Luma};
use tch::Kind;

use crate::config::detector::DetectorConfig;
use crate::config::{Layers, RunConfig, resolve};
use crate::detector::batches::loader::{DetectionSet, LoadOptions};
use crate::detector::batches::radiograph_source::RadiographSource;
use crate::detector::model::Detector;
use crate::detector::train::supervised::{DetectorTraining, train};
use crate::error::Result;
use crate::progress::Progress;
use crate::stop::StopFlag;
use crate::test_fixtures::{image, lesion};
use crate::training::ranks::Ranks;
use crate::training::run_dir::RunDir;
use crate::training::training_loop::Outcome;
use crate::training::virtual_shards::VirtualShards;

const SIZE: u32 = 64;

/// The preset `tiny` on images of 64 x 64, with these overrides.
pub fn config(overrides: &[&str]) -> RunConfig {
    let base = [
        "detector.model.input_size=64",
        "detector.train.batch_size=2",
        "detector.train.eval_every=3",
        "detector.train.save_every=2",
        "run.log_every=2",
    ];
    let set = base.iter().chain(overrides).map(|s| (*s).to_owned()).collect();
    resolve(&Layers { preset: Some("tiny".into()), set, ..Layers::default() }).unwrap().config
}

/// Dark images with one bright square each, as inputs of this detector. Letterboxed ones are squares; otherwise every
/// second image is wider than high and the others are higher than wide.
pub fn squares(folder: &Path, count: u32, config: &DetectorConfig, split: &str) -> DetectionSet {
    let (mut images, mut lesions) = (Vec::new(), Vec::new());
    for i in 0..count {
        let region = BoxXyxy::<Original>::new(8.0 + 6.0 * i as f32, 12.0, 32.0 + 6.0 * i as f32, 36.0);
        let (columns, rows) = match config.model.fit {
            Fit::ShortEdge if i % 2 == 0 => (SIZE + 16, SIZE),
            Fit::ShortEdge => (SIZE, SIZE + 24),
            Fit::Letterbox | Fit::Squash => (SIZE, SIZE),
        };
        let picture = GrayImage::from_fn(columns, rows, |x, y| {
            let inside = (region.x_min..region.x_max).contains(&(x as f32)) && (12..36).contains(&y);
            Luma([if inside { 230 } else { 20 + (x % 7) as u8 }])
        });
        picture.save(folder.join(format!("{i}.png"))).unwrap();
        let image_id = i.to_string();
        let row = lesion(&image_id, &image_id, 15, region.to_array());
        lesions.push(LesionRow { source: "fused".into(), score: 1.0, n_readers: Some(3), ..row });
        images.push(ImageRow { width: Some(columns as i32), height: Some(rows as i32), ..image(&image_id) });
    }
    let source = RadiographSource {
        root: folder.to_path_buf(),
        decode: ImageDecodeOptions::default(),
        input: InputSpec { size: SIZE, fit: config.model.fit, mean: 0.5, std: 0.25 },
        prepared: None,
        short_edges: config.short_edges(split),
    };
    let task = Progress::Quiet.task("read", u64::from(count), "images");
    let options = LoadOptions { cache_bytes: u64::MAX, stage: "test", progress: &task, stop: &StopFlag::default() };
    let (set, failures) = DetectionSet::load(source, images, &lesions, options).unwrap();
    assert!(failures.is_empty());
    set
}

/// The kind of the configured precision.
pub fn compute_kind(config: &RunConfig) -> Kind {
    if config.run.precision == "bf16" { Kind::BFloat16 } else { Kind::Float }
}

/// Supervised training on four squares, validated on the same.
pub fn run(folder: &Path, config: &RunConfig, stop: &StopFlag) -> Result<Outcome> {
    run_with(folder, config, stop, false)
}

/// The same; `recompute`: with activations that are computed again.
pub fn run_with(folder: &Path, config: &RunConfig, stop: &StopFlag, recompute: bool) -> Result<Outcome> {
    let images = tempfile::tempdir().unwrap();
    tch::manual_seed(3);
    let mut model = Detector::new(&config.detector.model, tch::Device::Cpu)?;
    let mut average = Detector::new(&config.detector.model, tch::Device::Cpu)?;
    for detector in [&mut model, &mut average] {
        detector.set_compute(compute_kind(config));
    }
    model.set_recompute(recompute);
    let validation = squares(images.path(), 4, &config.detector, "val");
    let job = DetectorTraining {
        train: Arc::new(squares(images.path(), 4, &config.detector, "train")),
        validation: &validation,
        config: &config.detector.train,
        seed: 1,
        progress: Progress::Quiet,
        stop,
        shards: VirtualShards::new(config.detector.train.accumulate, &Ranks::alone(), &[])?,
    };
    train(&mut model, &mut average, &RunDir::at(folder, "test"), &job)
}
