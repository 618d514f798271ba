//! A copy of the running means and variances of batch norms, to be restored after a training pass.

use tch::{Tensor, nn};

/// Names of the variables.
const NAMES: [&str; 2] = ["running_mean", "running_var"];

/// The running statistics of the variables of `vs`, in the order of their names. They share storage with the variables.
pub fn running_statistics(vs: &nn::VarStore) -> Vec<Tensor> {
    let named = |name: &str| NAMES.iter().any(|n| name.ends_with(n));
    let mut found: Vec<(String, Tensor)> = vs.variables().into_iter().filter(|(name, _)| named(name)).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.into_iter().map(|(_, variable)| variable).collect()
}

/// A copy of the running statistics of a network.
#[derive(Debug)]
pub struct RunningStatistics {
    /// Variables and their copies.
    pairs: Vec<(Tensor, Tensor)>,
}

impl RunningStatistics {
    /// Copies the running statistics of the variables of `vs`.
    pub fn of(vs: &nn::VarStore) -> Self {
        Self::of_variables(&running_statistics(vs))
    }

    /// Copies these variables.
    pub fn of_variables(variables: &[Tensor]) -> Self {
        // Through `data`: autograd must not count the restored values as in-place changes of saved tensors.
        let pairs = variables.iter().map(|variable| (variable.data(), variable.detach().copy())).collect();
        Self { pairs }
    }

    /// Writes the copies back.
    pub fn restore(&self) {
        let _no_grad = tch::no_grad_guard();
        for (variable, copy) in &self.pairs {
            variable.shallow_clone().copy_(copy);
        }
    }

    /// Writes the copies back until what is returned is dropped, which restores the values of now.
    pub fn for_a_while(&self) -> Overwritten {
        let now = self.pairs.iter().map(|(variable, _)| (variable.shallow_clone(), variable.copy())).collect();
        self.restore();
        Overwritten(Self { pairs: now })
    }
}

/// Restores running statistics when it is dropped.
#[derive(Debug)]
pub struct Overwritten(RunningStatistics);

impl Drop for Overwritten {
    fn drop(&mut self) {
        self.0.restore();
    }
}

#[cfg(test)]
mod tests {
    use tch::nn::ModuleT;
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn restoring_undoes_a_training_pass_and_keeps_gradients() {
        let vs = nn::VarStore::new(Device::Cpu);
        let norm = nn::batch_norm2d(vs.root() / "bn1", 3, nn::BatchNormConfig::default());
        let images = Tensor::randn([4, 3, 8, 8], (Kind::Float, Device::Cpu)) * 2.0 + 5.0;
        let mean = || vs.variables()["bn1.running_mean"].copy();
        let saved = RunningStatistics::of(&vs);
        let first = norm.forward_t(&images, true);
        assert_ne!(mean(), Tensor::zeros([3], (Kind::Float, Device::Cpu)), "training changes them");
        saved.restore();
        assert_eq!(mean(), Tensor::zeros([3], (Kind::Float, Device::Cpu)));
        (first * norm.forward_t(&images, true)).square().sum(Kind::Float).backward();
        assert!(f64::try_from(vs.variables()["bn1.weight"].grad().abs().sum(Kind::Double)).unwrap() > 0.0);
    }
}
