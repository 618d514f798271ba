//! The transformer encoder over patch and region tokens: pre-norm layers of self-attention and feed-forward.

use tch::{Tensor, nn};

use crate::nn::attention::MultiHeadAttention;
use crate::nn::mlp::FeedForward;
use crate::reporter::model::conditional_norm::StdNorm;

#[derive(Debug)]
struct EncoderLayer {
    self_attn: MultiHeadAttention,
    feed_forward: FeedForward,
    norms: [StdNorm; 2],
    dropout: f64,
}

impl EncoderLayer {
    fn forward_t(&self, xs: &Tensor, visible: &Tensor, train: bool) -> Tensor {
        let normed = self.norms[0].forward(xs);
        let kv = self.self_attn.keys_and_values(&normed);
        let xs = xs + self.self_attn.attend(&normed, &kv, Some(visible), train).0.dropout(self.dropout, train);
        let mixed = self.feed_forward.forward_t(&self.norms[1].forward(&xs), train);
        xs + mixed.dropout(self.dropout, train)
    }
}

/// The encoder; parameters `layers.L.*` and `norm`.
#[derive(Debug)]
pub struct Encoder {
    layers: Vec<EncoderLayer>,
    norm: StdNorm,
}

impl Encoder {
    /// `layers` layers of width `d_model`.
    pub fn new(path: &nn::Path, d_model: i64, d_ff: i64, heads: i64, layers: i64, dropout: f64) -> Self {
        let layer = |i: i64| {
            let path = path / "layers" / i;
            EncoderLayer {
                self_attn: MultiHeadAttention::new(&(&path / "self_attn"), d_model, heads, dropout),
                feed_forward: FeedForward::new(&(&path / "feed_forward"), d_model, d_ff, dropout),
                norms: [0, 1].map(|n| StdNorm::new(&(&path / "sublayer" / n / "norm"), d_model)),
                dropout,
            }
        };
        Self { layers: (0..layers).map(layer).collect(), norm: StdNorm::new(&(path / "norm"), d_model) }
    }

    /// `tokens`: `[B, S, d_model]`; `visible`: boolean `[B, 1, 1, S]`. Returns `[B, S, d_model]`.
    pub fn forward_t(&self, tokens: &Tensor, visible: &Tensor, train: bool) -> Tensor {
        let mut xs = tokens.shallow_clone();
        for layer in &self.layers {
            xs = layer.forward_t(&xs, visible, train);
        }
        self.norm.forward(&xs)
    }
}
