//! Parity with `tests/python/golden/r2gen.py` (equations in double precision, without caches or fused layers), and of cached with
//! teacher-forced decoding.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::nn::attention::MultiHeadAttention;
use crate::reporter::model::conditional_norm::{ConditionalNorm, FusedModulation, StdNorm};

const EXACT: f64 = 2e-6;
pub(crate) const KERNEL: f64 = 1e-5;
pub(crate) const SUMS: f64 = 1e-4;
const TOKENS: i64 = 51;
const VISUAL: i64 = 16;

#[derive(Deserialize)]
pub(crate) struct Golden {
    norm: Vec<f64>,
    conditional_norm: Vec<f64>,
    attention: Vec<f64>,
    attention_weights: Vec<f64>,
    memory: BTreeMap<String, Vec<f64>>,
    encoded: Vec<f64>,
    log_probs: Vec<f64>,
    cross_attention: Vec<f64>,
    loss: f64,
    pub(crate) beam3: Vec<GoldenReport>,
    pub(crate) greedy: Vec<GoldenReport>,
}

#[derive(Deserialize)]
pub(crate) struct GoldenReport {
    pub(crate) words: Vec<i64>,
    pub(crate) sum: f64,
}

pub(crate) fn golden() -> Golden {
    serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/reporter/r2gen.json"))).unwrap()
}

/// The generator's `uniform`: numbers in [-1, 1) of a counter-based stream.
pub(crate) fn uniform(stream: u64, count: usize) -> Vec<f32> {
    (0..count as u64)
        .map(|i| {
            let mut x = stream.wrapping_mul(1_000_003).wrapping_add(i);
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            x ^= x >> 33;
            x = x.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
            x ^= x >> 33;
            ((x >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32
        })
        .collect()
}

fn config(memory_slots: i64) -> ReportModelConfig {
    let small = ReportModelConfig::small();
    ReportModelConfig { d_model: 32, d_ff: 64, dropout: 0.0, visual_dropout: 0.0, memory_slots, ..small }
}

fn build(config: &ReportModelConfig) -> (nn::VarStore, EncoderDecoder) {
    let vs = nn::VarStore::new(Device::Cpu);
    let model = EncoderDecoder::new(&(vs.root() / "encoder_decoder"), config, VISUAL, TOKENS);
    (vs, model)
}

/// The generator's `parameters`.
fn golden_parameters(vs: &nn::VarStore) -> BTreeMap<String, Tensor> {
    let mut variables: Vec<(String, Tensor)> = vs.variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    variables
        .into_iter()
        .enumerate()
        .map(|(index, (name, tensor))| {
            let raw = uniform(index as u64 + 1, tensor.numel()).into_iter().map(f64::from);
            let values: Vec<f32> = match name.as_str() {
                n if n.ends_with("gamma") => raw.map(|v| (1.0 + 0.1 * v) as f32).collect(),
                n if n.ends_with("logit.weight") => raw.map(|v| (0.5 * v) as f32).collect(),
                n if n.ends_with("logit.bias") => {
                    raw.enumerate().map(|(i, v)| if i == 0 { v + 1.6 } else { v } as f32).collect()
                }
                _ => raw.map(|v| (0.3 * v) as f32).collect(),
            };
            (name, Tensor::from_slice(&values).reshape(tensor.size()))
        })
        .collect()
}

fn fill(vs: &nn::VarStore, prefix: &str, parameters: &BTreeMap<String, Tensor>) {
    let _no_grad = tch::no_grad_guard();
    for (name, mut tensor) in vs.variables() {
        tensor.copy_(&parameters[&format!("{prefix}{name}")]);
    }
}

pub(crate) fn golden_model() -> (nn::VarStore, EncoderDecoder, BTreeMap<String, Tensor>) {
    let (vs, model) = build(&config(3));
    let parameters = golden_parameters(&vs);
    fill(&vs, "", &parameters);
    (vs, model, parameters)
}

fn piece<T>(prefix: &str, parameters: &BTreeMap<String, Tensor>, make: impl Fn(&nn::Path) -> T) -> T {
    let vs = nn::VarStore::new(Device::Cpu);
    let made = make(&vs.root());
    fill(&vs, prefix, parameters);
    made
}

pub(crate) fn tokens() -> (Tensor, Tensor) {
    let tokens = Tensor::from_slice(&uniform(1000, 2 * 6 * VISUAL as usize)).view([2, 6, VISUAL]);
    let present = Tensor::from_slice(&[true, true, true, true, true, true, true, true, true, true, false, false]);
    (tokens, present.view([2, 6]))
}

pub(crate) fn report_ids() -> Tensor {
    let mut ids: Vec<i64> = uniform(1001, 24).iter().map(|&u| ((f64::from(u) + 1.0) / 2.0 * 50.0) as i64 + 1).collect();
    ids[0] = 0;
    ids[12] = 0;
    ids[21..].fill(0);
    Tensor::from_slice(&ids).view([2, 12])
}

fn token_vectors() -> Tensor {
    Tensor::from_slice(&uniform(1002, 12 * 32)).view([1, 12, 32])
}

pub(crate) fn assert_close(what: &str, ours: &Tensor, expected: &[f64], tolerance: f64) {
    let ours = Vec::<f64>::try_from(ours.to_kind(Kind::Double).reshape([-1])).unwrap();
    assert_eq!(ours.len(), expected.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what}[{i}]: {a} against {b}");
    }
}

#[test]
fn parameter_names_are_r2gens() {
    let (vs, _) = build(&config(3));
    let names: Vec<String> = vs.variables().into_keys().collect();
    for name in [
        "encoder_decoder.att_embed.0.weight",
        "encoder_decoder.model.encoder.layers.1.self_attn.linears.3.bias",
        "encoder_decoder.model.encoder.layers.0.sublayer.1.norm.gamma",
        "encoder_decoder.model.encoder.norm.beta",
        "encoder_decoder.model.decoder.layers.0.src_attn.linears.0.weight",
        "encoder_decoder.model.decoder.layers.1.feed_forward.w_1.weight",
        "encoder_decoder.model.decoder.layers.1.sublayer.2.norm.mlp_gamma.0.weight",
        "encoder_decoder.model.tgt_embed.0.lut.weight",
        "encoder_decoder.model.rm.attn.linears.2.weight",
        "encoder_decoder.model.rm.mlp.2.bias",
        "encoder_decoder.model.rm.W.weight",
        "encoder_decoder.logit.bias",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} is missing");
    }
    assert!(names.iter().all(|n| !n.contains("__")), "a name is used twice");
}

#[test]
fn norms_equal_the_equations() {
    let (_, _, parameters) = golden_model();
    let norm = piece("encoder_decoder.model.encoder.norm.", &parameters, |p| StdNorm::new(p, 32));
    assert_close("norm", &norm.forward(&token_vectors()).narrow(1, 0, 2), &golden().norm, EXACT);
    let biased = token_vectors().layer_norm([32], None::<Tensor>, None::<Tensor>, 1e-6, false);
    let ours = StdNorm::new(&nn::VarStore::new(Device::Cpu).root(), 32).forward(&token_vectors());
    assert!(f64::try_from((biased - ours).abs().max()).unwrap() > 1e-3, "libtorch's layer_norm is another norm");
}

#[test]
fn a_constant_row_has_a_finite_norm_and_gradient() {
    let vs = nn::VarStore::new(Device::Cpu);
    let norm = StdNorm::new(&vs.root(), 8);
    let xs = Tensor::ones([2, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let out = norm.forward(&xs);
    out.square().sum(Kind::Float).backward();
    assert_eq!(i64::try_from(out.isfinite().all()).unwrap(), 1);
    assert_eq!(i64::try_from(xs.grad().isfinite().all()).unwrap(), 1);
}

#[test]
fn memory_and_conditional_norm_equal_the_equations() {
    let (_, model, parameters) = golden_model();
    let memory = model.memory.as_ref().unwrap();
    let (states, last) = memory.read(&token_vectors(), memory.start(1));
    for (t, expected) in golden().memory {
        let t: i64 = t.parse().unwrap();
        assert_close("memory", &states.select(1, t - 1), &expected, KERNEL);
    }
    assert_close("last state", &last, &golden().memory["12"], KERNEL);
    let prefix = "encoder_decoder.model.decoder.layers.1.sublayer.2.norm.";
    let norm = piece(prefix, &parameters, |p| ConditionalNorm::new(p, 32, 3));
    let modulation = FusedModulation::new([&norm].into_iter()).unwrap().forward(&states);
    let out = norm.norm.scaled(&token_vectors(), modulation.first());
    assert_close("conditional norm", &out.narrow(1, 10, 2), &golden().conditional_norm, KERNEL);
}

#[test]
fn attention_equals_the_equations() {
    let (_, _, parameters) = golden_model();
    let prefix = "encoder_decoder.model.encoder.layers.0.self_attn.";
    let attention = piece(prefix, &parameters, |p| MultiHeadAttention::new(p, 32, 4, 0.0));
    let tokens = token_vectors();
    let causal = Tensor::ones([4, 12], (Kind::Bool, Device::Cpu)).tril(0);
    let (out, weights) =
        attention.attend(&tokens.narrow(1, 0, 4), &attention.keys_and_values(&tokens), Some(&causal), false);
    assert_close("attention", &out, &golden().attention, KERNEL);
    assert_close("weights", &weights.select(2, 3), &golden().attention_weights, EXACT);
}

#[test]
fn teacher_forcing_equals_the_equations() {
    let (_, model, _) = golden_model();
    let (tokens, present) = tokens();
    let ids = report_ids();
    let encoded = model.encode(&tokens, &present, false);
    // The equations give absent tokens values too; attention ignores them.
    assert_close("encoded", &encoded, &golden().encoded, KERNEL);
    let out = model.forward_t(&encoded, &present, &ids.narrow(1, 0, 11), false);
    assert_close("log-probabilities", &out.log_probs, &golden().log_probs, KERNEL);
    assert_close("cross-attention", &out.attention.select(1, 10), &golden().cross_attention, KERNEL);
    let nll = -out.log_probs.gather(2, &ids.narrow(1, 1, 11).unsqueeze(-1), false).squeeze_dim(2);
    let weights = Tensor::ones([2, 11], (Kind::Float, Device::Cpu));
    let _ = weights.get(1).narrow(0, 9, 2).fill_(0.0);
    let loss = (nll * &weights).sum(Kind::Float) / weights.sum(Kind::Float);
    assert_close("loss", &loss, &[golden().loss], KERNEL);
}

#[test]
fn absent_tokens_do_not_matter() {
    let (_, model, _) = golden_model();
    let (tokens, present) = tokens();
    let garbage = tokens.where_self(&present.unsqueeze(-1), &Tensor::from(1e3f32));
    let ids = report_ids().narrow(1, 0, 11);
    let of = |tokens: &Tensor| model.forward_t(&model.encode(tokens, &present, false), &present, &ids, false).log_probs;
    let difference = f64::try_from((of(&tokens) - of(&garbage)).abs().max()).unwrap();
    assert!(difference < EXACT, "{difference}");
}

pub(crate) fn random_model(seed: i64, slots: i64) -> (nn::VarStore, EncoderDecoder, Tensor, Tensor) {
    tch::manual_seed(seed);
    let (vs, model) = build(&config(slots));
    let _no_grad = tch::no_grad_guard();
    let mut bias = vs.variables()["encoder_decoder.logit.bias"].get(0);
    let _ = bias.fill_(0.3 + 0.4 * (seed % 5) as f64);
    let tokens = Tensor::randn([5, 6, VISUAL], (Kind::Float, Device::Cpu)) * 2.0;
    let present = Tensor::rand([5, 6], (Kind::Float, Device::Cpu)).gt(0.4);
    let _ = present.narrow(1, 0, 1).fill_(1);
    let encoded = model.encode(&tokens, &present, false);
    (vs, model, encoded, present)
}

#[test]
fn token_by_token_decoding_equals_teacher_forcing() {
    for (seed, slots) in [(1, 3), (2, 0)] {
        let (_vs, model, encoded, present) = random_model(seed, slots);
        let _no_grad = tch::no_grad_guard();
        let mut state = model.begin(&encoded, &present);
        let mut prefix = Tensor::zeros([5, 1], (Kind::Int64, Device::Cpu));
        for _ in 0..10 {
            let step = state.step(&prefix.select(1, -1));
            let whole = model.forward_t(&encoded, &present, &prefix, false).log_probs.select(1, -1);
            let difference = f64::try_from((&step - &whole).abs().max()).unwrap();
            assert!(difference < KERNEL, "{difference}");
            let token = step.narrow(1, 1, TOKENS - 1).argmax(1, false) + 1;
            assert!(token.equal(&(whole.narrow(1, 1, TOKENS - 1).argmax(1, false) + 1)));
            prefix = Tensor::cat(&[prefix, token.unsqueeze(1)], 1);
        }
    }
}
