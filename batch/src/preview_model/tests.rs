//! Parity of libtorch and tract on one set of weights: the same numbers and the same reports.

use d2r_contracts::preview_bundle::{DecoderSizes, PreviewOptions};
use d2r_viewer::beam_search::{BeamSearch, Hypothesis};
use d2r_viewer::graph::{Cache, Encoded, Plan, encode, plan, step};
use tch::{Device, Kind, Tensor};

use crate::config::preview::{PreviewModelConfig, Tier};
use crate::preview_model::model::preview_model::PreviewModel;
use crate::preview_model::onnx::graphs::graphs;

const TOKENS: i64 = 30;

fn preview_model() -> PreviewModel {
    let config = PreviewModelConfig {
        tier: Tier::A,
        input_size: 64,
        d_model: 32,
        d_ff: 64,
        heads: 4,
        layers: 2,
        embedding: 16,
        max_words: 12,
        dropout: 0.1,
    };
    tch::manual_seed(7);
    let model = PreviewModel::new(&config, TOKENS, Device::Cpu).unwrap();
    let _no_grad = tch::no_grad_guard();
    // Norms that are not the identity, so that an export without them fails.
    for (name, mut tensor) in model.variables().variables() {
        if name.ends_with("running_var") {
            let _ = tensor.uniform_(0.5, 2.0);
        } else if name.contains("norm") || name.ends_with("bias") {
            let _ = tensor.uniform_(-0.5, 0.5);
        }
    }
    model.freeze();
    model
}

fn sizes(model: &PreviewModel) -> DecoderSizes {
    let c = &model.config;
    DecoderSizes {
        layers: c.layers as usize,
        heads: c.heads as usize,
        d_head: (c.d_model / c.heads) as usize,
        max_words: c.max_words as usize,
        grid: c.input_size as usize / 32,
        heat_grid: c.input_size as usize / 16,
    }
}

fn image(seed: u64) -> Vec<u8> {
    (0..64 * 64u64).map(|i| ((i * 2_654_435_761 + seed * 97) >> 7) as u8).collect()
}

fn report(plan: &Plan, sizes: DecoderSizes, options: PreviewOptions, image: &Encoded) -> Hypothesis {
    let mut search = BeamSearch::new(plan, sizes, options, -1, image.memory.clone()).unwrap();
    while search.advance().unwrap() {}
    search.finish()
}

fn near(name: &str, ours: &[f32], theirs: &Tensor, tolerance: f32) {
    let theirs = Vec::<f32>::try_from(theirs.contiguous().reshape([-1])).unwrap();
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let gap = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(gap <= tolerance, "{name}: {gap}");
}

#[test]
fn tract_and_libtorch_agree_on_features_and_log_probabilities() {
    let _no_grad = tch::no_grad_guard();
    let model = preview_model();
    let graphs = graphs(&model, &[("run_id", "test")]).unwrap();
    let (encoder, stepper) = (plan(&graphs.encoder).unwrap(), plan(&graphs.step).unwrap());
    let sizes = sizes(&model);
    for seed in 0..3 {
        let pixels = image(seed);
        let images = Tensor::from_slice(&pixels).view([1, 1, 64, 64]).to_kind(Kind::Float) / 255.0;
        let features = model.features(&images, false);
        let encoded = encode(&encoder, &pixels, 64).unwrap();
        near("heat", &encoded.heat, &features.heat.sigmoid(), 1e-4);
        near("edges", &encoded.edges, &features.edges, 1e-4);
        near("labels", &encoded.labels, &features.labels.sigmoid(), 1e-4);

        let ids = [0i64, 5, 9, 9, 3, 17];
        let (logits, attention) =
            model.decoder.forward_t(&Tensor::from_slice(&ids).view([1, 6]), &features.tokens, false);
        let log_probs = logits.log_softmax(-1, Kind::Float);
        let mut cache = Cache::new(&sizes).unwrap();
        for (t, id) in ids.into_iter().enumerate() {
            let (ours, of_token) = step(&stepper, &sizes, &encoded.memory, &mut cache, id).unwrap();
            near("log-probabilities", &ours, &log_probs.get(0).get(t as i64), 1e-3);
            near("attention", &of_token, &attention.get(0).get(t as i64), 1e-4);
        }
    }
}

#[test]
fn freezing_twice_changes_nothing_and_only_frozen_models_are_exported() {
    let model = preview_model();
    let before: Vec<Tensor> = model.variables().trainable_variables().iter().map(Tensor::copy).collect();
    model.freeze();
    for (before, after) in before.iter().zip(model.variables().trainable_variables()) {
        assert!(
            f64::try_from((before - &after).abs().max()).unwrap() <= 1e-6 * f64::try_from(before.abs().max()).unwrap()
        );
    }
    let _no_grad = tch::no_grad_guard();
    let _ = model.token.ws.shallow_clone().uniform_(-1.0, 1.0);
    let refused = graphs(&model, &[]).unwrap_err().to_string();
    assert!(refused.contains("token.weight") && refused.contains("frozen"), "{refused}");
}

#[test]
fn greedy_reports_equal_libtorchs_and_a_beam_is_no_worse() {
    let _no_grad = tch::no_grad_guard();
    let model = preview_model();
    let graphs = graphs(&model, &[]).unwrap();
    let (encoder, stepper) = (plan(&graphs.encoder).unwrap(), plan(&graphs.step).unwrap());
    let sizes = sizes(&model);
    let options = PreviewOptions {
        beam_size: 1,
        block_ngram: 0,
        score_min: 0.3,
        nms_iou: 0.5,
        max_detections: 5,
        link_weight_min: 0.3,
    };
    for seed in 0..8 {
        let pixels = image(seed);
        let images = Tensor::from_slice(&pixels).view([1, 1, 64, 64]).to_kind(Kind::Float) / 255.0;
        let source = model.features(&images, false).tokens;
        let mut expected = vec![0i64];
        while expected.len() <= sizes.max_words {
            let ids = Tensor::from_slice(&expected).view([1, -1]);
            let (logits, _) = model.decoder.forward_t(&ids, &source, false);
            let next = i64::try_from(logits.get(0).get(expected.len() as i64 - 1).argmax(0, false)).unwrap();
            if next == 0 {
                break;
            }
            expected.push(next);
        }
        let encoded = encode(&encoder, &pixels, 64).unwrap();
        let greedy = report(&stepper, sizes, options, &encoded);
        assert_eq!(greedy.words, expected[1..]);
        assert_eq!(greedy.attention.len(), greedy.words.len());
        let wide = PreviewOptions { beam_size: 3, ..options };
        let beam = report(&stepper, sizes, wide, &encoded);
        assert!(beam.sum >= greedy.sum - 1e-3, "{} against {}", beam.sum, greedy.sum);
    }
}
