//! The whole model on random images: without regions, with all slots taken, training and generation.

use super::*;
use crate::nn::pass::gradients;
use crate::reporter::decode::generation::GeneratedReport;
use crate::reporter::decode::generation_options::{GenerationOptions, Method};
use crate::reporter::decode::test_time_augmentation::FlippedInput;
use crate::reporter::model::encoder_decoder::tests::assert_close;

const TOKENS: i64 = 12;

fn config() -> ReportModelConfig {
    ReportModelConfig::small()
}

fn model(config: &ReportModelConfig) -> ReportModel {
    tch::manual_seed(5);
    ReportModel::new(config, TOKENS, (0.449, 0.226), Device::Cpu).unwrap()
}

/// One image per entry, with so many regions.
fn visual(regions: &[usize]) -> VisualInput {
    tch::manual_seed(9);
    let batch = regions.len() as i64;
    let per_image = regions.iter().copied().max().unwrap_or(0) as i64;
    let count = regions.iter().sum::<usize>() as i64;
    let mut slots = Vec::new();
    let mut present = vec![false; (batch * per_image) as usize];
    for (row, &n) in regions.iter().enumerate() {
        for index in 0..n {
            let slot = row as i64 * per_image + index as i64;
            slots.push(slot);
            present[slot as usize] = true;
        }
    }
    VisualInput {
        images: Tensor::randint(256, [batch, 1, 64, 64], (Kind::Uint8, Device::Cpu)),
        regions: RegionInput {
            crops: Tensor::randint(256, [count, 1, 32, 32], (Kind::Uint8, Device::Cpu)),
            statistics: Tensor::rand([count, 2], (Kind::Float, Device::Cpu)),
            slots: Tensor::from_slice(&slots),
            present: Tensor::from_slice(&present).view([batch, per_image]),
            classes: Tensor::randint(22, [count], (Kind::Int64, Device::Cpu)),
            scored_boxes: Tensor::rand([count, 5], (Kind::Float, Device::Cpu)),
        },
    }
}

fn options(beam_size: usize) -> GenerationOptions {
    GenerationOptions { banned: vec![vec![3]], ..GenerationOptions::beam(beam_size, 9) }
}

#[test]
fn images_with_no_some_and_all_region_slots_taken_get_reports() {
    let model = model(&config());
    for regions in [vec![0], vec![0, 0], vec![0, 3, 1], vec![3, 3]] {
        for beam in [1, 3] {
            let reports = model.generate(&visual(&regions), None, &options(beam)).unwrap();
            assert_eq!(reports.len(), regions.len());
            for (report, &n) in reports.iter().zip(&regions) {
                assert_eq!(report.attention.len(), report.tokens.len());
                for of_token in &report.attention {
                    assert_eq!(of_token.len(), n);
                    let total: f32 = of_token.iter().sum();
                    assert!(total <= 1.0 + 1e-5 && of_token.iter().all(|&w| w >= 0.0), "{of_token:?}");
                    assert!(n == 0 || total > 0.0);
                }
            }
        }
    }
}

#[test]
fn a_report_does_not_depend_on_the_rest_of_the_batch() {
    let model = model(&config());
    let alone = visual(&[3]);
    let pair = visual(&[3, 1]);
    // The first image and its regions, with another image.
    let mixed = VisualInput {
        images: Tensor::cat(&[&alone.images, &pair.images.narrow(0, 1, 1)], 0),
        regions: RegionInput {
            crops: Tensor::cat(&[&alone.regions.crops, &pair.regions.crops.narrow(0, 3, 1)], 0),
            statistics: Tensor::cat(&[&alone.regions.statistics, &pair.regions.statistics.narrow(0, 3, 1)], 0),
            slots: pair.regions.slots.shallow_clone(),
            present: pair.regions.present.shallow_clone(),
            classes: Tensor::cat(&[&alone.regions.classes, &pair.regions.classes.narrow(0, 3, 1)], 0),
            scored_boxes: Tensor::cat(&[&alone.regions.scored_boxes, &pair.regions.scored_boxes.narrow(0, 3, 1)], 0),
        },
    };
    let (a, b) =
        (model.generate(&alone, None, &options(3)).unwrap(), model.generate(&mixed, None, &options(3)).unwrap());
    assert_eq!(a[0].tokens, b[0].tokens);
    for (x, y) in a[0].attention.concat().iter().zip(b[0].attention.concat()) {
        assert!((x - y).abs() < 1e-4);
    }
}

#[test]
fn with_flip_test_time_augmentation_a_mirror_image_gets_the_swapped_report() {
    let model = model(&config());
    let input = visual(&[3, 1]);
    let mirror = input.flipped();
    assert!(mirror.flipped().images.equal(&input.images) && !mirror.images.equal(&input.images));
    let mut swapped_tokens: Vec<i64> = (0..TOKENS).collect();
    swapped_tokens.swap(1, 2);
    swapped_tokens.swap(5, 8);
    let flipped =
        |of: &VisualInput| FlippedInput { features: model.features(of, false), swapped_tokens: swapped_tokens.clone() };
    let generate = |of: &VisualInput, flipped: Option<&FlippedInput>, options: &GenerationOptions| {
        let reports = model.generate_from(&model.features(of, false), flipped, options, &[1, 2]).unwrap();
        reports.into_iter().map(|mut r| r.remove(0)).collect::<Vec<GeneratedReport>>()
    };
    let swapped =
        |report: &GeneratedReport| report.tokens.iter().map(|&id| swapped_tokens[id as usize]).collect::<Vec<_>>();
    let mut differs_without = false;
    for options in
        [GenerationOptions::beam(3, 9), GenerationOptions { method: Method::Greedy, ..GenerationOptions::beam(1, 9) }]
    {
        let of_input = generate(&input, Some(&flipped(&mirror)), &options);
        let of_mirror = generate(&mirror, Some(&flipped(&input)), &options);
        for (a, b) in of_input.iter().zip(&of_mirror) {
            assert!(!a.tokens.is_empty());
            assert_eq!(swapped(a), b.tokens);
            for (x, y) in a
                .log_probs
                .iter()
                .zip(&b.log_probs)
                .chain(a.attention.iter().flatten().zip(b.attention.iter().flatten()))
            {
                assert!((x - y).abs() < 1e-4, "{x} and {y}");
            }
        }
        let (of_input, of_mirror) = (generate(&input, None, &options), generate(&mirror, None, &options));
        differs_without |= of_input.iter().zip(&of_mirror).any(|(a, b)| swapped(a) != b.tokens);
    }
    assert!(differs_without, "the model alone must not be symmetric, or the test shows nothing");
}

#[test]
fn regions_and_their_embedding_can_be_switched_off() {
    let plain = ReportModelConfig { regions: false, ..config() };
    let reports = model(&plain).generate(&visual(&[2, 1]), None, &options(1)).unwrap();
    assert!(reports.iter().all(|r| r.attention.iter().all(Vec::is_empty)));
    let bare = ReportModelConfig { region_embedding: false, ..config() };
    let names: Vec<String> = model(&bare).variables().variables().into_keys().collect();
    assert!(!names.iter().any(|n| n.contains("region_encoder.class")));
    assert!(names.iter().any(|n| n == "region_encoder.conv5.weight"));
    assert!(names.iter().any(|n| n == "region_encoder.fc.weight"));
    // Sixteen times the first width is the tokens' width.
    let d_visual = 2 * bare.d_model;
    let published = ReportModelConfig { region_projection: false, region_width: d_visual / 16, ..bare };
    let names: Vec<String> = model(&published).variables().variables().into_keys().collect();
    assert!(!names.iter().any(|n| n.contains("region_encoder.fc")));
    assert_eq!(model(&published).features(&visual(&[2, 1]), false).regions.size(), [2, 2, d_visual]);
    let narrow = ReportModelConfig { region_width: d_visual / 8, ..published };
    assert!(model(&narrow).variables().variables().contains_key("region_encoder.fc.weight"));
}

#[test]
fn each_crop_is_normalised_by_its_own_statistics() {
    let rgb = ReportModelConfig { rgb: true, region_normalisation: RegionNormalisation::Crop, ..config() };
    let grey = ReportModelConfig { rgb: false, ..rgb.clone() };
    let mut regions = visual(&[3]).regions;
    regions.crops = Tensor::from_slice(&[51u8, 102, 0]).view([3, 1, 1, 1]);
    // The second deviation is below the least one; the third crop is black and gets the statistics of images.
    regions.statistics = Tensor::from_slice(&[0.1f32, 0.2, 0.3, 0.001, 0.005, 0.4]).view([3, 2]);
    let values = |config: &ReportModelConfig| model(config).normalised_crops(&regions);
    let black = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225];
    let of_image = ReportModelConfig { region_normalisation: RegionNormalisation::Image, ..grey.clone() };
    for (what, config, expected) in [
        ("grey", &grey, vec![0.5, 10.0, -0.449 / 0.226]),
        ("three channels", &rgb, [[0.5; 3], [10.0; 3], black].concat()),
        ("as images", &of_image, [0.2, 0.4, 0.0].map(|x: f64| (x - 0.449) / 0.226).to_vec()),
    ] {
        assert_close(what, &values(config).flatten(0, -1), &expected, 1e-4);
    }
}

#[test]
fn both_losses_fall_on_one_batch() {
    let model = model(&ReportModelConfig { dropout: 0.0, visual_dropout: 0.0, ..config() });
    let input = visual(&[2, 0, 1]);
    let ids = Tensor::from_slice(&[0i64, 4, 5, 6, 0, 0, 7, 8, 0, 0, 0, 9, 5, 4, 0]).view([3, 5]);
    let weights = Tensor::from_slice(&[1f32, 1., 1., 1., 1., 1., 1., 0., 1., 1., 1., 1.]).view([3, 4]);
    let mut named_regions = vec![0f32; 24];
    named_regions[1] = 1.0;
    named_regions[3] = 1.0;
    named_regions[16] = 1.0;
    let targets = ReportTargets { ids, weights, named_regions: Tensor::from_slice(&named_regions).view([3, 4, 2]) };
    let before = model.losses(&model.features(&input, true), &targets, true);
    let (token, grounding) = (f64::try_from(&before.token).unwrap(), f64::try_from(&before.grounding).unwrap());
    assert!(token > 1.0 && grounding > 0.1, "{token} {grounding}");
    for _ in 0..25 {
        let losses = model.losses(&model.features(&input, true), &targets, true);
        let mut params = model.variables().trainable_variables();
        let total = losses.token + losses.grounding;
        let found = gradients(&total, &params.iter().collect::<Vec<_>>(), model.take_passes()).unwrap();
        let _no_grad = tch::no_grad_guard();
        for (v, grad) in params.iter_mut().zip(found).filter(|(_, grad)| grad.defined()) {
            let _ = v.g_sub_(&(grad.clamp(-0.1, 0.1) * 0.5));
        }
    }
    let after = model.losses(&model.features(&input, true), &targets, true);
    let (a, b) = (f64::try_from(&after.token).unwrap(), f64::try_from(&after.grounding).unwrap());
    assert!(a < 0.7 * token && b < grounding, "{token} to {a}, {grounding} to {b}");
}

#[test]
fn without_named_regions_the_grounding_loss_is_zero() {
    let model = model(&config());
    let targets = ReportTargets {
        ids: Tensor::from_slice(&[0i64, 4, 0]).view([1, 3]),
        weights: Tensor::ones([1, 2], (Kind::Float, Device::Cpu)),
        named_regions: Tensor::zeros([1, 2, 2], (Kind::Float, Device::Cpu)),
    };
    let losses = model.losses(&model.features(&visual(&[2]), false), &targets, false);
    assert_eq!(f64::try_from(losses.grounding).unwrap(), 0.0);
    let none = ReportTargets { named_regions: Tensor::zeros([1, 2, 0], (Kind::Float, Device::Cpu)), ..targets };
    let losses = model.losses(&model.features(&visual(&[0]), false), &none, false);
    assert_eq!(f64::try_from(losses.grounding).unwrap(), 0.0);
    assert!(f64::try_from(losses.token).unwrap().is_finite());
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
        let error = ReportModel::new(&broken, TOKENS, (0.4, 0.2), Device::Cpu).unwrap_err();
        assert_eq!(error.exit().code(), 78, "{error}");
    }
}

#[test]
fn tokens_of_two_views_are_concatenated() {
    let model = model(&config());
    let one = visual(&[2, 1]);
    let with = |second: &Tensor| VisualInput {
        images: Tensor::cat(&[&one.images, second], 1),
        regions: RegionInput {
            crops: one.regions.crops.shallow_clone(),
            statistics: one.regions.statistics.shallow_clone(),
            slots: one.regions.slots.shallow_clone(),
            present: one.regions.present.shallow_clone(),
            classes: one.regions.classes.shallow_clone(),
            scored_boxes: one.regions.scored_boxes.shallow_clone(),
        },
    };
    let other = Tensor::randint(256, [2, 1, 64, 64], (Kind::Uint8, Device::Cpu));
    let (alone, both) = (model.features(&one, false), model.features(&with(&other), false));
    let count = alone.patches.size()[1];
    assert_eq!(both.patches.size(), [2, 2 * count, alone.patches.size()[2]]);
    let gap = |a: &Tensor, b: &Tensor| f64::try_from((a - b).abs().max()).unwrap();
    assert!(gap(&both.patches.narrow(1, 0, count), &alone.patches) < 1e-5);
    let second = VisualInput { images: other, ..visual(&[2, 1]) };
    let second = model.features(&second, false);
    assert!(gap(&both.patches.narrow(1, count, count), &second.patches) < 1e-5);
    assert_eq!(model.encode(&both, false).patches, 2 * count);
    assert_eq!(model.generate(&with(&one.images), None, &options(2)).unwrap().len(), 2);
}

#[test]
fn products_in_bf16_leave_weights_norms_and_losses_in_f32() {
    let without_dropout =
        ReportModelConfig { dropout: 0.0, visual_dropout: 0.0, cpca: true, lera: Lera::Corrected, ..config() };
    let mut model = model(&without_dropout);
    let input = visual(&[2, 0, 1]);
    let ids = Tensor::from_slice(&[0i64, 4, 5, 6, 0, 0, 7, 8, 0, 0, 0, 9, 5, 4, 0]).view([3, 5]);
    let targets = ReportTargets {
        ids: ids.shallow_clone(),
        weights: Tensor::ones([3, 4], (Kind::Float, Device::Cpu)),
        named_regions: Tensor::full([3, 4, 2], 0.5, (Kind::Float, Device::Cpu)),
    };
    let exact = model.losses(&model.features(&input, false), &targets, false);
    model.set_compute(Kind::BFloat16);
    let coarse = model.losses(&model.features(&input, false), &targets, false);
    let (a, b) = (f64::try_from(exact.token).unwrap(), f64::try_from(coarse.token).unwrap());
    assert!(a != b && (a - b).abs() < 0.03 * a, "{a} in f32, {b} in bf16");
    let features = model.features(&input, true);
    assert_eq!((features.patches.kind(), features.regions.kind()), (Kind::Float, Kind::Float));
    let encoded = model.encode(&features, true);
    assert_eq!(encoded.tokens.kind(), Kind::BFloat16);
    let out = model.encoder_decoder().forward_t(&encoded.tokens, &encoded.present, &ids.narrow(1, 0, 4), true);
    assert_eq!((out.log_probs.kind(), out.attention.kind()), (Kind::Float, Kind::Float));
    let losses = model.losses(&features, &targets, true);
    assert_eq!((losses.token.kind(), losses.grounding.kind()), (Kind::Float, Kind::Float));
    assert!(model.variables().variables().values().all(|v| v.kind() == Kind::Float));
    let params = model.variables().trainable_variables();
    let passes = model.take_passes();
    let found = gradients(&(losses.token + losses.grounding), &params.iter().collect::<Vec<_>>(), passes).unwrap();
    for grad in found.iter().filter(|grad| grad.defined()) {
        assert_eq!(grad.kind(), Kind::Float);
        assert_eq!(i64::try_from(grad.isfinite().all()).unwrap(), 1);
    }
    let reports = model.generate(&input, None, &options(3)).unwrap();
    assert!(reports.iter().flat_map(|r| &r.log_probs).all(|p| p.is_finite() && *p <= 0.0));
}

#[test]
fn activations_of_the_trunk_that_are_computed_again_change_no_bit_of_the_gradients() {
    let views = |recompute: bool, kind: Kind| {
        let mut model = model(&ReportModelConfig { trunk_depth: 50, trunk_width: 4, cpca: true, ..config() });
        model.set_compute(kind);
        model.set_recompute(recompute);
        let input = visual(&[2, 0, 1]);
        let targets = ReportTargets {
            ids: Tensor::from_slice(&[0i64, 4, 5, 6, 0, 0, 7, 8, 0, 0, 0, 9, 5, 4, 0]).view([3, 5]),
            weights: Tensor::ones([3, 4], (Kind::Float, Device::Cpu)),
            named_regions: Tensor::full([3, 4, 2], 0.5, (Kind::Float, Device::Cpu)),
        };
        tch::manual_seed(11);
        let losses = model.losses(&model.features(&input, true), &targets, true);
        let passes = model.take_passes();
        assert_eq!(passes.len(), 1 + usize::from(recompute));
        let variables = model.variables().variables();
        let mut learned: Vec<(&String, &Tensor)> = variables.iter().filter(|(_, v)| v.requires_grad()).collect();
        learned.sort_by_key(|(name, _)| *name);
        let params: Vec<&Tensor> = learned.iter().map(|(_, v)| *v).collect();
        let found = gradients(&(losses.token + losses.grounding), &params, passes).unwrap();
        let defined = learned.iter().map(|(name, _)| (*name).clone()).zip(found).filter(|(_, g)| g.defined());
        let statistics = crate::nn::running_statistics::running_statistics(model.variables());
        (defined.collect::<Vec<_>>(), statistics.iter().map(Tensor::copy).collect::<Vec<_>>())
    };
    for kind in [Kind::Float, Kind::BFloat16] {
        let (kept, again) = (views(false, kind), views(true, kind));
        assert!(kept.0.iter().any(|(name, _)| name.contains("visual_extractor.model.layer1")));
        assert!(kept == again, "{kind:?}");
    }
}
