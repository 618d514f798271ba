//! BERT's encoder (Devlin et al. 2018, arXiv:1810.04805) under Hugging Face's parameter names, without pooler and heads:
//! post-norm layers, exact GELU, learned positions, one segment.

use tch::{Kind, Tensor, nn};

use crate::nn::mlp::linear;

/// Added to the variance in layer norms.
const EPS: f64 = 1e-12;
/// Standard deviation of initial embeddings.
const EMBEDDING_STD: f64 = 0.02;
/// Attention score of padding.
const MASKED: f64 = -1e9;
/// Segments of the published weights; only the first is used.
const SEGMENTS: i64 = 2;

/// Hyper-parameters of an encoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BertShape {
    /// Rows of the token embedding.
    pub token_count: i64,
    /// Rows of the position embedding: the longest text.
    pub positions: i64,
    pub width: i64,
    pub layers: i64,
    /// Attention heads, a divisor of `width`.
    pub heads: i64,
    /// Feed-forward width.
    pub d_ff: i64,
    /// Dropout probability.
    pub dropout: f64,
}

/// The encoder; parameters `embeddings.*`, `encoder.layer.N.*`.
#[derive(Debug)]
pub struct Bert {
    tokens: Tensor,
    positions: Tensor,
    segments: Tensor,
    norm: nn::LayerNorm,
    layers: Vec<Layer>,
    dropout: f64,
}

#[derive(Debug)]
struct Layer {
    query: nn::Linear,
    key: nn::Linear,
    value: nn::Linear,
    attended: nn::Linear,
    attended_norm: nn::LayerNorm,
    inner: nn::Linear,
    outer: nn::Linear,
    outer_norm: nn::LayerNorm,
    heads: i64,
    dropout: f64,
}

fn layer_norm(path: &nn::Path, width: i64) -> nn::LayerNorm {
    nn::layer_norm(path, vec![width], nn::LayerNormConfig { eps: EPS, ..Default::default() })
}

impl Layer {
    fn new(path: &nn::Path, shape: BertShape) -> Self {
        let BertShape { width, heads, d_ff, dropout, .. } = shape;
        let (own, joined) = (path / "attention" / "self", path / "attention" / "output");
        let out = path / "output";
        Self {
            query: linear(&(&own / "query"), width, width),
            key: linear(&(&own / "key"), width, width),
            value: linear(&(&own / "value"), width, width),
            attended: linear(&(&joined / "dense"), width, width),
            attended_norm: layer_norm(&(&joined / "LayerNorm"), width),
            inner: linear(&(path / "intermediate" / "dense"), width, d_ff),
            outer: linear(&(&out / "dense"), d_ff, width),
            outer_norm: layer_norm(&(&out / "LayerNorm"), width),
            heads,
            dropout,
        }
    }

    /// `xs`: f32 `[n, T, width]`; `padding`: boolean `[n, 1, 1, T]`.
    fn forward_t(&self, xs: &Tensor, padding: &Tensor, train: bool) -> Tensor {
        let [count, length, width] = [0, 1, 2].map(|axis| xs.size()[axis]);
        let split = |ys: Tensor| ys.view([count, length, self.heads, width / self.heads]).transpose(1, 2);
        let query = split(xs.apply(&self.query)) / ((width / self.heads) as f64).sqrt();
        let scores = query.matmul(&split(xs.apply(&self.key)).transpose(-2, -1)).masked_fill(padding, MASKED);
        let weights = scores.softmax(-1, Kind::Float).dropout(self.dropout, train);
        let mixed = weights.matmul(&split(xs.apply(&self.value))).transpose(1, 2).reshape([count, length, width]);
        let xs = (xs + mixed.apply(&self.attended).dropout(self.dropout, train)).apply(&self.attended_norm);
        let mixed = xs.apply(&self.inner).gelu("none").apply(&self.outer).dropout(self.dropout, train);
        (xs + mixed).apply(&self.outer_norm)
    }
}

impl Bert {
    /// Random initial values.
    pub fn new(path: &nn::Path, shape: BertShape) -> Self {
        let embeddings = path / "embeddings";
        let table =
            |name: &str, rows: i64| (&embeddings / name).randn("weight", &[rows, shape.width], 0.0, EMBEDDING_STD);
        Self {
            tokens: table("word_embeddings", shape.token_count),
            positions: table("position_embeddings", shape.positions),
            segments: table("token_type_embeddings", SEGMENTS),
            norm: layer_norm(&(&embeddings / "LayerNorm"), shape.width),
            layers: (0..shape.layers).map(|i| Layer::new(&(path / "encoder" / "layer" / i), shape)).collect(),
            dropout: shape.dropout,
        }
    }

    /// `ids`: i64 `[n, T]`; `present`: boolean `[n, T]`. Returns the last layer's states, f32 `[n, T, width]`.
    pub fn forward_t(&self, ids: &Tensor, present: &Tensor, train: bool) -> Tensor {
        let length = ids.size()[1];
        let tokens = Tensor::embedding(&self.tokens, ids, -1, false, false);
        let fixed = self.positions.narrow(0, 0, length) + self.segments.narrow(0, 0, 1);
        let mut xs = (tokens + fixed).apply(&self.norm).dropout(self.dropout, train);
        let padding = present.logical_not().unsqueeze(1).unsqueeze(1);
        for layer in &self.layers {
            xs = layer.forward_t(&xs, &padding, train);
        }
        xs
    }
}
