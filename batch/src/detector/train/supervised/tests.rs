//! Supervised training on drawn squares: it learns, and a stopped run goes the same way.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use super::*;
use crate::detector::train::fixtures::{config, run, squares};
use crate::training::fixtures::{interrupted, losses};

#[test]
fn a_stopped_run_goes_on_bit_for_bit() {
    let short_edge = ["detector.model.input=short_edge", "detector.train.augment=multi_scale_wide"];
    let rcnn = ["detector.model.architecture=faster_rcnn", "detector.model.profile=utv2"];
    let in_shards = ["detector.train.batch_size=4", "run.accumulate=2"];
    for set in [
        Vec::new(),
        vec!["run.accumulate=2"],
        [&short_edge[..], &in_shards].concat(),
        [&short_edge[..], &["detector.model.profile=utv2", "detector.train.hflip=true"]].concat(),
        [&short_edge[..], &rcnn].concat(),
        vec!["run.precision=bf16"],
        [&rcnn[..], &["run.precision=bf16"]].concat(),
    ] {
        let config = config(&[&["detector.train.steps=6"], &set[..]].concat());
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let expected = run(whole.path(), &config, &StopFlag::default()).unwrap();
        assert_eq!(expected.steps, 6);
        let first = interrupted(15, 150, |stop| run(parts.path(), &config, stop));
        assert!(first.is_ok() || first.is_err_and(|e| e.exit().code() == 143));
        let resumed = run(parts.path(), &config, &StopFlag::default()).unwrap();
        assert_eq!(losses(&resumed), losses(&expected));
        assert_eq!(resumed.model_sha256, expected.model_sha256);
    }
}

#[test]
fn virtual_shards_are_another_training_that_begins_like_the_one_without() {
    let first = |set: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let config =
            config(&[&["detector.train.steps=2", "detector.train.batch_size=4", "run.log_every=1"], set].concat());
        let outcome = run(folder.path(), &config, &StopFlag::default()).unwrap();
        (outcome.log[0].loss, outcome.model_sha256)
    };
    let (whole, in_two, in_four) = (first(&[]), first(&["run.accumulate=2"]), first(&["run.accumulate=4"]));
    for shards in [&in_two, &in_four] {
        assert_ne!(shards.1, whole.1);
        // Each square has about as many positive points as the others; batch statistics differ.
        assert!((shards.0 - whole.0).abs() < 0.2 * whole.0, "{} against {}", shards.0, whole.0);
    }
    assert_ne!(in_two.1, in_four.1);
}

#[test]
fn the_loss_falls_on_a_few_images() {
    let mut config = config(&[]);
    (config.detector.train.steps, config.detector.train.eval_every) = (40, 40);
    (config.detector.train.optimizer, config.detector.train.lr) = (OptimizerKind::Adam, 0.003);
    (config.detector.train.log_every, config.detector.train.warmup_steps) = (10, 2);
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(folder.path(), &config, &StopFlag::default()).unwrap();
    let train: Vec<f64> = outcome.log.iter().filter(|r| r.phase == "train").map(|r| r.loss).collect();
    assert!(train.last().unwrap() < &(train[0] * 0.8), "{train:?}");
}

#[test]
fn no_image_is_nothing_to_do() {
    let config = config(&["detector.train.steps=6"]);
    let folder = tempfile::tempdir().unwrap();
    let images = tempfile::tempdir().unwrap();
    let validation = squares(images.path(), 1, &config.detector, "val");
    let mut model = Detector::new(&config.detector.model, tch::Device::Cpu).unwrap();
    let mut average = Detector::new(&config.detector.model, tch::Device::Cpu).unwrap();
    let job = DetectorTraining {
        train: Arc::new(squares(images.path(), 0, &config.detector, "train")),
        validation: &validation,
        config: &config.detector.train,
        seed: 1,
        progress: Progress::Quiet,
        stop: &StopFlag::default(),
        shards: VirtualShards::whole(),
    };
    let error = train(&mut model, &mut average, &RunDir::at(folder.path(), "test"), &job).unwrap_err();
    assert_eq!(error.exit().code(), 99);
}

/// What decays of a detector whose learned parameters are all 1 and have no gradient.
fn decayed(set: &[&str]) -> BTreeMap<String, bool> {
    let sgd = ["detector.train.lr=1", "detector.train.optimizer=sgd"];
    let config = config(&[set, &sgd].concat()).detector;
    let model = Detector::new(&config.model, Device::Cpu).unwrap();
    let mut optimizer = optimizer(&model, &DetectorTrainConfig { weight_decay: 0.5, ..config.train }).unwrap();
    let learned: Vec<(String, Tensor)> =
        named_tensors(model.variables()).into_iter().filter(|(_, t)| t.requires_grad()).collect();
    tch::no_grad(|| learned.iter().for_each(|(_, t)| drop(t.shallow_clone().fill_(1.0))));
    let loss = learned.iter().map(|(_, t)| (t * 0.0).sum(Kind::Float)).sum();
    optimizer.backward(&loss).unwrap();
    optimizer.step(1.0);
    learned.into_iter().map(|(name, t)| (name, f64::try_from(t.mean(Kind::Float)).unwrap() < 1.0)).collect()
}

#[test]
fn norms_do_not_decay_and_biases_do_in_profile_utv2_alone() {
    for architecture in ["detector.model.architecture=fcos", "detector.model.architecture=faster_rcnn"] {
        for (profile, biases) in [("detector.model.profile=torchvision", false), ("detector.model.profile=utv2", true)]
        {
            let decayed = decayed(&[architecture, profile]);
            for (end, expected) in
                [("conv1.weight", true), ("bn1.weight", false), ("bn1.bias", false), ("cls_logits.bias", biases)]
            {
                let found: Vec<bool> =
                    decayed.iter().filter(|(name, _)| name.ends_with(end)).map(|(_, &d)| d).collect();
                assert!(
                    !found.is_empty() && found.iter().all(|&d| d == expected),
                    "{architecture} {profile} {end}: {found:?}"
                );
            }
        }
    }
}
