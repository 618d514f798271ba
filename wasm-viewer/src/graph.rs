//! The bundle's two graphs on tract.

use d2r_contracts::foreign_code;
use d2r_contracts::preview_bundle::DecoderSizes;
use tract_onnx::prelude::*;

use crate::error::{Result, ViewerError, model_error};
use crate::graph_limits::{VALUES_MAX, check_volume};
use crate::graph_names::check_names;
use crate::onnx_ops::parser;

/// Bias of an empty place of the caches.
const MASKED: f32 = -1e9;

/// An optimised graph.
pub type Plan = Arc<TypedRunnableModel>;

/// Parses and optimises a graph.
///
/// tract panics on some graphs whose operators do not fit together. That is an error here; in WebAssembly, where nothing can be
/// caught, the worker ends and the page starts another one.
///
/// # Errors
/// When tract cannot use it, or its tensors together are too large.
pub fn plan(bytes: &[u8]) -> Result<Plan> {
    let refused = || ViewerError::Bundle("the graph's operators do not fit together".into());
    foreign_code::caught(|| optimised(bytes)).unwrap_or_else(|| Err(refused()))
}

fn optimised(bytes: &[u8]) -> Result<Plan> {
    let parser = parser();
    let file = parser.proto_model_for_read(&mut std::io::Cursor::new(bytes)).map_err(model_error)?;
    check_names(&file).map_err(|e| ViewerError::Bundle(format!("{e:#}")))?;
    let model = parser.model_for_proto_model(&file).map_err(model_error)?;
    check_volume(&model, VALUES_MAX).map_err(|e| ViewerError::Bundle(format!("{e:#}")))?;
    model.into_optimized().and_then(|m| m.into_runnable()).map_err(model_error)
}

/// Names of the graph's matrix multiplication kernels.
pub fn kernels(plan: &Plan) -> Vec<String> {
    let infos = plan.model().nodes.iter().filter_map(|n| n.op().info().ok()).flatten();
    infos
        .filter_map(|i| {
            i.starts_with("Mult: ").then(|| i.rsplit(['[', ' ']).next().map(|w| w.trim_end_matches(']').to_owned()))
        })
        .flatten()
        .collect()
}

/// Outputs of the encoder for one image; `g` is the heat map's grid.
#[derive(Debug)]
pub struct Encoded {
    /// Keys and values of the image's tokens, for the cross-attention.
    pub memory: [TValue; 2],
    /// Class scores `[classes * g * g]`, 0 to 1.
    pub heat: Vec<f32>,
    /// Distances from the cell's centre to the left, top, right and bottom edge `[4 * g * g]`, over the input size.
    pub edges: Vec<f32>,
    /// Scores of the labels, 0 to 1.
    pub labels: Vec<f32>,
}

fn values(value: &TValue) -> Result<Vec<f32>> {
    Ok(value.to_plain_array_view::<f32>().map_err(model_error)?.iter().copied().collect())
}

/// The values of a tensor of `count` elements.
fn sized(value: &TValue, count: usize) -> Result<&[f32]> {
    let found = value.try_as_plain_ram().and_then(|plain| plain.as_slice::<f32>()).map_err(model_error)?;
    if found.len() != count {
        return Err(model_error(format!("the step returns {} values, the card's sizes make {count}", found.len())));
    }
    Ok(found)
}

fn tensor(shape: &[usize], values: &[f32]) -> Result<TValue> {
    Ok(Tensor::from_shape(shape, values).map_err(model_error)?.into_tvalue())
}

/// The outputs with these names.
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

/// Runs the encoder on `size * size` grey levels.
///
/// # Errors
/// When the graph is not the encoder.
pub fn encode(plan: &Plan, pixels: &[u8], size: usize) -> Result<Encoded> {
    let scaled: Vec<f32> = pixels.iter().map(|p| f32::from(*p) / 255.0).collect();
    let image = tensor(&[1, 1, size, size], &scaled)?;
    let outputs = plan.run(tvec!(image)).map_err(model_error)?;
    let found = named(plan, outputs, &["mem_k", "mem_v", "heat", "edges", "labels"])?;
    Ok(Encoded {
        heat: values(&found[2])?,
        edges: values(&found[3])?,
        labels: values(&found[4])?,
        memory: [found[0].clone(), found[1].clone()],
    })
}

/// Keys and values of one hypothesis's words in each layer. Clones share them until one is extended.
#[derive(Debug, Clone)]
pub struct Cache {
    keys: Arc<Tensor>,
    values: Arc<Tensor>,
    /// 0 for places with a word, [`MASKED`] for empty ones, `[max_words]`.
    bias: Arc<Tensor>,
    filled: usize,
}

impl Cache {
    /// Caches without words.
    ///
    /// # Errors
    /// When the caches cannot be allocated.
    pub fn new(sizes: &DecoderSizes) -> Result<Self> {
        let DecoderSizes { layers, heads, d_head, max_words, .. } = *sizes;
        let empty = |shape: &[usize]| Tensor::zero::<f32>(shape).map(Arc::new).map_err(model_error);
        Ok(Self {
            keys: empty(&[layers, heads, d_head, max_words])?,
            values: empty(&[layers, heads, max_words, d_head])?,
            bias: Arc::new(tensor1(&vec![MASKED; max_words])),
            filled: 0,
        })
    }

    /// Writes a word's keys and values to the next place.
    fn push(&mut self, sizes: &DecoderSizes, key: &[f32], value: &[f32]) -> TractResult<()> {
        let DecoderSizes { d_head, max_words, .. } = *sizes;
        let mut keys = Arc::make_mut(&mut self.keys).try_as_plain_ram_mut()?;
        // Keys are columns, values are rows.
        for (row, key) in keys.as_slice_mut::<f32>()?.chunks_exact_mut(max_words).zip(key) {
            row[self.filled] = *key;
        }
        let mut values = Arc::make_mut(&mut self.values).try_as_plain_ram_mut()?;
        let heads = values.as_slice_mut::<f32>()?.chunks_exact_mut(max_words * d_head);
        for (head, value) in heads.zip(value.chunks_exact(d_head)) {
            head[self.filled * d_head..][..d_head].copy_from_slice(value);
        }
        Arc::make_mut(&mut self.bias).try_as_plain_ram_mut()?.as_slice_mut::<f32>()?[self.filled] = 0.0;
        self.filled += 1;
        Ok(())
    }
}

/// One step of the decoder: log-probabilities of the next word, and the cross-attention over the patch tokens `[grid *
/// grid]`.
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
    if cache.filled >= sizes.max_words {
        return Err(model_error("the report is longer than the model's positions"));
    }
    let kept = |tensor: &Arc<Tensor>| TValue::from_const(tensor.clone());
    let inputs = tvec!(
        tensor1(&[token]).into_tvalue(),
        tensor1(&[cache.filled as i64]).into_tvalue(),
        kept(&cache.keys),
        kept(&cache.values),
        kept(&cache.bias),
        memory[0].clone(),
        memory[1].clone(),
    );
    let outputs = plan.run(inputs).map_err(model_error)?;
    let found = named(plan, outputs, &["logits", "k_new", "v_new", "attn"])?;
    let new = sizes.layers * sizes.heads * sizes.d_head;
    cache.push(sizes, sized(&found[1], new)?, sized(&found[2], new)?).map_err(model_error)?;
    Ok((log_softmax(&values(&found[0])?), values(&found[3])?))
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|l| (l - top).exp()).sum();
    logits.iter().map(|l| l - top - sum.ln()).collect()
}
