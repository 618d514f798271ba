//! The whole model on random films: no box, as many boxes as there are places, training and writing.

use super::*;
use crate::reporter::decode::decode_options::{DecodeOptions, Method};
use crate::reporter::decode::generation::Written;
use crate::reporter::decode::test_time_augmentation::FlippedInput;

const WORDS: i64 = 12;

fn config() -> ReportModelConfig {
    ReportModelConfig::small()
}

fn model(config: &ReportModelConfig) -> ReportModel {
    tch::manual_seed(5);
    ReportModel::new(config, WORDS, (0.449, 0.226), Device::Cpu).unwrap()
}

/// One film per entry, with so many regions.
fn visual(regions: &[usize]) -> VisualTensors {
    tch::manual_seed(9);
    let batch = regions.len() as i64;
    let per_film = regions.iter().copied().max().unwrap_or(0) as i64;
    let count = regions.iter().sum::<usize>() as i64;
    let mut slots = Vec::new();
    let mut present = vec![false; (batch * per_film) as usize];
    for (row, &n) in regions.iter().enumerate() {
        for place in 0..n {
            let slot = row as i64 * per_film + place as i64;
            slots.push(slot);
            present[slot as usize] = true;
        }
    }
    VisualTensors {
        films: Tensor::randint(256, [batch, 1, 64, 64], (Kind::Uint8, Device::Cpu)),
        regions: RegionTensors {
            crops: Tensor::randint(256, [count, 1, 32, 32], (Kind::Uint8, Device::Cpu)),
            slots: Tensor::from_slice(&slots),
            present: Tensor::from_slice(&present).view([batch, per_film]),
            classes: Tensor::randint(22, [count], (Kind::Int64, Device::Cpu)),
            places: Tensor::rand([count, 5], (Kind::Float, Device::Cpu)),
        },
    }
}

fn options(beam_size: usize) -> DecodeOptions {
    DecodeOptions { banned: vec![vec![3]], ..DecodeOptions::beam(beam_size, 9) }
}

#[test]
fn films_without_boxes_with_some_and_with_all_places_taken_get_reports() {
    let model = model(&config());
    for regions in [vec![0], vec![0, 0], vec![0, 3, 1], vec![3, 3]] {
        for beam in [1, 3] {
            let written = model.generate(&visual(&regions), None, &options(beam)).unwrap();
            assert_eq!(written.len(), regions.len());
            for (report, &n) in written.iter().zip(&regions) {
                assert_eq!(report.attention.len(), report.words.len());
                for word in &report.attention {
                    assert_eq!(word.len(), n);
                    let total: f32 = word.iter().sum();
                    assert!(total <= 1.0 + 1e-5 && word.iter().all(|&w| w >= 0.0), "{word:?}");
                    assert!(n == 0 || total > 0.0);
                }
            }
        }
    }
}

#[test]
fn a_film_is_described_the_same_in_any_company() {
    let model = model(&config());
    let alone = visual(&[3]);
    let among = visual(&[3, 1]);
    // The first film and its regions, beside another one.
    let mixed = VisualTensors {
        films: Tensor::cat(&[&alone.films, &among.films.narrow(0, 1, 1)], 0),
        regions: RegionTensors {
            crops: Tensor::cat(&[&alone.regions.crops, &among.regions.crops.narrow(0, 3, 1)], 0),
            slots: among.regions.slots.shallow_clone(),
            present: among.regions.present.shallow_clone(),
            classes: Tensor::cat(&[&alone.regions.classes, &among.regions.classes.narrow(0, 3, 1)], 0),
            places: Tensor::cat(&[&alone.regions.places, &among.regions.places.narrow(0, 3, 1)], 0),
        },
    };
    let (a, b) =
        (model.generate(&alone, None, &options(3)).unwrap(), model.generate(&mixed, None, &options(3)).unwrap());
    assert_eq!(a[0].words, b[0].words);
    for (x, y) in a[0].attention.concat().iter().zip(b[0].attention.concat()) {
        assert!((x - y).abs() < 1e-4);
    }
}

#[test]
fn read_both_ways_a_mirrored_film_gets_the_mirrored_report() {
    let model = model(&config());
    let film = visual(&[3, 1]);
    let turned = film.mirrored();
    assert!(turned.mirrored().films.equal(&film.films) && !turned.films.equal(&film.films));
    let mut words: Vec<i64> = (0..WORDS).collect();
    words.swap(1, 2);
    words.swap(5, 8);
    let image = |of: &VisualTensors| FlippedInput { features: model.features(of, false), words: words.clone() };
    let write = |of: &VisualTensors, mirrored: Option<&FlippedInput>, options: &DecodeOptions| {
        let reports = model.write(&model.features(of, false), mirrored, options, &[1, 2]).unwrap();
        reports.into_iter().map(|mut r| r.remove(0)).collect::<Vec<Written>>()
    };
    let swapped = |report: &Written| report.words.iter().map(|&id| words[id as usize]).collect::<Vec<_>>();
    let mut one_way_differs = false;
    for options in [DecodeOptions::beam(3, 9), DecodeOptions { method: Method::Greedy, ..DecodeOptions::beam(1, 9) }] {
        let own = write(&film, Some(&image(&turned)), &options);
        let mirrored = write(&turned, Some(&image(&film)), &options);
        for (a, b) in own.iter().zip(&mirrored) {
            assert!(!a.words.is_empty());
            assert_eq!(swapped(a), b.words);
            for (x, y) in a
                .log_probs
                .iter()
                .zip(&b.log_probs)
                .chain(a.attention.iter().flatten().zip(b.attention.iter().flatten()))
            {
                assert!((x - y).abs() < 1e-4, "{x} and {y}");
            }
        }
        let (own, mirrored) = (write(&film, None, &options), write(&turned, None, &options));
        one_way_differs |= own.iter().zip(&mirrored).any(|(a, b)| swapped(a) != b.words);
    }
    assert!(one_way_differs, "the model alone must not be symmetric, or the test says nothing");
}

#[test]
fn regions_and_their_embedding_can_be_switched_off() {
    let plain = ReportModelConfig { regions: false, ..config() };
    let written = model(&plain).generate(&visual(&[2, 1]), None, &options(1)).unwrap();
    assert!(written.iter().all(|r| r.attention.iter().all(Vec::is_empty)));
    let bare = ReportModelConfig { region_embedding: false, ..config() };
    let names: Vec<String> = model(&bare).variables().variables().into_keys().collect();
    assert!(!names.iter().any(|n| n.contains("region_encoder.class")));
    assert!(names.iter().any(|n| n == "region_encoder.conv5.weight"));
}

#[test]
fn both_losses_fall_on_one_batch() {
    let model = model(&ReportModelConfig { dropout: 0.0, visual_dropout: 0.0, ..config() });
    let films = visual(&[2, 0, 1]);
    let ids = Tensor::from_slice(&[0i64, 4, 5, 6, 0, 0, 7, 8, 0, 0, 0, 9, 5, 4, 0]).view([3, 5]);
    let kept = Tensor::from_slice(&[1f32, 1., 1., 1., 1., 1., 1., 0., 1., 1., 1., 1.]).view([3, 4]);
    let mut named = vec![0f32; 24];
    named[1] = 1.0;
    named[3] = 1.0;
    named[16] = 1.0;
    let targets = ReportTargets { ids, kept, named: Tensor::from_slice(&named).view([3, 4, 2]) };
    let before = model.losses(&model.features(&films, true), &targets, true);
    let (word, grounding) = (f64::try_from(&before.word).unwrap(), f64::try_from(&before.grounding).unwrap());
    assert!(word > 1.0 && grounding > 0.1, "{word} {grounding}");
    for _ in 0..25 {
        let losses = model.losses(&model.features(&films, true), &targets, true);
        let total: Tensor = losses.word + losses.grounding;
        for mut v in model.variables().trainable_variables() {
            v.zero_grad();
        }
        total.backward();
        let _no_grad = tch::no_grad_guard();
        for mut v in model.variables().trainable_variables() {
            let grad = v.grad();
            if grad.defined() {
                let _ = v.g_sub_(&(grad.clamp(-0.1, 0.1) * 0.5));
            }
        }
    }
    let after = model.losses(&model.features(&films, true), &targets, true);
    let (a, b) = (f64::try_from(&after.word).unwrap(), f64::try_from(&after.grounding).unwrap());
    assert!(a < 0.7 * word && b < grounding, "{word} to {a}, {grounding} to {b}");
}

#[test]
fn nothing_named_costs_nothing() {
    let model = model(&config());
    let targets = ReportTargets {
        ids: Tensor::from_slice(&[0i64, 4, 0]).view([1, 3]),
        kept: Tensor::ones([1, 2], (Kind::Float, Device::Cpu)),
        named: Tensor::zeros([1, 2, 2], (Kind::Float, Device::Cpu)),
    };
    let losses = model.losses(&model.features(&visual(&[2]), false), &targets, false);
    assert_eq!(f64::try_from(losses.grounding).unwrap(), 0.0);
    let none = ReportTargets { named: Tensor::zeros([1, 2, 0], (Kind::Float, Device::Cpu)), ..targets };
    let losses = model.losses(&model.features(&visual(&[0]), false), &none, false);
    assert_eq!(f64::try_from(losses.grounding).unwrap(), 0.0);
    assert!(f64::try_from(losses.word).unwrap().is_finite());
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    for broken in [
        ReportModelConfig { heads: 3, ..config() },
        ReportModelConfig { heads: 0, ..config() },
        ReportModelConfig { layers: 0, ..config() },
        ReportModelConfig { memory_slots: 17, ..config() },
        ReportModelConfig { region_size: 8, ..config() },
        ReportModelConfig { trunk_depth: 19, ..config() },
    ] {
        let error = ReportModel::new(&broken, WORDS, (0.4, 0.2), Device::Cpu).unwrap_err();
        assert_eq!(error.exit().code(), 78, "{error}");
    }
}

#[test]
fn two_views_stand_one_after_the_other() {
    let model = model(&config());
    let one = visual(&[2, 1]);
    let with = |second: &Tensor| VisualTensors {
        films: Tensor::cat(&[&one.films, second], 1),
        regions: RegionTensors {
            crops: one.regions.crops.shallow_clone(),
            slots: one.regions.slots.shallow_clone(),
            present: one.regions.present.shallow_clone(),
            classes: one.regions.classes.shallow_clone(),
            places: one.regions.places.shallow_clone(),
        },
    };
    let other = Tensor::randint(256, [2, 1, 64, 64], (Kind::Uint8, Device::Cpu));
    let (alone, both) = (model.features(&one, false), model.features(&with(&other), false));
    let count = alone.patches.size()[1];
    assert_eq!(both.patches.size(), [2, 2 * count, alone.patches.size()[2]]);
    let gap = |a: &Tensor, b: &Tensor| f64::try_from((a - b).abs().max()).unwrap();
    assert!(gap(&both.patches.narrow(1, 0, count), &alone.patches) < 1e-5);
    let second = VisualTensors { films: other, ..visual(&[2, 1]) };
    let second = model.features(&second, false);
    assert!(gap(&both.patches.narrow(1, count, count), &second.patches) < 1e-5);
    assert_eq!(model.encode_features(&both, false).patches, 2 * count);
    assert_eq!(model.generate(&with(&one.films), None, &options(2)).unwrap().len(), 2);
}

#[test]
fn products_in_bf16_leave_weights_norms_and_losses_in_f32() {
    let still = ReportModelConfig { dropout: 0.0, visual_dropout: 0.0, cpca: true, lera: Lera::Mended, ..config() };
    let mut model = model(&still);
    let films = visual(&[2, 0, 1]);
    let ids = Tensor::from_slice(&[0i64, 4, 5, 6, 0, 0, 7, 8, 0, 0, 0, 9, 5, 4, 0]).view([3, 5]);
    let targets = ReportTargets {
        ids: ids.shallow_clone(),
        kept: Tensor::ones([3, 4], (Kind::Float, Device::Cpu)),
        named: Tensor::full([3, 4, 2], 0.5, (Kind::Float, Device::Cpu)),
    };
    let exact = model.losses(&model.features(&films, false), &targets, false);
    model.set_compute(Kind::BFloat16);
    let coarse = model.losses(&model.features(&films, false), &targets, false);
    let (a, b) = (f64::try_from(exact.word).unwrap(), f64::try_from(coarse.word).unwrap());
    assert!(a != b && (a - b).abs() < 0.03 * a, "{a} in f32, {b} in bf16");
    let features = model.features(&films, true);
    assert_eq!((features.patches.kind(), features.regions.kind()), (Kind::Float, Kind::Float));
    let encoded = model.encode_features(&features, true);
    assert_eq!(encoded.tokens.kind(), Kind::BFloat16);
    let out = model.encoder_decoder().forward_t(&encoded.tokens, &encoded.present, &ids.narrow(1, 0, 4), true);
    assert_eq!((out.log_probs.kind(), out.attention.kind()), (Kind::Float, Kind::Float));
    let losses = model.losses(&features, &targets, true);
    assert_eq!((losses.word.kind(), losses.grounding.kind()), (Kind::Float, Kind::Float));
    (losses.word + losses.grounding).backward();
    for (name, variable) in model.variables().variables() {
        assert_eq!(variable.kind(), Kind::Float, "{name}");
        if variable.requires_grad() && variable.grad().defined() {
            assert_eq!(variable.grad().kind(), Kind::Float, "{name}");
            assert_eq!(i64::try_from(variable.grad().isfinite().all()).unwrap(), 1, "{name}");
        }
    }
    let written = model.generate(&films, None, &options(3)).unwrap();
    assert!(written.iter().flat_map(|r| &r.log_probs).all(|p| p.is_finite() && *p <= 0.0));
}
