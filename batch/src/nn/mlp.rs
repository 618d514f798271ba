//! Linear layers with PyTorch's and with Glorot's initialisation, and the transformer's feed-forward layer.

use tch::{Tensor, nn};

use super::compute_kind;

/// `[*, inputs] -> [*, outputs]` with PyTorch's initial values: weight and bias uniform in `1/sqrt(inputs)`.
pub fn linear(path: &nn::Path, inputs: i64, outputs: i64) -> nn::Linear {
    let bound = 1.0 / (inputs as f64).sqrt();
    with_init(path, inputs, outputs, bound, uniform(bound))
}

/// The same with a Glorot-uniform weight: the initialisation of the report transformer.
pub fn glorot_linear(path: &nn::Path, inputs: i64, outputs: i64) -> nn::Linear {
    let bias = uniform(1.0 / (inputs as f64).sqrt());
    with_init(path, inputs, outputs, glorot_bound(inputs, outputs), bias)
}

/// A Glorot-uniform weight and a constant bias.
pub fn glorot_linear_with_bias(path: &nn::Path, inputs: i64, outputs: i64, bias: f64) -> nn::Linear {
    with_init(path, inputs, outputs, glorot_bound(inputs, outputs), nn::Init::Const(bias))
}

/// Bound of Glorot's uniform distribution.
pub fn glorot_bound(inputs: i64, outputs: i64) -> f64 {
    (6.0 / (inputs + outputs) as f64).sqrt()
}

fn uniform(bound: f64) -> nn::Init {
    nn::Init::Uniform { lo: -bound, up: bound }
}

fn with_init(path: &nn::Path, inputs: i64, outputs: i64, bound: f64, bias: nn::Init) -> nn::Linear {
    let config = nn::LinearConfig { ws_init: uniform(bound), bs_init: Some(bias), bias: true };
    nn::linear(path, inputs, outputs, config)
}

/// `W2 dropout(relu(W1 x))`; parameters `w_1`, `w_2`.
#[derive(Debug)]
pub struct FeedForward {
    w_1: nn::Linear,
    w_2: nn::Linear,
    dropout: f64,
}

impl FeedForward {
    /// A layer of hidden width `d_ff`.
    pub fn new(path: &nn::Path, d_model: i64, d_ff: i64, dropout: f64) -> Self {
        Self {
            w_1: glorot_linear(&(path / "w_1"), d_model, d_ff),
            w_2: glorot_linear(&(path / "w_2"), d_ff, d_model),
            dropout,
        }
    }

    /// `[*, d_model] -> [*, d_model]`.
    pub fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        compute_kind::linear(&compute_kind::linear(xs, &self.w_1).relu().dropout(self.dropout, train), &self.w_2)
    }
}
