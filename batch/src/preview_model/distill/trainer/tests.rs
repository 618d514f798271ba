//! Distillation on studies whose boxes determine the text: it learns, and a stopped run equals an uninterrupted one.

use std::path::Path;

use super::*;
use crate::config::{Layers, resolve};
use crate::datasets::prepared::{PreparedKey, PreparedStore, StoredBytes};
use crate::preview_model::distill::targets::TargetBox;
use crate::reporter::train::fixtures::{Fixture, fixture};
use crate::training::fixtures::{Disturbed, losses};

const SIZE: usize = 64;

/// The same studies as examples of both models: a bright square at one of two places, and its text.
fn pairs(fixture: &Fixture) -> Vec<Pair> {
    let example = |(i, study): (usize, &ReportExample)| {
        let (kind, left) = (i % 2, [8, 32][i % 2]);
        let inside = |p: usize| (left..left + 24).contains(&(p % SIZE)) && (16..40).contains(&(p / SIZE));
        let edges = [left, 16, left + 24, 40].map(|v| v as f32 / SIZE as f32);
        PreviewExample {
            pixels: (0..SIZE * SIZE)
                .map(|p| if inside(p) { 220 } else { (p * 7 + i * 13) as u8 % 40 })
                .collect::<Vec<u8>>()
                .into(),
            boxes: vec![TargetBox { class_id: [3, 10][kind], score: 1.0, edges }],
            labels: std::array::from_fn(|label| if label == kind { 1.0 } else { 0.0 }),
            ids: study.ids.clone(),
            generated_ids: study.ids.clone(),
        }
    };
    fixture.examples.iter().cloned().zip(fixture.examples.iter().enumerate().map(example)).collect()
}

fn run(folder: &Path, change: impl Fn(&mut DistillConfig), stopped_at: i64) -> Result<Outcome> {
    run_on(folder, change, stopped_at, |_, pixels| pixels)
}

/// `at_hand`: where the pixels of a study with this number are read from.
fn run_on(
    folder: &Path,
    change: impl Fn(&mut DistillConfig),
    stopped_at: i64,
    at_hand: impl Fn(usize, PreparedBytes) -> PreparedBytes,
) -> Result<Outcome> {
    let mut fixture = fixture(10);
    fixture.model.visual_dropout = 0.0;
    let layers = Layers { preset: Some("tiny".into()), ..Layers::default() };
    let mut config = resolve(&layers).unwrap().config.preview;
    config.train.log_every = 1;
    change(&mut config.train);
    tch::manual_seed(2);
    let report_model = fixture.new_model()?;
    let mut model = PreviewModel::new(&config.model, fixture.vocabulary.len() as i64 + 1, Device::Cpu)?;
    let (mut pairs, stop) = (pairs(&fixture), StopFlag::default());
    for (i, (_, example)) in pairs.iter_mut().enumerate() {
        example.pixels = at_hand(i, example.pixels.clone());
    }
    let (train, validation) = pairs.split_at(8);
    let job = Distillation {
        report_model: &report_model,
        visual: fixture.spec,
        same_frame: true,
        train: Arc::new(train.to_vec()),
        validation,
        config: &config.train,
        seed: 5,
        device: Device::Cpu,
        progress: Progress::Quiet,
        stop: &stop,
    };
    let (trainer, optimizer) = PreviewTrainer::new(&mut model, &job)?;
    let before = |_: &mut PreviewTrainer, step| {
        if step == stopped_at {
            stop.request(15);
        }
    };
    training_loop::train(
        Disturbed { trainer, before },
        optimizer,
        &RunDir::at(folder, "run"),
        Progress::Quiet,
        &stop,
        &Ranks::alone(),
    )
}

#[test]
fn a_stopped_run_goes_on_bit_for_bit() {
    // Two epochs of two steps; the first trains the encoder alone. The last step is followed by a validation.
    let whole = tempfile::tempdir().unwrap();
    let expected = run(whole.path(), |_| {}, -1).unwrap();
    let rows: Vec<(&str, i64)> = expected.log.iter().map(|r| (r.phase.as_str(), r.step)).collect();
    assert_eq!(rows, [("train", 1), ("train", 2), ("train", 3), ("train", 4), ("validation", 4)]);
    for step in 0..4 {
        let parts = tempfile::tempdir().unwrap();
        assert_eq!(run(parts.path(), |_| {}, step).unwrap_err().exit().code(), 143);
        let resumed = run(parts.path(), |_| {}, -1).unwrap();
        assert_eq!(losses(&resumed), losses(&expected), "stopped in step {step}");
        assert_eq!(resumed.model_sha256, expected.model_sha256, "stopped in step {step}");
    }
}

#[test]
fn pixels_that_are_read_ahead_from_the_store_give_the_same_weights() {
    let (kept, stored, lost) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = PreparedStore::at(stored.path().join("prepared"));
    let put = |i: usize, pixels: PreparedBytes| {
        let (pixels, key) = (pixels.get().unwrap(), PreparedKey::of(&[("study", &i.to_string())]));
        store.put(&key, &pixels).unwrap();
        PreparedBytes::Stored(Arc::new(StoredBytes { store: store.clone(), key, length: pixels.len() }))
    };
    let expected = run(kept.path(), |_| {}, -1).unwrap();
    let found = run_on(stored.path(), |_| {}, -1, put).unwrap();
    assert_eq!((losses(&found), found.model_sha256), (losses(&expected), expected.model_sha256));
    let damaged = |i: usize, pixels: PreparedBytes| {
        let stored = put(i, pixels);
        store.put(&PreparedKey::of(&[("study", "3")]), &[1]).unwrap();
        stored
    };
    assert_eq!(run_on(lost.path(), |_| {}, -1, damaged).unwrap_err().exit().code(), 75);
}

#[test]
fn the_preview_model_learns_boxes_and_text() {
    let folder = tempfile::tempdir().unwrap();
    let change = |config: &mut DistillConfig| {
        (config.epochs, config.encoder_epochs, config.lr, config.augment) = (20, 2, 5e-3, false);
    };
    let outcome = run(folder.path(), change, -1).unwrap();
    let train: Vec<&TrainLogRow> = outcome.log.iter().filter(|r| r.phase == "train").collect();
    let (first, last) = (train[0], train[train.len() - 1]);
    assert!(last.loss_cells < first.loss_cells, "{first:?} {last:?}");
    assert_eq!((first.loss_word, first.loss_grounding), (Some(0.0), None), "the encoder is trained alone at first");
    let scores: Vec<f64> = outcome.log.iter().filter_map(|r| r.score).collect();
    assert_eq!(scores.len(), 18, "one validation after each epoch that trains the decoder");
    assert!(outcome.best_score.unwrap() > scores[0] + 0.5, "{scores:?}");
}
