//! The preview model's two graphs. `encoder.onnx`: an image to the decoder's keys and values, heat map, edges and labels.
//! `step.onnx`: one token to the logits of the next, with the caches as inputs. Static shapes, no control flow: the host loops.

use tch::Tensor;
use tch::nn::{Conv2D, LayerNorm, Linear};
use tract_onnx::pb::tensor_proto::DataType;

use crate::error::Result;
use crate::preview_model::model::decoder::{EPS, PreviewLayer};
use crate::preview_model::model::mobile_encoder::{ConvNorm, ConvShape};
use crate::preview_model::model::preview_model::{CLASSES, EVIDENCE_LOGIT_MIN, EVIDENCE_SCALE, LABELS, PreviewModel};
use crate::preview_model::onnx::functions::{
    CACHED_ATTENTION, LAYER, MEMORY_ATTENTION, cached_attention, memory_attention,
};
use crate::preview_model::onnx::writer::{Attribute, GraphWriter, Name};

/// Both graphs' bytes.
#[derive(Debug)]
pub struct Graphs {
    /// `encoder.onnx`.
    pub encoder: Vec<u8>,
    /// `step.onnx`.
    pub step: Vec<u8>,
}

/// Writes both graphs; `properties` become their metadata.
///
/// # Errors
/// When libtorch fails to read a weight.
pub fn graphs(model: &PreviewModel, properties: &[(&str, &str)]) -> Result<Graphs> {
    let _no_grad = tch::no_grad_guard();
    Ok(Graphs { encoder: encoder(model)?.into_bytes(properties), step: step(model)?.into_bytes(properties) })
}

fn encoder(model: &PreviewModel) -> Result<GraphWriter> {
    let mut g = GraphWriter::new("encoder");
    let config = &model.config;
    let size = i64::from(config.input_size);
    let (grid, cells) = (size / 32, (size / 32).pow(2));
    let image = g.input("image", DataType::Float, &[1, 1, size, size]);
    let encoder = &model.encoder;
    let mut xs = image;
    for (i, layer) in encoder.stem.iter().enumerate() {
        xs = convolved_norm(&mut g, &xs, &format!("stem{i}"), layer, true)?;
    }
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
    let head = pointwise(&mut g, &map, "head", &model.head)?;
    let head = g.node("Relu", &[&head], &[]);
    let scores = |g: &mut GraphWriter, name: &str, layer: &Conv2D, channels: i64| -> Result<Name> {
        let logits = pointwise(g, &head, name, layer)?;
        let shares = g.node("Sigmoid", &[&logits], &[]);
        g.output(name, &shares, &[1, channels, 2 * grid, 2 * grid]);
        Ok(logits)
    };
    let heat = scores(&mut g, "heat", &model.heat, CLASSES)?;
    scores(&mut g, "edges", &model.edges, 4)?;
    let flat = g.reshape(&last, &[encoder.token_width, cells]);
    let flat = g.transpose(&flat, &[1, 0]);
    let mean = g.node("ReduceMean", &[&flat], &[("axes", Attribute::Ints(vec![0])), ("keepdims", Attribute::Int(1))]);
    let labels = projected(&mut g, &mean, "labels", &model.labels)?;
    let shares = g.node("Sigmoid", &[&labels], &[]);
    g.output("labels", &shares, &[1, LABELS]);
    let mut tokens = projected(&mut g, &flat, "token", &model.token)?;
    let scale = g.filled(EVIDENCE_SCALE as f32, &[1]);
    let offset = g.filled(-EVIDENCE_LOGIT_MIN as f32, &[1]);
    let above = g.node("Add", &[&heat, &offset], &[]);
    let above = g.node("Relu", &[&above], &[]);
    let evidence = g.node("Mul", &[&above, &scale], &[]);
    let split = g.reshape(&evidence, &[CLASSES, grid, 2, grid, 2]);
    let split = g.transpose(&split, &[1, 3, 0, 2, 4]);
    let by_token = g.reshape(&split, &[cells, 4 * CLASSES]);
    let seen = projected(&mut g, &by_token, "seen", &model.seen)?;
    let by_class = g.reshape(&evidence, &[CLASSES, 4 * cells]);
    let maximum =
        g.node("ReduceMax", &[&by_class], &[("axes", Attribute::Ints(vec![1])), ("keepdims", Attribute::Int(0))]);
    let maximum = g.reshape(&maximum, &[1, CLASSES]);
    let labels = g.node("Mul", &[&labels, &scale], &[]);
    let all = g.node("Concat", &[&labels, &maximum], &[("axis", Attribute::Int(1))]);
    let stated = projected(&mut g, &all, "stated", &model.stated)?;
    let place = g.weight("place", &model.place, 0, 1.0)?;
    for part in [seen, stated, place] {
        tokens = g.node("Add", &[&tokens, &part], &[]);
    }
    let tokens = normed(&mut g, &tokens, "token_norm", &model.token_norm)?;
    memory(&mut g, model, &tokens, cells)?;
    Ok(g)
}

/// Keys and values of all layers, each by one product. `mem_k` has the layout of the step graph (a head's cells in a row) and includes
/// the scale of the softmax.
fn memory(g: &mut GraphWriter, model: &PreviewModel, tokens: &Name, cells: i64) -> Result<()> {
    let config = &model.config;
    let (layers, heads, d_head) = (config.layers, config.heads, config.d_model / config.heads);
    let all = |which: usize| {
        let linears = || model.decoder.layers.iter().map(move |l| &l.src_attn.linears[which]);
        let weight = Tensor::cat(&linears().map(|l| &l.ws).collect::<Vec<_>>(), 0);
        let bias = Tensor::cat(&linears().filter_map(|l| l.bs.as_ref()).collect::<Vec<_>>(), 0);
        (weight, bias)
    };
    let (weight, bias) = all(1);
    let transposed = g.transpose(tokens, &[1, 0]);
    let weight = g.weight("mem_k.weight", &weight, 0, scale(d_head))?;
    let keys = g.node("MatMul", &[&weight, &transposed], &[]);
    let bias = g.numbers("mem_k.bias", &(bias * scale(d_head)).unsqueeze(1))?;
    let keys = g.node("Add", &[&keys, &bias], &[]);
    let keys = g.reshape(&keys, &[layers, heads, d_head, cells]);
    g.output("mem_k", &keys, &[layers, heads, d_head, cells]);
    let (weight, bias) = all(2);
    let values = product(g, tokens, "mem_v", &weight, Some(&bias))?;
    let values = g.reshape(&values, &[cells, layers, heads, d_head]);
    let values = g.transpose(&values, &[1, 2, 0, 3]);
    g.output("mem_v", &values, &[layers, heads, cells, d_head]);
    Ok(())
}

/// Scale of attention scores before the softmax.
fn scale(d_head: i64) -> f64 {
    (d_head as f64).powf(-0.5)
}

fn step(model: &PreviewModel) -> Result<GraphWriter> {
    let mut g = GraphWriter::new("step");
    let (config, decoder) = (&model.config, &model.decoder);
    let (layers, heads, d_head, longest) =
        (config.layers, config.heads, config.d_model / config.heads, config.max_words);
    let cells = i64::from(config.input_size / 32).pow(2);
    let token_count = decoder.table.size()[0];
    let token = g.input("token", DataType::Int64, &[1]);
    let pos = g.input("pos", DataType::Int64, &[1]);
    // Keys in the layout of the product: a head's tokens in a row.
    let caches = [("k_cache", [layers, heads, d_head, longest]), ("v_cache", [layers, heads, longest, d_head])]
        .map(|(name, shape)| g.input(name, DataType::Float, &shape));
    let bias = g.input("bias", DataType::Float, &[longest]);
    let memory = [("mem_k", [layers, heads, d_head, cells]), ("mem_v", [layers, heads, cells, d_head])]
        .map(|(name, shape)| g.input(name, DataType::Float, &shape));
    g.function(cached_attention(heads, d_head));
    g.function(memory_attention(heads, d_head));

    let table = g.weight("table", &decoder.table, 0, 1.0)?;
    let embedded = g.node("Gather", &[&table, &token], &[("axis", Attribute::Int(0))]);
    let wide = projected(&mut g, &embedded, "widen", &decoder.widen)?;
    let positions = g.weight("positions", &decoder.positions, 0, 1.0)?;
    let position = g.node("Gather", &[&positions, &pos], &[("axis", Attribute::Int(0))]);
    let mut xs = g.node("Add", &[&wide, &position], &[]);
    let (mut new_keys, mut new_values, mut attention) = (Vec::new(), Vec::new(), Vec::new());
    for (i, layer) in decoder.layers.iter().enumerate() {
        let at = [(LAYER, Attribute::Ints(vec![i as i64]))];
        let PreviewLayer { self_attn, src_attn, norms, w_1, w_2 } = layer;
        let name = |part: &str| format!("layer{i}_{part}");
        let normalised = normed(&mut g, &xs, &name("norm0"), &norms[0])?;
        // Query, key and value by one product; the query includes the scale of the softmax.
        let three = &self_attn.linears[..3];
        let factor = |which: usize| if which == 0 { scale(d_head) } else { 1.0 };
        let weights: Vec<Tensor> = three.iter().enumerate().map(|(i, l)| &l.ws * factor(i)).collect();
        let biases: Vec<Tensor> =
            three.iter().enumerate().filter_map(|(i, l)| l.bs.as_ref().map(|b| b * factor(i))).collect();
        let (weight, offset) = (Tensor::cat(&weights, 0), Tensor::cat(&biases, 0));
        let all = product(&mut g, &normalised, &name("query_key_value"), &weight, Some(&offset))?;
        let inputs = [&all, &caches[0], &caches[1], &bias];
        let [mixed, key, value] = g.call(CACHED_ATTENTION, &inputs, &name("self"), &at);
        xs = residual(&mut g, &xs, &mixed, &name("self_out"), &self_attn.linears[3])?;
        let normalised = normed(&mut g, &xs, &name("norm1"), &norms[1])?;
        let query = projected(&mut g, &normalised, &name("src_query"), &src_attn.linears[0])?;
        let [mixed, weights] = g.call(MEMORY_ATTENTION, &[&query, &memory[0], &memory[1]], &name("src"), &at);
        xs = residual(&mut g, &xs, &mixed, &name("src_out"), &src_attn.linears[3])?;
        attention.push(weights);
        let normalised = normed(&mut g, &xs, &name("norm2"), &norms[2])?;
        let hidden = projected(&mut g, &normalised, &name("w_1"), w_1)?;
        let hidden = g.node("Relu", &[&hidden], &[]);
        xs = residual(&mut g, &xs, &hidden, &name("w_2"), w_2)?;
        new_keys.push(key);
        new_values.push(value);
    }
    let out = normed(&mut g, &xs, "norm", &decoder.norm)?;
    let narrow = projected(&mut g, &out, "narrow", &decoder.narrow)?;
    let back = g.transpose(&table, &[1, 0]);
    let scores = g.node("MatMul", &[&narrow, &back], &[]);
    let offset = g.numbers("bias_of_words", &decoder.bias)?;
    let logits = g.node("Add", &[&scores, &offset], &[]);
    g.output("logits", &logits, &[1, token_count]);
    for (name, parts) in [("k_new", &new_keys), ("v_new", &new_values)] {
        let all = g.node("Concat", &parts.iter().collect::<Vec<_>>(), &[("axis", Attribute::Int(0))]);
        g.output(name, &all, &[layers, heads, 1, d_head]);
    }
    let mut sum = attention[0].clone();
    for of_layer in &attention[1..] {
        sum = g.node("Add", &[&sum, of_layer], &[]);
    }
    let share = g.filled(1.0 / layers as f32, &[1]);
    let mean = g.node("Mul", &[&sum, &share], &[]);
    g.output("attn", &mean, &[1, cells]);
    Ok(g)
}

/// `xs + layer(mixed)`.
fn residual(g: &mut GraphWriter, xs: &Name, mixed: &Name, name: &str, layer: &Linear) -> Result<Name> {
    let out = projected(g, mixed, name, layer)?;
    Ok(g.node("Add", &[xs, &out], &[]))
}

/// A linear layer over rows.
fn projected(g: &mut GraphWriter, xs: &Name, name: &str, layer: &Linear) -> Result<Name> {
    product(g, xs, name, &layer.ws, layer.bs.as_ref())
}

/// Rows times `weight` `[out, in]`, plus `bias`.
fn product(g: &mut GraphWriter, xs: &Name, name: &str, weight: &Tensor, bias: Option<&Tensor>) -> Result<Name> {
    let weight = g.weight(&format!("{name}.weight"), &weight.transpose(0, 1), 1, 1.0)?;
    let product = g.node("MatMul", &[xs, &weight], &[]);
    match bias {
        Some(bias) => {
            let bias = g.numbers(&format!("{name}.bias"), bias)?;
            Ok(g.node("Add", &[&product, &bias], &[]))
        }
        None => Ok(product),
    }
}

fn normed(g: &mut GraphWriter, xs: &Name, name: &str, layer: &LayerNorm) -> Result<Name> {
    let width = layer.normalized_shape.clone();
    let ones = || Tensor::ones(&width, (tch::Kind::Float, tch::Device::Cpu));
    let weight = g.numbers(&format!("{name}.weight"), &layer.ws.as_ref().map_or_else(ones, Tensor::shallow_clone))?;
    let bias =
        g.numbers(&format!("{name}.bias"), &layer.bs.as_ref().map_or_else(|| ones() * 0.0, Tensor::shallow_clone))?;
    let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(EPS as f32))];
    Ok(g.node("LayerNormalization", &[xs, &weight, &bias], &attributes))
}

/// A convolution with folded batch norm.
fn convolved_norm(g: &mut GraphWriter, xs: &Name, name: &str, layer: &ConvNorm, relu: bool) -> Result<Name> {
    let (kernel, bias) = layer.folded();
    let out = convolved(g, xs, name, &kernel, &bias, layer.shape)?;
    Ok(if relu { g.node("Relu", &[&out], &[]) } else { out })
}

fn pointwise(g: &mut GraphWriter, xs: &Name, name: &str, layer: &Conv2D) -> Result<Name> {
    let (outputs, inputs) = (layer.ws.size()[0], layer.ws.size()[1]);
    let zeros = Tensor::zeros([outputs], (tch::Kind::Float, tch::Device::Cpu));
    convolved(g, xs, name, &layer.ws, layer.bs.as_ref().unwrap_or(&zeros), ConvShape::pointwise(inputs, outputs))
}

fn convolved(
    g: &mut GraphWriter,
    xs: &Name,
    name: &str,
    kernel: &Tensor,
    bias: &Tensor,
    shape: ConvShape,
) -> Result<Name> {
    let ConvShape { kernel: size, stride, groups, .. } = shape;
    let kernel = g.weight(&format!("{name}.weight"), kernel, 0, 1.0)?;
    let bias = g.numbers(&format!("{name}.bias"), bias)?;
    let attributes = [
        ("kernel_shape", Attribute::Ints(vec![size; 2])),
        ("strides", Attribute::Ints(vec![stride; 2])),
        ("pads", Attribute::Ints(vec![size / 2; 4])),
        ("dilations", Attribute::Ints(vec![1; 2])),
        ("group", Attribute::Int(groups)),
    ];
    Ok(g.node("Conv", &[xs, &kernel, &bias], &attributes))
}
