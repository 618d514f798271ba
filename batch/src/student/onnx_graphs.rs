//! The student's two graphs. `encoder.onnx`: a film to the decoder's keys and values, heat, edges and labels.
//! `step.onnx`: one more word, with the caches as inputs. No dynamic axes and no control flow: the host loops.

use tch::nn::{Conv2D, LayerNorm, Linear};
use tch::Tensor;
use tract_onnx::pb::tensor_proto::DataType;

use super::mobile_encoder::ConvNorm;
use super::onnx_writer::{Attribute, GraphWriter, Name};
use super::student_decoder::{EPS, StudentLayer};
use super::student_model::{CLASSES, LABELS, Student};
use crate::error::Result;

/// Both graphs' bytes.
#[derive(Debug)]
pub struct Graphs {
    /// `encoder.onnx`.
    pub encoder: Vec<u8>,
    /// `step.onnx`.
    pub step: Vec<u8>,
}

/// Writes both; `properties` become their metadata.
///
/// # Errors
/// When libtorch refuses to read a weight.
pub fn graphs(student: &Student, properties: &[(&str, &str)]) -> Result<Graphs> {
    let _no_grad = tch::no_grad_guard();
    Ok(Graphs { encoder: encoder(student)?.into_bytes(properties), step: step(student)?.into_bytes(properties) })
}

fn encoder(student: &Student) -> Result<GraphWriter> {
    let mut g = GraphWriter::new("encoder");
    let config = &student.config;
    let side = i64::from(config.input_side);
    let (grid, cells) = (side / 32, (side / 32).pow(2));
    let image = g.input("image", DataType::Float, &[1, 1, side, side]);
    let encoder = &student.encoder;
    let mut xs = convolved_norm(&mut g, &image, "stem", &encoder.stem, true)?;
    let mut map = xs.clone();
    for (i, block) in encoder.blocks.iter().enumerate() {
        if i == encoder.at_stride_16 {
            map = xs.clone();
        }
        let name = |part: &str| format!("block{i}_{part}");
        let wide = match &block.expand {
            Some(layer) => convolved_norm(&mut g, &xs, &name("expand"), layer, true)?,
            None => xs.clone(),
        };
        let deep = convolved_norm(&mut g, &wide, &name("depthwise"), &block.depthwise, true)?;
        let out = convolved_norm(&mut g, &deep, &name("project"), &block.project, false)?;
        xs = if block.shortcut { g.node("Add", &[&out, &xs], &[]) } else { out };
    }
    let last = convolved_norm(&mut g, &xs, "last", &encoder.last, true)?;
    let head = pointwise(&mut g, &map, "head", &student.head)?;
    let head = g.node("Relu", &[&head], &[]);
    for (name, layer, channels) in [("heat", &student.heat, CLASSES), ("edges", &student.edges, 4)] {
        let logits = pointwise(&mut g, &head, name, layer)?;
        let shares = g.node("Sigmoid", &[&logits], &[]);
        g.output(name, &shares, &[1, channels, 2 * grid, 2 * grid]);
    }
    let flat = g.reshape(&last, &[encoder.token_width, cells]);
    let flat = g.node("Transpose", &[&flat], &[("perm", Attribute::Ints(vec![1, 0]))]);
    let mean = g.node("ReduceMean", &[&flat], &[("axes", Attribute::Ints(vec![0])), ("keepdims", Attribute::Int(1))]);
    let labels = projected(&mut g, &mean, "labels", &student.labels)?;
    let labels = g.node("Sigmoid", &[&labels], &[]);
    g.output("labels", &labels, &[1, LABELS]);
    let tokens = projected(&mut g, &flat, "token", &student.token)?;
    let place = g.weight("place", &student.place)?;
    let tokens = g.node("Add", &[&tokens, &place], &[]);
    let tokens = normed(&mut g, &tokens, "token_norm", &student.token_norm)?;
    let (heads, d_head) = (config.heads, config.d_model / config.heads);
    for (output, linear) in [("mem_k", 1), ("mem_v", 2)] {
        let mut layers = Vec::new();
        for (i, layer) in student.decoder.layers.iter().enumerate() {
            let name = format!("{output}{i}");
            let all = projected(&mut g, &tokens, &name, &layer.src_attn.linears[linear])?;
            let split = g.reshape(&all, &[1, cells, heads, d_head]);
            layers.push(g.node("Transpose", &[&split], &[("perm", Attribute::Ints(vec![0, 2, 1, 3]))]));
        }
        let all = g.node("Concat", &layers.iter().collect::<Vec<_>>(), &[("axis", Attribute::Int(0))]);
        g.output(output, &all, &[config.layers, heads, cells, d_head]);
    }
    Ok(g)
}

fn step(student: &Student) -> Result<GraphWriter> {
    let mut g = GraphWriter::new("step");
    let (config, decoder) = (&student.config, &student.decoder);
    let (layers, heads, d_head, longest) =
        (config.layers, config.heads, config.d_model / config.heads, config.max_words);
    let cells = i64::from(config.input_side / 32).pow(2);
    let words = decoder.table.size()[0];
    let token = g.input("token", DataType::Int64, &[1]);
    let pos = g.input("pos", DataType::Int64, &[1]);
    let cache = [layers, heads, longest, d_head];
    let caches = ["k_cache", "v_cache"].map(|name| g.input(name, DataType::Float, &cache));
    let bias = g.input("bias", DataType::Float, &[1, 1, 1, longest]);
    let memory = ["mem_k", "mem_v"].map(|name| g.input(name, DataType::Float, &[layers, heads, cells, d_head]));

    let own = g.filled(0.0, &[1, 1, 1, 1]);
    let bias = g.node("Concat", &[&bias, &own], &[("axis", Attribute::Int(3))]);
    let table = g.weight("table", &decoder.table)?;
    let word = g.node("Gather", &[&table, &token], &[("axis", Attribute::Int(0))]);
    let wide = projected(&mut g, &word, "widen", &decoder.widen)?;
    let positions = g.weight("positions", &decoder.positions)?;
    let place = g.node("Gather", &[&positions, &pos], &[("axis", Attribute::Int(0))]);
    let mut xs = g.node("Add", &[&wide, &place], &[]);
    let (mut new_keys, mut new_values, mut looks) = (Vec::new(), Vec::new(), Vec::new());
    for (i, layer) in decoder.layers.iter().enumerate() {
        let at = i as i64;
        let part = |g: &mut GraphWriter, all: &Name| g.slice(all, 0, at, at + 1);
        let StudentLayer { self_attn, src_attn, norms, w_1, w_2 } = layer;
        let name = |part: &str| format!("layer{i}_{part}");
        let quiet = normed(&mut g, &xs, &name("norm0"), &norms[0])?;
        let heads_of = |g: &mut GraphWriter, which: usize| -> Result<Name> {
            let all = projected(g, &quiet, &name(["query", "key", "value"][which]), &self_attn.linears[which])?;
            Ok(g.reshape(&all, &[1, heads, 1, d_head]))
        };
        let (query, key, value) = (heads_of(&mut g, 0)?, heads_of(&mut g, 1)?, heads_of(&mut g, 2)?);
        let joined = |g: &mut GraphWriter, cache: &Name, new: &Name| {
            let kept = part(g, cache);
            g.node("Concat", &[&kept, new], &[("axis", Attribute::Int(2))])
        };
        let (keys, values) = (joined(&mut g, &caches[0], &key), joined(&mut g, &caches[1], &value));
        let (mixed, _) = attended(&mut g, &query, &keys, &values, Some(&bias), d_head);
        xs = residual(&mut g, &xs, &mixed, &name("self_out"), &self_attn.linears[3], config.d_model)?;
        let quiet = normed(&mut g, &xs, &name("norm1"), &norms[1])?;
        let query = projected(&mut g, &quiet, &name("src_query"), &src_attn.linears[0])?;
        let query = g.reshape(&query, &[1, heads, 1, d_head]);
        let (keys, values) = (part(&mut g, &memory[0]), part(&mut g, &memory[1]));
        let (mixed, weights) = attended(&mut g, &query, &keys, &values, None, d_head);
        xs = residual(&mut g, &xs, &mixed, &name("src_out"), &src_attn.linears[3], config.d_model)?;
        looks.push(weights);
        let quiet = normed(&mut g, &xs, &name("norm2"), &norms[2])?;
        let hidden = projected(&mut g, &quiet, &name("w_1"), w_1)?;
        let hidden = g.node("Relu", &[&hidden], &[]);
        xs = residual(&mut g, &xs, &hidden, &name("w_2"), w_2, w_2.ws.size()[1])?;
        new_keys.push(key);
        new_values.push(value);
    }
    let out = normed(&mut g, &xs, "norm", &decoder.norm)?;
    let narrow = projected(&mut g, &out, "narrow", &decoder.narrow)?;
    let back = g.weight("table_transposed", &decoder.table.transpose(0, 1))?;
    let scores = g.node("MatMul", &[&narrow, &back], &[]);
    let offset = g.weight("bias_of_words", &decoder.bias)?;
    let logits = g.node("Add", &[&scores, &offset], &[]);
    g.output("logits", &logits, &[1, words]);
    for (name, parts) in [("k_new", &new_keys), ("v_new", &new_values)] {
        let all = g.node("Concat", &parts.iter().collect::<Vec<_>>(), &[("axis", Attribute::Int(0))]);
        g.output(name, &all, &[layers, heads, 1, d_head]);
    }
    let all = g.node("Concat", &looks.iter().collect::<Vec<_>>(), &[("axis", Attribute::Int(0))]);
    let mean = [("axes", Attribute::Ints(vec![0, 1])), ("keepdims", Attribute::Int(0))];
    let attn = g.node("ReduceMean", &[&all], &mean);
    g.output("attn", &attn, &[1, cells]);
    Ok(g)
}

/// Softmax attention of `[1, h, 1, d]` over `[1, h, S, d]`: the mix and the weights `[1, h, 1, S]`.
fn attended(
    g: &mut GraphWriter,
    query: &Name,
    keys: &Name,
    values: &Name,
    bias: Option<&Name>,
    d_head: i64,
) -> (Name, Name) {
    let turned = g.node("Transpose", &[keys], &[("perm", Attribute::Ints(vec![0, 1, 3, 2]))]);
    let scale = g.filled((d_head as f32).powf(-0.5), &[1, 1, 1, 1]);
    let query = g.node("Mul", &[query, &scale], &[]);
    let mut scores = g.node("MatMul", &[&query, &turned], &[]);
    if let Some(bias) = bias {
        scores = g.node("Add", &[&scores, bias], &[]);
    }
    let weights = g.node("Softmax", &[&scores], &[("axis", Attribute::Int(3))]);
    (g.node("MatMul", &[&weights, values], &[]), weights)
}

/// `xs + layer(mixed)`, with `mixed` as one row of `width`.
fn residual(g: &mut GraphWriter, xs: &Name, mixed: &Name, name: &str, layer: &Linear, width: i64) -> Result<Name> {
    let row = g.reshape(mixed, &[1, width]);
    let out = projected(g, &row, name, layer)?;
    Ok(g.node("Add", &[xs, &out], &[]))
}

/// A linear layer on rows.
fn projected(g: &mut GraphWriter, xs: &Name, name: &str, layer: &Linear) -> Result<Name> {
    let weight = g.weight(&format!("{name}.weight"), &layer.ws.transpose(0, 1))?;
    let product = g.node("MatMul", &[xs, &weight], &[]);
    match &layer.bs {
        Some(bias) => {
            let bias = g.weight(&format!("{name}.bias"), bias)?;
            Ok(g.node("Add", &[&product, &bias], &[]))
        }
        None => Ok(product),
    }
}

fn normed(g: &mut GraphWriter, xs: &Name, name: &str, layer: &LayerNorm) -> Result<Name> {
    let width = layer.normalized_shape.clone();
    let ones = || Tensor::ones(&width, (tch::Kind::Float, tch::Device::Cpu));
    let weight = g.weight(&format!("{name}.weight"), &layer.ws.as_ref().map_or_else(ones, Tensor::shallow_clone))?;
    let bias = g.weight(&format!("{name}.bias"), &layer.bs.as_ref().map_or_else(|| ones() * 0.0, Tensor::shallow_clone))?;
    let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(EPS as f32))];
    Ok(g.node("LayerNormalization", &[xs, &weight, &bias], &attributes))
}

/// A convolution with its batch norm folded in.
fn convolved_norm(g: &mut GraphWriter, xs: &Name, name: &str, layer: &ConvNorm, relu: bool) -> Result<Name> {
    let (kernel, bias) = layer.folded();
    let [_, _, side, stride, groups] = layer.shape;
    let out = convolved(g, xs, name, (&kernel, &bias), (side, stride, groups))?;
    Ok(if relu { g.node("Relu", &[&out], &[]) } else { out })
}

fn pointwise(g: &mut GraphWriter, xs: &Name, name: &str, layer: &Conv2D) -> Result<Name> {
    let none = Tensor::zeros([layer.ws.size()[0]], (tch::Kind::Float, tch::Device::Cpu));
    convolved(g, xs, name, (&layer.ws, layer.bs.as_ref().unwrap_or(&none)), (1, 1, 1))
}

fn convolved(
    g: &mut GraphWriter,
    xs: &Name,
    name: &str,
    (kernel, bias): (&Tensor, &Tensor),
    (side, stride, groups): (i64, i64, i64),
) -> Result<Name> {
    let kernel = g.weight(&format!("{name}.weight"), kernel)?;
    let bias = g.weight(&format!("{name}.bias"), bias)?;
    let attributes = [
        ("kernel_shape", Attribute::Ints(vec![side; 2])),
        ("strides", Attribute::Ints(vec![stride; 2])),
        ("pads", Attribute::Ints(vec![side / 2; 4])),
        ("dilations", Attribute::Ints(vec![1; 2])),
        ("group", Attribute::Int(groups)),
    ];
    Ok(g.node("Conv", &[xs, &kernel, &bias], &attributes))
}
