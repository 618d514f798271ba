//! The loop on two drawn squares: it learns, it stops in order, and a stopped run goes the same way.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::decode::DecodeOptions;
use d2r_contracts::preprocess::{Fit, InputSpec};
use d2r_contracts::space::Original;
use d2r_contracts::tables::{ImageRow, LesionRow};

use super::*;
use crate::config::{Layers, RunConfig, resolve};
use crate::detector::batches::loader::{LoadOptions, RadiographSource};

const SIDE: u32 = 64;

fn config() -> RunConfig {
    let set = [
        "detector.model.input_size=64",
        "detector.train.steps=6",
        "detector.train.batch_size=2",
        "detector.train.eval_every=3",
        "detector.train.save_every=2",
        "detector.train.log_every=2",
    ];
    let layers = Layers { preset: Some("tiny".into()), set: set.map(str::to_owned).into(), ..Layers::default() };
    resolve(&layers).unwrap().config
}

/// Dark films with one bright square each.
pub fn squares(folder: &std::path::Path, count: u32) -> DetectionSet {
    let (mut images, mut lesions) = (Vec::new(), Vec::new());
    for i in 0..count {
        let region = BoxXyxy::<Original>::new(8.0 + 6.0 * i as f32, 12.0, 32.0 + 6.0 * i as f32, 36.0);
        let film = image::GrayImage::from_fn(SIDE, SIDE, |x, y| {
            let inside = (region.x_min..region.x_max).contains(&(x as f32)) && (12..36).contains(&y);
            image::Luma([if inside { 230 } else { 20 + (x % 7) as u8 }])
        });
        film.save(folder.join(format!("{i}.png"))).unwrap();
        images.push(ImageRow {
            image_id: i.to_string(),
            study_id: i.to_string(),
            subject_id: i.to_string(),
            view: "PA".into(),
            path: format!("{i}.png"),
            width: Some(SIDE as i32),
            height: Some(SIDE as i32),
            sha256: None,
            n_boxes: Some(1),
        });
        lesions.push(LesionRow {
            image_id: i.to_string(),
            box_id: i.to_string(),
            class_name: "Nodule/Mass".into(),
            class_id: 15,
            x_min: region.x_min,
            y_min: region.y_min,
            x_max: region.x_max,
            y_max: region.y_max,
            score: 1.0,
            source: "fused".into(),
            reader_id: None,
            n_readers: Some(3),
            std_x_min: None,
            std_y_min: None,
            std_x_max: None,
            std_y_max: None,
            student_iou: None,
            accepted: true,
            threshold: None,
            model_sha256: None,
        });
    }
    let source = RadiographSource {
        root: folder.to_path_buf(),
        decode: DecodeOptions::default(),
        input: InputSpec { size: SIDE, fit: Fit::Letterbox, mean: 0.5, std: 0.25 },
    };
    let task = Progress::Quiet.task("read", u64::from(count), "films");
    let options = LoadOptions { cache_bytes: u64::MAX, stage: "test", progress: &task, stop: &StopFlag::default() };
    let (set, failures) = DetectionSet::load(source, images, &lesions, options).unwrap();
    assert!(failures.is_empty());
    set
}

/// Supervised training on four squares, judged on four.
pub fn run(folder: &std::path::Path, config: &RunConfig, stop: &StopFlag) -> Result<DetectorOutcome> {
    let films = tempfile::tempdir().unwrap();
    tch::manual_seed(3);
    let mut model = Detector::new(&config.detector.model, tch::Device::Cpu)?;
    let mut average = Detector::new(&config.detector.model, tch::Device::Cpu)?;
    let validation = squares(films.path(), 4);
    let job = DetectorTraining {
        train: Arc::new(squares(films.path(), 4)),
        validation: &validation,
        config: &config.detector.train,
        seed: 1,
        progress: Progress::Quiet,
        stop,
    };
    train(&mut model, &mut average, &RunDir::at(folder, "test"), &job)
}

fn losses(outcome: &DetectorOutcome) -> Vec<(String, i64, f64)> {
    outcome.log.iter().map(|r| (r.phase.clone(), r.step, r.loss)).collect()
}

#[test]
fn a_stopped_run_goes_on_bit_for_bit() {
    let config = config();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = run(whole.path(), &config, &StopFlag::default()).unwrap();
    assert_eq!(expected.steps, 6);
    let stop = StopFlag::default();
    let asker = stop.clone();
    let handle = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(150));
        asker.request(15);
    });
    let first = run(parts.path(), &config, &stop);
    handle.join().unwrap();
    assert!(first.is_ok() || first.is_err_and(|e| e.exit().code() == 143));
    let resumed = run(parts.path(), &config, &StopFlag::default()).unwrap();
    assert_eq!(losses(&resumed), losses(&expected));
    assert_eq!(resumed.model_sha256, expected.model_sha256);
}

#[test]
fn the_loss_falls_on_a_few_films() {
    let mut config = config();
    (config.detector.train.steps, config.detector.train.eval_every) = (40, 40);
    (config.detector.train.optimizer, config.detector.train.lr) = (OptimizerKind::Adam, 0.003);
    (config.detector.train.log_every, config.detector.train.warmup_steps) = (10, 2);
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(folder.path(), &config, &StopFlag::default()).unwrap();
    let train: Vec<f64> = outcome.log.iter().filter(|r| r.phase == "train").map(|r| r.loss).collect();
    assert!(train.last().unwrap() < &(train[0] * 0.8), "{train:?}");
}

#[test]
fn no_film_is_nothing_to_do() {
    let config = config();
    let folder = tempfile::tempdir().unwrap();
    let films = tempfile::tempdir().unwrap();
    let validation = squares(films.path(), 1);
    let mut model = Detector::new(&config.detector.model, tch::Device::Cpu).unwrap();
    let mut average = Detector::new(&config.detector.model, tch::Device::Cpu).unwrap();
    let job = DetectorTraining {
        train: Arc::new(squares(films.path(), 0)),
        validation: &validation,
        config: &config.detector.train,
        seed: 1,
        progress: Progress::Quiet,
        stop: &StopFlag::default(),
    };
    let error = train(&mut model, &mut average, &RunDir::at(folder.path(), "test"), &job).unwrap_err();
    assert_eq!(error.exit().code(), 99);
}
