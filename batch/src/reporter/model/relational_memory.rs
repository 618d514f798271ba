//! Relational memory (Chen et al. 2020, section 3.2): memory slots that attention and gates update token by token.
//! What depends on the tokens alone is computed for all tokens at once; only the slots are updated in a loop.
//! In training the loop is outside the graph and has a backward pass of its own ([`MemoryPass`]): thousands of small operations are
//! neither recorded nor replayed, and each weight's gradient is one product over all tokens.

use tch::{Kind, Tensor, nn};

use crate::nn::attention::{self, KeyValue, MultiHeadAttention};
use crate::nn::compute_kind::{linear, product};
use crate::nn::mlp::glorot_linear;
use crate::nn::pass::Pass;

mod memory_pass;

use memory_pass::{Leaves, MemoryPass};

/// The memory; parameters `attn.linears.*`, `mlp.{0,2}`, `W`, `U`.
#[derive(Debug)]
pub struct RelationalMemory {
    attn: MultiHeadAttention,
    mlp: [nn::Linear; 2],
    w: nn::Linear,
    u: nn::Linear,
    slots: i64,
    d_model: i64,
    dropout: f64,
}

/// Contributions of the tokens that do not depend on the memory: keys and values `[B, heads, T, d_head]`, gates `[B, T, 2 d]`.
#[derive(Debug)]
struct TokenParts {
    kv: KeyValue,
    gates: Tensor,
}

/// A training pass through the memory. States and tokens are leaves of the graph, for whatever follows; the gradients behind them
/// are those of the pass.
#[derive(Debug)]
pub struct TrainingRead {
    /// As [`RelationalMemory::read`] returns them.
    pub states: Tensor,
    /// The tokens `[B, T, d_model]`.
    pub tokens: Tensor,
    pub pass: Box<dyn Pass>,
}

/// Weight `[3 d, d]` and bias of query, key and value of the slots, computed in one product.
struct SlotProjection {
    weight: Tensor,
    bias: Tensor,
}

/// An update of the slots by one token: the slots before and after it, and what its gradients depend on. Slots, softmaxes and
/// gates are f32; products are in the tokens' kind.
#[derive(Debug)]
struct Update {
    /// `[B, slots, d]`, before.
    memory: Tensor,
    /// `[B, heads, slots, d_head]`.
    query: Tensor,
    /// Those of the slots, then the token's: `[B, heads, slots + 1, d_head]`.
    kv: KeyValue,
    /// Attention `[B, heads, slots, slots + 1]` before dropout.
    weights: Tensor,
    /// Attended values `[B, slots, d]`.
    merged: Tensor,
    /// The slots with what attention added, `[B, slots, d]`.
    attended: Tensor,
    /// Hidden layer and output of the MLP, `[B, slots, d]`.
    hidden: Tensor,
    output: Tensor,
    /// Input and forget gates `[B, slots, 2 d]`.
    gates: Tensor,
    /// `[B, slots, d]`.
    candidate: Tensor,
    /// `[B, slots, d]`, after.
    next: Tensor,
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
            dropout,
        }
    }

    /// The memory before the first token: the first rows of the identity, `[batch, slots, d_model]`.
    pub fn start(&self, batch: i64) -> Tensor {
        let eye = Tensor::eye_m(self.slots, self.d_model, (Kind::Float, self.w.ws.device()));
        eye.unsqueeze(0).expand([batch, self.slots, self.d_model], false).contiguous()
    }

    /// Updates `memory` with `tokens` `[B, T, d_model]`, without dropout. Returns the flattened state after each token, f32
    /// `[B, T, slots * d_model]`, and the last state, f32 `[B, slots, d_model]`.
    pub fn read(&self, tokens: &Tensor, memory: Tensor) -> (Tensor, Tensor) {
        let updates = self.updates(&self.token_parts(tokens), &memory, None);
        let last = updates.last().map_or(memory, |update| update.next.shallow_clone());
        (states(&updates), last)
    }

    /// A training pass that begins at [`Self::start`], with dropout.
    pub fn read_in_training(&self, tokens: &Tensor) -> TrainingRead {
        let (source, tokens) = (tokens.shallow_clone(), tokens.detach().set_requires_grad(true));
        let parts = self.token_parts(&tokens);
        let mask = self.dropout_mask(tokens.size()[0], tokens.size()[1]);
        let updates = tch::no_grad(|| self.updates(&parts, &self.start(tokens.size()[0]), mask.as_ref()));
        let states = states(&updates).set_requires_grad(true);
        let leaves = Leaves { states: states.shallow_clone(), tokens: tokens.shallow_clone() };
        let pass = MemoryPass::new(self, source, leaves, parts, updates, mask);
        TrainingRead { states, tokens, pass: Box::new(pass) }
    }

    /// What dropout multiplies attention with, f32 `[T, B, heads, slots, slots + 1]`; `None` without dropout.
    fn dropout_mask(&self, batch: i64, length: i64) -> Option<Tensor> {
        let shape = [length, batch, self.attn.heads(), self.slots, self.slots + 1];
        let ones = || Tensor::ones(shape, (Kind::Float, self.w.ws.device()));
        (self.dropout > 0.0).then(|| ones().dropout(self.dropout, true))
    }

    fn token_parts(&self, tokens: &Tensor) -> TokenParts {
        TokenParts { kv: self.attn.keys_and_values(tokens), gates: linear(tokens, &self.w) }
    }

    fn slot_projection(&self) -> SlotProjection {
        let [query, key, value, _] = &self.attn.linears;
        let biases = [query, key, value].map(|layer| bias(layer).shallow_clone());
        SlotProjection { weight: Tensor::cat(&[&query.ws, &key.ws, &value.ws], 0), bias: Tensor::cat(&biases, 0) }
    }

    /// The updates by all tokens, one after the other.
    fn updates(&self, parts: &TokenParts, memory: &Tensor, mask: Option<&Tensor>) -> Vec<Update> {
        let projection = self.slot_projection();
        let mut updates: Vec<Update> = Vec::new();
        for t in 0..parts.gates.size()[1] {
            let memory = updates.last().map_or(memory, |update| &update.next);
            let mask = mask.map(|mask| mask.get(t));
            updates.push(self.update(memory, parts, &projection, t, mask.as_ref()));
        }
        updates
    }

    fn update(
        &self,
        memory: &Tensor,
        parts: &TokenParts,
        projection: &SlotProjection,
        t: i64,
        mask: Option<&Tensor>,
    ) -> Update {
        // The slots stay f32; matrix products run in the tokens' kind.
        let kind = parts.gates.kind();
        let projected = product(&memory.to_kind(kind), &projection.weight, Some(&projection.bias));
        let rows = projected.chunk(3, -1).iter().map(|x| self.attn.split(x)).collect::<Vec<_>>();
        let kv = KeyValue {
            key: Tensor::cat(&[&rows[1], &parts.kv.key.narrow(2, t, 1)], 2),
            value: Tensor::cat(&[&rows[2], &parts.kv.value.narrow(2, t, 1)], 2),
        };
        let query = rows[0].shallow_clone();
        let weights = attention::weights(&query, &kv, None);
        let dropped = dropped(&weights, mask).to_kind(kind);
        let merged = self.attn.merge(&dropped.matmul(&kv.value));
        let attended = memory + linear(&merged, &self.attn.linears[3]);
        let hidden = linear(&attended.to_kind(kind), &self.mlp[0]).relu();
        let output = linear(&hidden, &self.mlp[1]).relu();
        let candidate = (&attended + &output).tanh();
        let gates = linear(&memory.tanh().to_kind(kind), &self.u) + parts.gates.narrow(1, t, 1);
        let gates = gates.to_kind(Kind::Float).sigmoid();
        let next =
            gates.narrow(-1, 0, self.d_model) * &candidate + gates.narrow(-1, self.d_model, self.d_model) * memory;
        let memory = memory.shallow_clone();
        Update { memory, query, kv, weights, merged, attended, hidden, output, gates, candidate, next }
    }
}

/// The slots after each token, flattened: `[B, T, slots * d]`.
fn states(updates: &[Update]) -> Tensor {
    let states: Vec<Tensor> = updates.iter().map(|update| update.next.flatten(1, 2)).collect();
    Tensor::stack(&states, 1)
}

/// Attention after dropout.
fn dropped(weights: &Tensor, mask: Option<&Tensor>) -> Tensor {
    mask.map_or_else(|| weights.shallow_clone(), |mask| weights * mask)
}

/// The bias of a layer that was made with one.
fn bias(layer: &nn::Linear) -> &Tensor {
    layer.bs.as_ref().expect("layers of the memory have a bias")
}

#[cfg(test)]
mod tests;
