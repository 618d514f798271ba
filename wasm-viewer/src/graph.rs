//! The bundle's two graphs on tract: plain numbers in and out.

use d2r_contracts::preview_bundle::DecoderSizes;
use tract_onnx::prelude::*;

use crate::error::{Result, model_error};
use crate::onnx_ops::reader;

/// Hides an empty place of the caches.
const HIDDEN: f32 = -1e9;

/// An optimised graph.
pub type Plan = Arc<TypedRunnableModel>;

/// Parses and optimises a graph.
///
/// # Errors
/// When tract cannot use it.
pub fn plan(bytes: &[u8]) -> Result<Plan> {
    let model = reader().model_for_read(&mut std::io::Cursor::new(bytes)).map_err(model_error)?;
    model.into_optimized().and_then(|m| m.into_runnable()).map_err(model_error)
}

/// Names of the matrix kernels that the graph runs on.
pub fn kernels(plan: &Plan) -> Vec<String> {
    let infos = plan.model().nodes.iter().filter_map(|n| n.op().info().ok()).flatten();
    infos
        .filter_map(|i| {
            i.starts_with("Mult: ").then(|| i.rsplit(['[', ' ']).next().map(|w| w.trim_end_matches(']').to_owned()))
        })
        .flatten()
        .collect()
}

/// What the encoder says of a film.
#[derive(Debug)]
pub struct Encoded {
    /// Keys and values of the film's tokens.
    pub memory: [TValue; 2],
    /// Scores `[classes * g * g]`.
    pub heat: Vec<f32>,
    /// Distances `[4 * g * g]`.
    pub edges: Vec<f32>,
    /// Scores of the labels.
    pub labels: Vec<f32>,
}

fn values(value: &TValue) -> Result<Vec<f32>> {
    Ok(value.to_plain_array_view::<f32>().map_err(model_error)?.iter().copied().collect())
}

/// The same, where the card says how many.
fn sized(value: &TValue, count: usize) -> Result<Vec<f32>> {
    let found = values(value)?;
    if found.len() != count {
        return Err(model_error(format!("the step gives {} numbers where the card's sizes make {count}", found.len())));
    }
    Ok(found)
}

fn tensor(shape: &[usize], values: &[f32]) -> Result<TValue> {
    Ok(Tensor::from_shape(shape, values).map_err(model_error)?.into_tvalue())
}

/// Outputs of `plan` by name.
fn named(plan: &Plan, outputs: TVec<TValue>, names: &[&str]) -> Result<Vec<TValue>> {
    let model = plan.model();
    names
        .iter()
        .map(|name| {
            let place = model
                .outputs
                .iter()
                .position(|o| model.outlet_label(*o).is_some_and(|l| l == *name) || model.nodes[o.node].name == *name);
            place
                .and_then(|p| outputs.get(p).cloned())
                .ok_or_else(|| model_error(format!("the graph has no output `{name}`")))
        })
        .collect()
}

/// Runs the encoder on `side^2` grey levels.
///
/// # Errors
/// When the graph is not the encoder.
pub fn encode(plan: &Plan, pixels: &[u8], side: usize) -> Result<Encoded> {
    let shares: Vec<f32> = pixels.iter().map(|p| f32::from(*p) / 255.0).collect();
    let image = tensor(&[1, 1, side, side], &shares)?;
    let outputs = plan.run(tvec!(image)).map_err(model_error)?;
    let found = named(plan, outputs, &["mem_k", "mem_v", "heat", "edges", "labels"])?;
    Ok(Encoded {
        heat: values(&found[2])?,
        edges: values(&found[3])?,
        labels: values(&found[4])?,
        memory: [found[0].clone(), found[1].clone()],
    })
}

/// The words so far of one hypothesis: keys and values of each layer.
#[derive(Debug, Clone)]
pub struct Cache {
    keys: Vec<f32>,
    values: Vec<f32>,
    filled: usize,
}

impl Cache {
    /// Without words.
    pub fn new(sizes: &DecoderSizes) -> Self {
        let count = sizes.layers * sizes.heads * sizes.max_words * sizes.d_head;
        Self { keys: vec![0.0; count], values: vec![0.0; count], filled: 0 }
    }
}

/// One more word: log-probabilities of the next, and where the decoder looked (`grid^2` shares).
///
/// # Errors
/// When the graph is not the step, or the cache is full.
pub fn step(
    plan: &Plan,
    sizes: &DecoderSizes,
    memory: &[TValue; 2],
    cache: &mut Cache,
    token: i64,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let DecoderSizes { layers, heads, d_head, max_words, .. } = *sizes;
    if cache.filled >= max_words {
        return Err(model_error("the report is longer than the model's positions"));
    }
    let bias: Vec<f32> = (0..max_words).map(|i| if i < cache.filled { 0.0 } else { HIDDEN }).collect();
    let whole = |v: i64| -> Result<TValue> { Ok(Tensor::from_shape(&[1], &[v]).map_err(model_error)?.into_tvalue()) };
    let inputs = tvec!(
        whole(token)?,
        whole(cache.filled as i64)?,
        tensor(&[layers, heads, d_head, max_words], &cache.keys)?,
        tensor(&[layers, heads, max_words, d_head], &cache.values)?,
        tensor(&[1, 1, 1, max_words], &bias)?,
        memory[0].clone(),
        memory[1].clone(),
    );
    let outputs = plan.run(inputs).map_err(model_error)?;
    let found = named(plan, outputs, &["logits", "k_new", "v_new", "attn"])?;
    // Keys lie in columns, values in rows.
    let new = layers * heads * d_head;
    for (row, key) in sized(&found[1], new)?.into_iter().enumerate() {
        cache.keys[row * max_words + cache.filled] = key;
    }
    for (head, value) in sized(&found[2], new)?.chunks_exact(d_head).enumerate() {
        let start = (head * max_words + cache.filled) * d_head;
        cache.values[start..start + d_head].copy_from_slice(value);
    }
    cache.filled += 1;
    Ok((log_softmax(&values(&found[0])?), values(&found[3])?))
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|l| (l - top).exp()).sum();
    logits.iter().map(|l| l - top - sum.ln()).collect()
}
