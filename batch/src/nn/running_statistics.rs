//! Means and variances that batch norms follow in training and use afterwards, kept aside and put back.

use tch::{Tensor, nn};

/// Names of the variables.
const NAMES: [&str; 2] = ["running_mean", "running_var"];

/// A copy of the running statistics of a network.
#[derive(Debug)]
pub struct RunningStatistics {
    /// Each variable and its copy.
    pairs: Vec<(Tensor, Tensor)>,
}

impl RunningStatistics {
    /// Those of the network behind `vs`, now.
    pub fn of(vs: &nn::VarStore) -> Self {
        let named = |name: &str| NAMES.iter().any(|n| name.ends_with(n));
        let found = vs.variables().into_iter().filter(|(name, _)| named(name));
        // Through `data`: a graph that waits for its backward pass does not take it for a change of what it needs.
        let pairs = found.map(|(_, variable)| (variable.data(), variable.detach().copy())).collect();
        Self { pairs }
    }

    /// Writes the copies back.
    pub fn put_back(self) {
        let _no_grad = tch::no_grad_guard();
        for (mut variable, copy) in self.pairs {
            variable.copy_(&copy);
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::nn::ModuleT;
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn a_pass_between_leaves_no_trace_and_gradients_still_flow() {
        let vs = nn::VarStore::new(Device::Cpu);
        let norm = nn::batch_norm2d(vs.root() / "bn1", 3, nn::BatchNormConfig::default());
        let films = Tensor::randn([4, 3, 8, 8], (Kind::Float, Device::Cpu)) * 2.0 + 5.0;
        let mean = || vs.variables()["bn1.running_mean"].copy();
        let kept = RunningStatistics::of(&vs);
        let first = norm.forward_t(&films, true);
        assert_ne!(mean(), Tensor::zeros([3], (Kind::Float, Device::Cpu)), "training moves them");
        kept.put_back();
        assert_eq!(mean(), Tensor::zeros([3], (Kind::Float, Device::Cpu)));
        (first * norm.forward_t(&films, true)).square().sum(Kind::Float).backward();
        assert!(f64::try_from(vs.variables()["bn1.weight"].grad().abs().sum(Kind::Double)).unwrap() > 0.0);
    }
}
