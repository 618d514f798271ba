//! The preview model's decoder: a pre-norm transformer (Vaswani et al. 2017) with learned positions and a factorised token table that
//! input and output share.

use tch::nn::{self, Module};
use tch::{Kind, Tensor};

use crate::config::preview::PreviewModelConfig;
use crate::nn::attention::MultiHeadAttention;
use crate::nn::mlp::{glorot_linear, linear};

/// Added to a layer norm's variance.
pub const EPS: f64 = 1e-5;

/// A decoder layer.
#[derive(Debug)]
pub struct PreviewLayer {
    /// Self-attention over the tokens so far.
    pub self_attn: MultiHeadAttention,
    /// Cross-attention over the image's tokens.
    pub src_attn: MultiHeadAttention,
    /// Before self-attention, cross-attention and feed-forward layer.
    pub norms: [nn::LayerNorm; 3],
    /// First feed-forward layer.
    pub w_1: nn::Linear,
    /// Second feed-forward layer.
    pub w_2: nn::Linear,
}

/// The decoder; parameters `table`, `widen`, `narrow`, `bias`, `positions`, `layers.N.*`, `norm`.
#[derive(Debug)]
pub struct PreviewDecoder {
    /// `[V, embedding]`.
    pub table: Tensor,
    /// From the table's width to the decoder's.
    pub widen: nn::Linear,
    /// From the decoder's width to the table's.
    pub narrow: nn::Linear,
    /// `[V]`: added to the logits.
    pub bias: Tensor,
    /// `[max_words, d_model]`.
    pub positions: Tensor,
    pub layers: Vec<PreviewLayer>,
    /// After the last layer.
    pub norm: nn::LayerNorm,
    dropout: f64,
}

/// Layer norm over the last axis.
pub fn layer_norm(path: nn::Path, width: i64) -> nn::LayerNorm {
    nn::layer_norm(path, vec![width], nn::LayerNormConfig { eps: EPS, ..nn::LayerNormConfig::default() })
}

impl PreviewDecoder {
    /// `token_count`: vocabulary size plus the boundary.
    pub fn new(path: &nn::Path, config: &PreviewModelConfig, token_count: i64) -> Self {
        let PreviewModelConfig { d_model, d_ff, heads, dropout, embedding, max_words, .. } = *config;
        let layer = |i: i64| {
            let path = path / "layers" / i;
            PreviewLayer {
                self_attn: MultiHeadAttention::new(&(&path / "self_attn"), d_model, heads, dropout),
                src_attn: MultiHeadAttention::new(&(&path / "src_attn"), d_model, heads, dropout),
                norms: [0, 1, 2].map(|n| layer_norm(&path / "norms" / n, d_model)),
                w_1: glorot_linear(&(&path / "w_1"), d_model, d_ff),
                w_2: glorot_linear(&(&path / "w_2"), d_ff, d_model),
            }
        };
        let small = nn::Init::Randn { mean: 0.0, stdev: 0.02 };
        let table = nn::Init::Randn { mean: 0.0, stdev: (embedding as f64).powf(-0.5) };
        Self {
            table: path.var("table", &[token_count, embedding], table),
            widen: linear(&(path / "widen"), embedding, d_model),
            narrow: linear(&(path / "narrow"), d_model, embedding),
            bias: path.var("bias", &[token_count], nn::Init::Const(0.0)),
            positions: path.var("positions", &[max_words, d_model], small),
            layers: (0..config.layers).map(layer).collect(),
            norm: layer_norm(path / "norm", d_model),
            dropout,
        }
    }

    /// Teacher-forced pass. `ids`: i64 `[B, T]` with `T <= max_words`; `source`: `[B, S, d_model]`. Returns logits `[B, T, V]` and
    /// cross-attention, mean over heads and layers, `[B, T, S]`.
    pub fn forward_t(&self, ids: &Tensor, source: &Tensor, train: bool) -> (Tensor, Tensor) {
        let length = ids.size()[1];
        let positions = self.positions.narrow(0, 0, length);
        let causal = Tensor::ones([length, length], (Kind::Bool, ids.device())).tril(0).view([1, 1, length, length]);
        let embedded = Tensor::embedding(&self.table, ids, -1, false, false);
        let mut xs = (embedded.apply(&self.widen) + positions).dropout(self.dropout, train);
        let mut attention: Vec<Tensor> = Vec::new();
        for layer in &self.layers {
            let normed = layer.norms[0].forward(&xs);
            let kv = layer.self_attn.keys_and_values(&normed);
            let mixed = layer.self_attn.attend(&normed, &kv, Some(&causal), train).0;
            xs = xs + mixed.dropout(self.dropout, train);
            let kv = layer.src_attn.keys_and_values(source);
            let (mixed, weights) = layer.src_attn.attend(&layer.norms[1].forward(&xs), &kv, None, train);
            xs = xs + mixed.dropout(self.dropout, train);
            attention.push(weights.mean_dim([1i64].as_slice(), false, None::<Kind>));
            let hidden = layer.norms[2].forward(&xs).apply(&layer.w_1).relu().dropout(self.dropout, train);
            xs = xs + hidden.apply(&layer.w_2).dropout(self.dropout, train);
        }
        let out = self.norm.forward(&xs).apply(&self.narrow).matmul(&self.table.transpose(0, 1)) + &self.bias;
        (out, Tensor::stack(&attention, 0).mean_dim([0i64].as_slice(), false, None::<Kind>))
    }
}
