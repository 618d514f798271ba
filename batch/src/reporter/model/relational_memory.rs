//! Relational memory (Chen et al. 2020, section 3.2): memory slots that attention and gates update token by token.
//! What depends on the tokens alone is computed for all tokens at once; only the slots are updated in a loop.

use tch::{Kind, Tensor, nn};

use crate::nn::attention::{KeyValue, MultiHeadAttention};
use crate::nn::compute_kind::{linear, product};
use crate::nn::mlp::glorot_linear;

/// The memory; parameters `attn.linears.*`, `mlp.{0,2}`, `W`, `U`.
#[derive(Debug)]
pub struct RelationalMemory {
    attn: MultiHeadAttention,
    mlp: [nn::Linear; 2],
    w: nn::Linear,
    u: nn::Linear,
    slots: i64,
    d_model: i64,
}

/// Contributions of the tokens that do not depend on the memory: keys and values `[B, heads, T, d_head]`, gates `[B, T, 2 d]`.
struct TokenParts {
    kv: KeyValue,
    gates: Tensor,
}

impl RelationalMemory {
    /// `slots` slots of width `d_model`.
    pub fn new(path: &nn::Path, d_model: i64, heads: i64, slots: i64, dropout: f64) -> Self {
        Self {
            attn: MultiHeadAttention::new(&(path / "attn"), d_model, heads, dropout),
            mlp: [0, 2].map(|i| glorot_linear(&(path / "mlp" / i), d_model, d_model)),
            w: glorot_linear(&(path / "W"), d_model, 2 * d_model),
            u: glorot_linear(&(path / "U"), d_model, 2 * d_model),
            slots,
            d_model,
        }
    }

    /// The memory before the first token: the first rows of the identity, `[batch, slots, d_model]`.
    pub fn start(&self, batch: i64) -> Tensor {
        let eye = Tensor::eye_m(self.slots, self.d_model, (Kind::Float, self.w.ws.device()));
        eye.unsqueeze(0).expand([batch, self.slots, self.d_model], false).contiguous()
    }

    /// Updates `memory` with `tokens` `[B, T, d_model]`. Returns the flattened state after each token, f32
    /// `[B, T, slots * d_model]`, and the last state, f32 `[B, slots, d_model]`.
    pub fn read(&self, tokens: &Tensor, memory: Tensor, train: bool) -> (Tensor, Tensor) {
        let (batch, length) = (tokens.size()[0], tokens.size()[1]);
        let parts = TokenParts { kv: self.attn.keys_and_values(tokens), gates: linear(tokens, &self.w) };
        let [query, key, value, _] = &self.attn.linears;
        // Query, key and value of the slots in one product.
        let weight = Tensor::cat(&[&query.ws, &key.ws, &value.ws], 0);
        let bias = Tensor::cat(
            &[&query.bs, &key.bs, &value.bs].map(|b| b.as_ref().map_or_else(Tensor::new, Tensor::shallow_clone)),
            0,
        );
        let mut memory = memory;
        let mut states = Vec::with_capacity(length as usize);
        for t in 0..length {
            memory = self.step(&memory, &parts, (&weight, &bias), t, train);
            states.push(memory.view([batch, 1, self.slots * self.d_model]));
        }
        (Tensor::cat(&states, 1), memory)
    }

    fn step(
        &self,
        memory: &Tensor,
        parts: &TokenParts,
        (weight, bias): (&Tensor, &Tensor),
        t: i64,
        train: bool,
    ) -> Tensor {
        // The slots stay f32; matrix products run in the tokens' kind.
        let kind = parts.gates.kind();
        let projected = product(&memory.to_kind(kind), weight, Some(bias));
        let rows = projected.chunk(3, -1).iter().map(|x| self.attn.split(x)).collect::<Vec<_>>();
        let kv = KeyValue {
            key: Tensor::cat(&[&rows[1], &parts.kv.key.narrow(2, t, 1)], 2),
            value: Tensor::cat(&[&rows[2], &parts.kv.value.narrow(2, t, 1)], 2),
        };
        let z = memory + self.attn.attend_split(&rows[0], &kv, None, train).0;
        let hidden = linear(&z.to_kind(kind), &self.mlp[0]).relu();
        let z = &z + linear(&hidden, &self.mlp[1]).relu();
        let gates = linear(&memory.tanh().to_kind(kind), &self.u) + parts.gates.narrow(1, t, 1);
        let gates = gates.to_kind(Kind::Float).sigmoid();
        gates.narrow(-1, 0, self.d_model) * z.tanh() + gates.narrow(-1, self.d_model, self.d_model) * memory
    }
}
