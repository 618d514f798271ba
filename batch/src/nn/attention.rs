//! Multi-head attention (Vaswani et al. 2017) with cached keys and values; returns the attention weights.
//! Parameters `linears.{0: query, 1: key, 2: value, 3: output}`.

use tch::{Kind, Tensor, nn};

use crate::nn::compute_kind::linear;
use crate::nn::mlp::glorot_linear;

/// Score of a masked position; finite, so that a row in which all positions are masked gives no NaN.
const MASKED: f64 = -1e9;

/// Projected keys and values.
#[derive(Debug)]
pub struct KeyValue {
    /// `[B, heads, S, d_head]`.
    pub key: Tensor,
    /// `[B, heads, S, d_head]`.
    pub value: Tensor,
}

impl KeyValue {
    /// Rows selected along the batch axis; `rows`: i64 `[B']`.
    pub fn select(&self, rows: &Tensor) -> Self {
        Self { key: self.key.index_select(0, rows), value: self.value.index_select(0, rows) }
    }

    /// The positions of `self` followed by those of `more`.
    pub fn extended(&self, more: &Self) -> Self {
        Self { key: Tensor::cat(&[&self.key, &more.key], 2), value: Tensor::cat(&[&self.value, &more.value], 2) }
    }
}

#[derive(Debug)]
pub struct MultiHeadAttention {
    /// Query, key, value and output projections.
    pub linears: [nn::Linear; 4],
    heads: i64,
    dropout: f64,
}

impl MultiHeadAttention {
    /// `heads` must divide `d_model`.
    pub fn new(path: &nn::Path, d_model: i64, heads: i64, dropout: f64) -> Self {
        let linears = [0, 1, 2, 3].map(|i| glorot_linear(&(path / "linears" / i), d_model, d_model));
        Self { linears, heads, dropout }
    }

    /// `[B, S, d_model] -> [B, heads, S, d_head]`.
    pub fn split(&self, xs: &Tensor) -> Tensor {
        let (batch, length, width) = (xs.size()[0], xs.size()[1], xs.size()[2]);
        xs.view([batch, length, self.heads, width / self.heads]).transpose(1, 2)
    }

    /// `[B, heads, S, d_head] -> [B, S, d_model]`.
    pub fn merge(&self, xs: &Tensor) -> Tensor {
        xs.transpose(1, 2).flatten(2, 3)
    }

    pub fn heads(&self) -> i64 {
        self.heads
    }

    /// Keys and values of `source`: `[B, S, d_model]`.
    pub fn keys_and_values(&self, source: &Tensor) -> KeyValue {
        let [_, key, value, _] = &self.linears;
        KeyValue { key: self.split(&linear(source, key)), value: self.split(&linear(source, value)) }
    }

    /// Attends from `query` `[B, T, d_model]`. `visible`: bool, false for masked positions, broadcast to `[B, heads, T,
    /// S]`. Returns `[B, T, d_model]` and the weights f32 `[B, heads, T, S]` before dropout.
    pub fn attend(&self, query: &Tensor, kv: &KeyValue, visible: Option<&Tensor>, train: bool) -> (Tensor, Tensor) {
        self.attend_split(&self.split(&linear(query, &self.linears[0])), kv, visible, train)
    }

    /// The same from projected and split queries `[B, heads, T, d_head]`.
    pub fn attend_split(
        &self,
        query: &Tensor,
        kv: &KeyValue,
        visible: Option<&Tensor>,
        train: bool,
    ) -> (Tensor, Tensor) {
        let weights = weights(query, kv, visible);
        let mixed = weights.dropout(self.dropout, train).to_kind(kv.value.kind()).matmul(&kv.value);
        (linear(&self.merge(&mixed), &self.linears[3]), weights)
    }
}

/// Attention f32 `[B, heads, T, S]` of projected and split queries `[B, heads, T, d_head]`; `visible` as in
/// [`MultiHeadAttention::attend`].
pub fn weights(query: &Tensor, kv: &KeyValue, visible: Option<&Tensor>) -> Tensor {
    let mut scores = query.matmul(&kv.key.transpose(-2, -1)) / (query.size()[3] as f64).sqrt();
    if let Some(visible) = visible {
        scores = scores.masked_fill(&visible.logical_not(), MASKED);
    }
    scores.softmax(-1, Kind::Float)
}
