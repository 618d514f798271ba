//! The backward pass of the relational memory: through the updates from the last token to the first, without a graph. What does not
//! depend on the gradient of a later token is computed for all tokens at once.

use tch::{Kind, Tensor, nn};

use super::{RelationalMemory, TokenParts, Update, bias, dropped};
use crate::error::Result;
use crate::nn::pass::{Pass, continue_backward};

/// The weight and bias of a layer.
#[derive(Debug)]
struct Layer {
    weight: Tensor,
    bias: Tensor,
}

impl Layer {
    fn of(layer: &nn::Linear) -> Self {
        Self { weight: layer.ws.shallow_clone(), bias: bias(layer).shallow_clone() }
    }

    /// The gradients of weight and bias. `of_outputs`: gradients of the layer's outputs `[*, outputs]`; `inputs`: `[*, inputs]`.
    fn gradients(&self, of_outputs: &Tensor, inputs: &Tensor) -> [(&Tensor, Tensor); 2] {
        let (rows, inputs) = (of_outputs.flatten(0, -2), inputs.flatten(0, -2));
        let sum = rows.sum_dim_intlist(0, false, Kind::Float);
        [(&self.weight, rows.tr().matmul(&inputs)), (&self.bias, sum)]
    }
}

/// The leaves of the graph that follows.
#[derive(Debug)]
pub(super) struct Leaves {
    /// `[B, T, slots * d]`.
    pub states: Tensor,
    /// `[B, T, d]`.
    pub tokens: Tensor,
}

/// A training pass through the memory: what it keeps for the backward pass.
#[derive(Debug)]
pub(super) struct MemoryPass {
    /// The tokens with the graph behind them.
    source: Tensor,
    leaves: Leaves,
    parts: TokenParts,
    updates: Vec<Update>,
    /// As of [`RelationalMemory::dropout_mask`].
    mask: Option<Tensor>,
    /// Query, key, value and output of the attention.
    attention: [Layer; 4],
    mlp: [Layer; 2],
    gates: Layer,
}

/// Gradients of the products of one update, in the tokens' kind: of their outputs, without biases.
struct OfUpdate {
    /// Query, key and value of the slots `[B, slots, 3 d]`.
    projected: Tensor,
    /// Key and value of the token `[B, heads, 1, d_head]`.
    token: [Tensor; 2],
    /// Output of the attention `[B, slots, d]`.
    attention: Tensor,
    /// Hidden layer and output of the MLP before their activations `[B, slots, d]`.
    mlp: [Tensor; 2],
    /// Gates before the sigmoid `[B, slots, 2 d]`.
    gates: Tensor,
}

impl MemoryPass {
    pub(super) fn new(
        memory: &RelationalMemory,
        source: Tensor,
        leaves: Leaves,
        parts: TokenParts,
        updates: Vec<Update>,
        mask: Option<Tensor>,
    ) -> Self {
        let attention = memory.attn.linears.each_ref().map(Layer::of);
        Self {
            source,
            leaves,
            parts,
            updates,
            mask,
            attention,
            mlp: memory.mlp.each_ref().map(Layer::of),
            gates: Layer::of(&memory.u),
        }
    }

    /// One tensor of all updates: `[T, ...]`.
    fn all(&self, one: fn(&Update) -> &Tensor) -> Tensor {
        Tensor::stack(&self.updates.iter().map(one).collect::<Vec<_>>(), 0)
    }

    /// The gradients of all updates' products, the first update first. `gradient`: of the states, f32 `[T, B, slots, d]`.
    fn of_updates(&self, gradient: &Tensor) -> Vec<OfUpdate> {
        let kind = self.parts.gates.kind();
        let in_kind = |layer: &Layer| layer.weight.to_kind(kind);
        let [query, key, value, output] = self.attention.each_ref().map(in_kind);
        let slots_weight = Tensor::cat(&[query, key, value], 0);
        let ([first, second], gates_weight) = (self.mlp.each_ref().map(in_kind), in_kind(&self.gates));
        let (memory, candidate) = (self.all(|u| &u.memory), self.all(|u| &u.candidate));
        let d_model = memory.size()[3];
        let gates = self.all(|u| &u.gates);
        let (input, forget) = (gates.narrow(-1, 0, d_model), gates.narrow(-1, d_model, d_model));
        // Derivatives of the next state by what it is made of.
        let by_candidate = (&input * (1f64 - candidate.square())).unbind(0);
        let by_gates = [&candidate * &input * (1f64 - &input), &memory * &forget * (1f64 - &forget)];
        let by_gates = Tensor::stack(&by_gates, 3).unbind(0);
        let by_memory = forget.unbind(0);
        let by_tanh = (1f64 - memory.tanh().square()).unbind(0);
        // Where the MLP's activations let gradients through.
        let hidden_on = self.all(|u| &u.hidden).gt(0.0).to_kind(kind).unbind(0);
        let output_on = self.all(|u| &u.output).gt(0.0).to_kind(kind).unbind(0);
        let of_states = gradient.unbind(0);
        let (batch, slots) = (memory.size()[1], memory.size()[2]);

        let mut found = Vec::with_capacity(self.updates.len());
        let mut carried: Option<Tensor> = None;
        for t in (0..self.updates.len()).rev() {
            let of_next = carried.map_or_else(|| of_states[t].shallow_clone(), |carried| &of_states[t] + carried);
            let gates = (&by_gates[t] * of_next.unsqueeze(2)).view([batch, slots, 2 * d_model]).to_kind(kind);
            let of_sum = &by_candidate[t] * &of_next;
            let out = of_sum.to_kind(kind) * &output_on[t];
            let hidden = out.matmul(&second) * &hidden_on[t];
            let of_attended = of_sum + hidden.matmul(&first);
            let attention = of_attended.to_kind(kind);
            let (projected, token) = self.of_attention(t, &attention.matmul(&output));
            let of_memory = &of_next * &by_memory[t] + gates.matmul(&gates_weight) * &by_tanh[t] + of_attended;
            carried = Some(of_memory + projected.matmul(&slots_weight));
            found.push(OfUpdate { projected, token, attention, mlp: [hidden, out], gates });
        }
        found.reverse();
        found
    }

    /// The gradients of the slots' projection, and of the token's key and value. `of_merged`: of the attended values, `[B, slots, d]`.
    fn of_attention(&self, t: usize, of_merged: &Tensor) -> (Tensor, [Tensor; 2]) {
        let Update { query, kv, weights, .. } = &self.updates[t];
        let size = query.size();
        let (batch, heads, slots, d_head) = (size[0], size[1], size[2], size[3]);
        let of_mixed = of_merged.view([batch, slots, heads, d_head]).transpose(1, 2);
        let mask = self.mask.as_ref().map(|mask| mask.get(t as i64));
        let kind = of_merged.kind();
        let values = dropped(weights, mask.as_ref()).to_kind(kind).transpose(-2, -1).matmul(&of_mixed);
        let of_weights = of_mixed.matmul(&kv.value.transpose(-2, -1)).to_kind(Kind::Float);
        let of_weights = dropped(&of_weights, mask.as_ref());
        let scores = Tensor::internal_softmax_backward_data(&of_weights, weights, -1, Kind::Float);
        let scores = (scores / (d_head as f64).sqrt()).to_kind(kind);
        let keys = scores.transpose(-2, -1).matmul(query);
        // `[B, heads, slots, 3, d_head]` to `[B, slots, 3, heads, d_head]`.
        let of_slots = [scores.matmul(&kv.key), keys.narrow(2, 0, slots), values.narrow(2, 0, slots)];
        let projected = Tensor::stack(&of_slots, 3).permute([0, 2, 3, 1, 4]).reshape([batch, slots, -1]);
        (projected, [keys.narrow(2, slots, 1), values.narrow(2, slots, 1)])
    }

    /// The gradients of parameters and of what depends on the tokens.
    fn found(&self, gradient: &Tensor) -> Vec<(&Tensor, Tensor)> {
        let memory = self.all(|u| &u.memory);
        let (length, batch, slots, d_model) = (memory.size()[0], memory.size()[1], memory.size()[2], memory.size()[3]);
        let gradient = gradient.to_kind(Kind::Float).view([batch, length, slots, d_model]).transpose(0, 1);
        let of_updates = self.of_updates(&gradient);
        let all = |one: fn(&OfUpdate) -> &Tensor| Tensor::stack(&of_updates.iter().map(one).collect::<Vec<_>>(), 0);
        let kind = self.parts.gates.kind();
        let (of_gates, in_kind) = (all(|u| &u.gates), memory.to_kind(kind));
        // `[T, B, heads, 1, d_head]` to `[B, heads, T, d_head]`.
        let of_tokens = |xs: Tensor| xs.squeeze_dim(3).permute([1, 2, 0, 3]);
        let mut found = vec![
            (&self.parts.kv.key, of_tokens(all(|u| &u.token[0]))),
            (&self.parts.kv.value, of_tokens(all(|u| &u.token[1]))),
            (&self.parts.gates, of_gates.sum_dim_intlist(2, false, Kind::Float).transpose(0, 1)),
        ];
        for (layer, of_outputs) in self.attention.iter().zip(all(|u| &u.projected).chunk(3, -1)) {
            found.extend(layer.gradients(&of_outputs, &in_kind));
        }
        found.extend(self.attention[3].gradients(&all(|u| &u.attention), &self.all(|u| &u.merged)));
        found.extend(self.mlp[0].gradients(&all(|u| &u.mlp[0]), &self.all(|u| &u.attended).to_kind(kind)));
        found.extend(self.mlp[1].gradients(&all(|u| &u.mlp[1]), &self.all(|u| &u.hidden)));
        found.extend(self.gates.gradients(&of_gates, &memory.tanh().to_kind(kind)));
        found
    }
}

impl Pass for MemoryPass {
    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.leaves.states, &self.leaves.tokens]
    }

    fn backward(self: Box<Self>, params: &[&Tensor], mut of_outputs: Vec<Tensor>, sum: &mut [Tensor]) -> Result<()> {
        let mut of_source = of_outputs.pop().unwrap_or_default();
        let of_states = of_outputs.pop().unwrap_or_default();
        if of_states.defined() {
            let found = tch::no_grad(|| self.found(&of_states));
            let inputs = [params, &[&self.leaves.tokens]].concat();
            let mut of_inputs: Vec<Tensor> = sum.iter_mut().chain([&mut of_source]).map(std::mem::take).collect();
            continue_backward(&found, &inputs, &mut of_inputs)?;
            sum.iter_mut().chain([&mut of_source]).zip(of_inputs).for_each(|(sum, found)| *sum = found);
        }
        continue_backward(&[(&self.source, of_source)], params, sum)
    }
}
