//! Activations that are computed again change no bit of gradients, running statistics and trained weights on the CPU.

use d2r_contracts::boxes::BoxXyxy;
use tch::{Device, Kind, Tensor};

use crate::config::detector::{Architecture, BackboneNorm, DetectorModelConfig, Profile};
use crate::config::{Layers, resolve};
use crate::detector::model::{BatchNormStatistics, Detector};
use crate::detector::pyramid::ImageBatch;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::target::{BatchTargets, Target};
use crate::detector::train::fixtures::{config, run_with};
use crate::nn::parity_golden::image;
use crate::nn::pass::gradients;
use crate::nn::running_statistics::running_statistics;
use crate::stop::StopFlag;

/// Gradients of all trained variables by name, undefined ones left out, and the running statistics after the passes.
fn step(config: &DetectorModelConfig, kind: Kind, recompute: bool) -> (Vec<(String, Tensor)>, Vec<Tensor>) {
    tch::manual_seed(5);
    let mut detector = Detector::with_classes(config, 3, Device::Cpu).unwrap();
    detector.set_compute(kind);
    detector.set_recompute(recompute);
    let square = |a: f32, b: f32| Target::truth(1, BoxXyxy::new(a, a, b, b));
    let targets = [vec![square(10.0, 60.0), square(30.0, 110.0)], vec![square(40.0, 90.0)]];
    let losses = |stream, size, statistics| {
        let images = ImageBatch::unpadded(&image(stream, &[2, 1, size, 128])).unwrap();
        detector.losses(&images, BatchTargets::labelled(&targets), &mut Draw::First, statistics).unwrap()
    };
    // As in the mutual phase: three passes behind one loss, of which the first alone changes the running statistics.
    let (weak, strong) = (losses(7, 128, BatchNormStatistics::Updated), losses(8, 96, BatchNormStatistics::Frozen));
    let unlabelled = losses(9, 128, BatchNormStatistics::Frozen);
    let loss = weak.mean(&strong).total() + unlabelled.total() * 0.25;
    let passes = detector.take_passes();
    assert_eq!(passes.len(), if recompute { 3 } else { 0 });
    let mut variables: Vec<(String, Tensor)> =
        detector.variables().variables().into_iter().filter(|(_, v)| v.requires_grad()).collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    let params: Vec<&Tensor> = variables.iter().map(|(_, v)| v).collect();
    let found = gradients(&loss, &params, passes).unwrap();
    let named = variables.iter().map(|(name, _)| name.clone()).zip(found).filter(|(_, g)| g.defined()).collect();
    (named, running_statistics(detector.variables()).iter().map(Tensor::copy).collect())
}

#[test]
fn gradients_and_running_statistics_have_the_same_bits() {
    let base = resolve(&Layers { preset: Some("tiny".into()), ..Layers::default() }).unwrap().config.detector.model;
    let deep = DetectorModelConfig { depth: 50, width: 4, ..base.clone() };
    let frozen = DetectorModelConfig { frozen_stages: 2, norm: BackboneNorm::FrozenBatch, ..base.clone() };
    let half_frozen = DetectorModelConfig { frozen_stages: 3, ..deep.clone() };
    for config in [base, deep, frozen, half_frozen] {
        for architecture in [Architecture::Fcos, Architecture::FasterRcnn] {
            for (profile, kind) in [(Profile::Torchvision, Kind::Float), (Profile::Utv2, Kind::BFloat16)] {
                let config = DetectorModelConfig { architecture, profile, ..config.clone() };
                let (kept, again) = (step(&config, kind, false), step(&config, kind, true));
                let what = format!("{architecture:?} {} {:?}", config.depth, config.norm);
                assert!(kept.0.iter().any(|(name, _)| name.contains("body.layer4")), "{what}");
                assert_eq!(kept.0.len(), again.0.len(), "{what}");
                for ((name, a), (other, b)) in kept.0.iter().zip(&again.0) {
                    assert!(name == other && a == b, "{what}: gradient of {name}");
                }
                assert_eq!(kept.1, again.1, "{what}: running statistics");
            }
        }
    }
}

#[test]
fn a_training_that_computes_activations_again_gives_the_same_weights() {
    for set in [
        &[][..],
        &["run.accumulate=2"],
        &["detector.model.architecture=faster_rcnn", "run.precision=bf16"],
        &["detector.model.input=short_edge", "detector.train.augment=multi_scale_wide", "detector.train.batch_size=4"],
    ] {
        let config = config(&[&["detector.train.steps=3"], set].concat());
        let digest = |recompute| {
            let folder = tempfile::tempdir().unwrap();
            run_with(folder.path(), &config, &StopFlag::default(), recompute).unwrap().model_sha256
        };
        assert_eq!(digest(true), digest(false), "{set:?}");
    }
}
