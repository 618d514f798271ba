//! The transformer's layer norm and its memory-driven form (MCLN; Chen et al. 2020, "Generating Radiology Reports
//! via Memory-driven Transformer", section 3.3).
//! The norm divides by the unbiased standard deviation plus epsilon, which is not libtorch's `layer_norm`.

use tch::{Tensor, nn};

use crate::nn::compute_kind::product;
use crate::nn::mlp::glorot_linear_with_bias;

/// Added to the standard deviation, not to the variance.
const EPSILON: f64 = 1e-6;
/// Initial bias of the modulating layers.
const MODULATION_BIAS: f64 = 0.1;

/// `(x - mean) / (sd + epsilon)` along the last axis, `sd` with `n - 1`; f32.
fn standardised(xs: &Tensor) -> Tensor {
    let xs = xs.to_kind(tch::Kind::Float);
    let mean = xs.mean_dim(-1, true, None::<tch::Kind>);
    let sd = xs.std_dim(-1, true, true);
    (xs - mean) / (sd + EPSILON)
}

/// Standardisation with scale and shift; parameters `gamma`, `beta`.
#[derive(Debug)]
pub struct StdNorm {
    gamma: Tensor,
    beta: Tensor,
}

impl StdNorm {
    /// Starts with scale 1 and shift 0.
    pub fn new(path: &nn::Path, width: i64) -> Self {
        Self { gamma: path.ones("gamma", &[width]), beta: path.zeros("beta", &[width]) }
    }

    /// `[*, width] -> [*, width]`.
    pub fn forward(&self, xs: &Tensor) -> Tensor {
        self.scaled(xs, None)
    }

    /// With a [`Modulation`] added to gamma and beta.
    pub fn scaled(&self, xs: &Tensor, modulation: Option<&Modulation>) -> Tensor {
        let scaled = match modulation {
            None => standardised(xs) * &self.gamma + &self.beta,
            Some(m) => standardised(xs) * (&self.gamma + &m.gamma) + (&self.beta + &m.beta),
        };
        scaled.to_kind(xs.kind())
    }
}

/// What the memory adds to a norm's gamma and beta.
#[derive(Debug)]
pub struct Modulation {
    /// `[B, T, d_model]`.
    pub gamma: Tensor,
    /// `[B, T, d_model]`.
    pub beta: Tensor,
}

/// A norm and, with a memory, the two MLPs `slots * d_model -> d_model -> d_model` that modulate it; parameters
/// `gamma`, `beta`, `mlp_gamma.{0,2}`, `mlp_beta.{0,2}`.
#[derive(Debug)]
pub struct ConditionalNorm {
    /// The norm itself.
    pub norm: StdNorm,
    mlps: Option<[[nn::Linear; 2]; 2]>,
}

impl ConditionalNorm {
    /// `slots = 0` builds the plain norm.
    pub fn new(path: &nn::Path, d_model: i64, slots: i64) -> Self {
        let mlp = |name: &str| {
            let path = path / name;
            [
                glorot_linear_with_bias(&(&path / 0), slots * d_model, d_model, MODULATION_BIAS),
                glorot_linear_with_bias(&(&path / 2), d_model, d_model, MODULATION_BIAS),
            ]
        };
        let mlps = (slots > 0).then(|| [mlp("mlp_gamma"), mlp("mlp_beta")]);
        Self { norm: StdNorm::new(path, d_model), mlps }
    }
}

/// The MLPs of several norms, fused: one product for all first layers, one batched product for all second layers.
#[derive(Debug)]
pub struct FusedModulation {
    first: (Tensor, Tensor),
    second: (Tensor, Tensor),
}

impl FusedModulation {
    /// `None` when the norms have no memory.
    pub fn new<'a>(norms: impl Iterator<Item = &'a ConditionalNorm>) -> Option<Self> {
        let mlps: Vec<&[nn::Linear; 2]> = norms.filter_map(|n| n.mlps.as_ref()).flatten().collect();
        if mlps.is_empty() {
            return None;
        }
        let weights = |layer: usize| mlps.iter().map(|m| &m[layer].ws).collect::<Vec<_>>();
        let biases = |layer: usize| mlps.iter().filter_map(|m| m[layer].bs.as_ref()).collect::<Vec<_>>();
        Some(Self {
            first: (Tensor::cat(&weights(0), 0), Tensor::cat(&biases(0), 0)),
            second: (Tensor::stack(&weights(1), 0).transpose(1, 2), Tensor::stack(&biases(1), 0).unsqueeze(1)),
        })
    }

    /// `memory`: `[B, T, slots * d_model]`; products run in its kind. Returns one f32 [`Modulation`] per norm, in the order of
    /// [`Self::new`].
    pub fn forward(&self, memory: &Tensor) -> Vec<Modulation> {
        let (batch, length) = (memory.size()[0], memory.size()[1]);
        let (count, d_model) = (self.second.0.size()[0], self.second.0.size()[2]);
        let hidden = product(memory, &self.first.0, Some(&self.first.1)).relu();
        let hidden = hidden.view([batch * length, count, d_model]).transpose(0, 1);
        let out = hidden.bmm(&self.second.0.to_kind(hidden.kind())) + &self.second.1;
        let out = out.view([count, batch, length, d_model]);
        (0..count / 2).map(|i| Modulation { gamma: out.get(2 * i), beta: out.get(2 * i + 1) }).collect()
    }
}
