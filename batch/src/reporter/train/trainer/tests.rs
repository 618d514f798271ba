//! Learning, exact resume and early stopping of the report model, on studies whose boxes determine the text.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::reporter::train::fixtures::{Fixture, fixture};
use crate::training::fixtures::{interrupted, losses};
use crate::training::named_tensors::read_tensors;

#[test]
fn the_model_learns_reports_from_boxes() {
    let mut fixture = fixture(10);
    (fixture.config.epochs, fixture.config.lr, fixture.config.lr_visual) = (30, 5e-3, 2e-3);
    fixture.config.patience = 30;
    fixture.model.visual_dropout = 0.0;
    let dir = tempfile::tempdir().unwrap();
    let outcome = fixture.run(dir.path(), &StopFlag::default()).unwrap();
    let train: Vec<_> = outcome.log.iter().filter(|r| r.phase == "train").collect();
    let (first, last) = (train[0], train[train.len() - 1]);
    assert!(last.loss_word < Some(0.3 * first.loss_word.unwrap()), "{first:?} {last:?}");
    assert!(last.loss_grounding < first.loss_grounding);
    assert!(outcome.best_score > Some(0.9), "{:?}", outcome.best_score);
    assert!(dir.path().join("best/model.safetensors").is_file());
}

#[test]
fn a_stopped_run_goes_on_bit_for_bit() {
    // In two shards the last batch of an epoch is two studies, and there are batches of three.
    for accumulate in [1, 2] {
        stop_and_go_on(accumulate);
    }
}

#[test]
fn a_busy_machine_changes_no_bit() {
    // MKL divides the small products of a shard with one study as the load allows, unless MKL_CBWR (.cargo/config.toml) forbids it.
    let mut fixture = fixture(10);
    (fixture.config.accumulate, fixture.config.epochs, fixture.config.batch_size) = (2, 2, 3);
    let done = AtomicBool::new(false);
    let spin = || {
        let start = Instant::now();
        while !done.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(30) {
            std::hint::spin_loop();
        }
    };
    let digests: Vec<String> = std::thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(spin)));
        let run = || {
            let dir = tempfile::tempdir().unwrap();
            fixture.run(dir.path(), &StopFlag::default()).unwrap().model_sha256
        };
        let digests = (0..3).map(|_| run()).collect();
        done.store(true, Ordering::Relaxed);
        digests
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

fn stop_and_go_on(accumulate: usize) {
    let mut fixture = fixture(10);
    fixture.config.accumulate = accumulate;
    (fixture.config.epochs, fixture.config.batch_size, fixture.config.log_every) = (2, 3, 2);
    let whole = tempfile::tempdir().unwrap();
    let expected = fixture.run(whole.path(), &StopFlag::default()).unwrap();
    assert_eq!(expected.steps, 6);
    let torn = tempfile::tempdir().unwrap();
    // The flag is set from the start: each start does no step, saves, and stops.
    let stop = StopFlag::default();
    stop.request(15);
    let error = fixture.run(torn.path(), &stop).unwrap_err();
    assert_eq!(error.exit().code(), 143);
    assert!(torn.path().join("checkpoints/step-000000/MANIFEST.json").is_file());
    // Another thread requests the stop at an arbitrary step of the run.
    let middle = interrupted(2, 60, |stop| fixture.run(torn.path(), stop));
    assert!(middle.is_ok() || middle.is_err_and(|e| e.exit().code() == 130));
    let resumed = fixture.run(torn.path(), &StopFlag::default()).unwrap();
    assert_eq!(losses(&resumed), losses(&expected));
    assert_eq!(resumed.model_sha256, expected.model_sha256);
}

#[test]
fn alignment_is_trained_resumed_and_stored_separately() {
    let mut fixture = fixture(10);
    (fixture.align.lab_weight, fixture.align.gab_weight) = (1.0, 1.0);
    (fixture.config.epochs, fixture.config.batch_size, fixture.config.log_every) = (12, 8, 1);
    (fixture.config.lr_visual, fixture.align.text.lr, fixture.config.patience) = (2e-3, 5e-3, 12);
    fixture.align.text.dropout = 0.0;
    let whole = tempfile::tempdir().unwrap();
    let expected = fixture.run(whole.path(), &StopFlag::default()).unwrap();
    let train: Vec<_> = expected.log.iter().filter(|r| r.phase == "train").collect();
    let (first, last) = (train[0], train[train.len() - 1]);
    assert!(first.loss_local > Some(0.0) && first.loss_global > Some(0.0), "{first:?}");
    assert!(last.loss_local < first.loss_local && last.loss_global < first.loss_global, "{first:?} {last:?}");
    assert!(whole.path().join("best/alignment.safetensors").is_file());
    let torn = tempfile::tempdir().unwrap();
    let stop = StopFlag::default();
    stop.request(15);
    assert_eq!(fixture.run(torn.path(), &stop).unwrap_err().exit().code(), 143);
    let resumed = fixture.run(torn.path(), &StopFlag::default()).unwrap();
    assert_eq!(losses(&resumed), losses(&expected));
    // Writing needs the report model alone.
    let names = read_tensors(&whole.path().join("best/model.safetensors")).unwrap();
    assert!(names.iter().all(|(n, _)| !n.contains("text")));
}

#[test]
fn another_seed_gives_another_order_and_every_study_comes_once() {
    let order = shuffled(10, 1, 0);
    assert_eq!(order, shuffled(10, 1, 0));
    assert_ne!(order, shuffled(10, 1, 1));
    assert_ne!(order, shuffled(10, 2, 0));
    let mut sorted = order;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..10).collect::<Vec<_>>());
}

#[test]
fn training_stops_when_the_score_no_longer_rises() {
    let mut fixture = fixture(6);
    (fixture.config.epochs, fixture.config.patience) = (12, 2);
    // Without a learning rate only the batch norms' statistics move, so the score soon stops rising.
    (fixture.config.lr, fixture.config.lr_visual) = (0.0, 0.0);
    let dir = tempfile::tempdir().unwrap();
    let outcome = fixture.run(dir.path(), &StopFlag::default()).unwrap();
    assert_eq!(outcome.steps - outcome.best_step, 2, "one step an epoch, two epochs of patience");
    assert!(outcome.steps < 12);
}

#[test]
fn the_best_weights_are_kept_whichever_epoch_they_come_from() {
    let mut fixture = fixture(6);
    // Only the batch norms' statistics change: epochs of two runs are equal for any number of epochs.
    (fixture.config.epochs, fixture.config.patience) = (12, 2);
    (fixture.config.lr, fixture.config.lr_visual) = (0.0, 0.0);
    let long = tempfile::tempdir().unwrap();
    let outcome = fixture.run(long.path(), &StopFlag::default()).unwrap();
    assert!(outcome.best_step < outcome.steps, "training went on after the best epoch");
    fixture.config.epochs = outcome.best_step;
    let short = tempfile::tempdir().unwrap();
    let to_the_best = fixture.run(short.path(), &StopFlag::default()).unwrap();
    assert_eq!(to_the_best.steps, outcome.best_step);
    assert_eq!(to_the_best.model_sha256, outcome.model_sha256);
}

#[test]
fn no_study_is_nothing_to_do_and_no_validation_keeps_the_last_weights() {
    let mut fixture = fixture(4);
    fixture.config.epochs = 1;
    let dir = tempfile::tempdir().unwrap();
    let few = Fixture { examples: fixture.examples[..2].to_vec(), ..fixture };
    assert_eq!(few.run(dir.path(), &StopFlag::default()).unwrap_err().exit().code(), 99);
}

#[test]
fn norms_and_biases_do_not_decay_and_every_parameter_has_a_group() {
    let fixture = fixture(2);
    let model = ReportModel::new(&fixture.model, 9, (0.4, 0.2), Device::Cpu).unwrap();
    let learned = model.variables().trainable_variables().len();
    let mut with_steps = optimizer(&model, None, &fixture.config).unwrap();
    let sums: Vec<Tensor> = model.variables().trainable_variables().iter().map(|v| v.sum(Kind::Float)).collect();
    with_steps.backward(&Tensor::stack(&sums, 0).sum(Kind::Float)).unwrap();
    with_steps.step(1.0);
    assert_eq!(with_steps.state().len(), 1 + 3 * learned);
}
