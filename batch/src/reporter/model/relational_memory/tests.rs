//! The memory's own backward pass against that of the graph.

use tch::{Device, Kind, Tensor, nn};

use super::{RelationalMemory, TrainingRead, states};
use crate::nn::pass::gradients;

const D_MODEL: i64 = 12;

/// The memory with random biases, two reports of seven tokens, and what the loss multiplies the states with.
struct Fixture {
    vs: nn::VarStore,
    memory: RelationalMemory,
    tokens: Tensor,
    weights: Tensor,
}

impl Fixture {
    fn new(dropout: f64) -> Self {
        tch::manual_seed(4);
        let vs = nn::VarStore::new(Device::Cpu);
        let memory = RelationalMemory::new(&vs.root(), D_MODEL, 3, 2, dropout);
        let tokens = vs.root().randn("tokens", &[2, 7, D_MODEL], 0.0, 1.5);
        let weights = Tensor::randn([2, 7, 2 * D_MODEL], (Kind::Float, Device::Cpu));
        Self { vs, memory, tokens, weights }
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        let mut params: Vec<(String, Tensor)> = self.vs.variables().into_iter().collect();
        params.sort_by(|a, b| a.0.cmp(&b.0));
        params
    }

    /// States and gradients by the memory's pass, or by the graph.
    fn step(&self, kind: Kind, own: bool) -> (Tensor, Vec<(String, Tensor)>) {
        let tokens = self.tokens.to_kind(kind);
        tch::manual_seed(6);
        let (states, tokens, passes) = if own {
            let TrainingRead { states, tokens, pass } = self.memory.read_in_training(&tokens);
            (states, tokens, vec![pass])
        } else {
            let mask = self.memory.dropout_mask(2, 7);
            let updates = self.memory.updates(&self.memory.token_parts(&tokens), &self.memory.start(2), mask.as_ref());
            (states(&updates), tokens, Vec::new())
        };
        // The decoder reads the tokens too.
        let loss =
            (&states * &self.weights).sum(Kind::Float) + tokens.to_kind(Kind::Float).square().sum(Kind::Float) * 0.3;
        let params = self.params();
        let found = gradients(&loss, &params.iter().map(|(_, v)| v).collect::<Vec<_>>(), passes).unwrap();
        (states.detach(), params.into_iter().map(|(name, _)| name).zip(found).collect())
    }
}

/// Largest difference over the largest value.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    let largest = f64::try_from(b.abs().max()).unwrap();
    f64::try_from((a - b).abs().max()).unwrap() / largest.max(1e-6)
}

#[test]
fn states_and_gradients_are_those_of_the_graph() {
    for (dropout, kind, tolerance) in [(0.0, Kind::Float, 1e-5), (0.3, Kind::Float, 1e-5), (0.3, Kind::BFloat16, 0.06)]
    {
        let fixture = Fixture::new(dropout);
        let ((own_states, own), (states, graph)) = (fixture.step(kind, true), fixture.step(kind, false));
        assert_eq!(own_states, states, "{dropout} {kind:?}");
        assert_eq!(own.len(), 17);
        for ((name, a), (_, b)) in own.iter().zip(&graph) {
            assert!(b.defined() && f64::try_from(b.abs().max()).unwrap() > 0.0, "{name}");
            let found = if a.defined() { difference(a, b) } else { 1.0 };
            // The bias of keys moves all scores of a query alike: its gradient is nothing but rounding.
            assert!(found < tolerance || name == "attn.linears.1.bias", "{dropout} {kind:?}: {name} {found}");
        }
    }
}

#[test]
fn frozen_parameters_and_an_unused_memory_get_no_gradient() {
    let fixture = Fixture::new(0.0);
    let params = fixture.params();
    let all: Vec<&Tensor> = params.iter().map(|(_, v)| v).collect();
    let TrainingRead { tokens, pass, .. } = fixture.memory.read_in_training(&fixture.tokens);
    let found = gradients(&tokens.sum(Kind::Float), &all, vec![pass]).unwrap();
    let defined: Vec<&str> =
        params.iter().zip(&found).filter(|(_, g)| g.defined()).map(|((name, _), _)| name.as_str()).collect();
    assert_eq!(defined, ["tokens"]);
    for (_, param) in params.iter().filter(|(name, _)| name != "mlp.2.weight") {
        let _ = param.set_requires_grad(false);
    }
    let TrainingRead { states, pass, .. } = fixture.memory.read_in_training(&fixture.tokens);
    let (_, learned) = params.iter().find(|(name, _)| name == "mlp.2.weight").unwrap();
    let found = gradients(&states.sum(Kind::Float), &[learned], vec![pass]).unwrap();
    assert!(found[0].defined());
}
