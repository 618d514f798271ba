//! Sums of losses between two rows of the training log. They stay on the device, so that no step waits for it.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// Name of the number of steps in a checkpoint.
const STEPS: &str = "steps";

/// Sums of `N` named scalars.
#[derive(Debug)]
pub struct RunningSums<const N: usize> {
    names: [&'static str; N],
    /// f64 `[N]` on the device.
    sums: Tensor,
    steps: f64,
}

impl<const N: usize> RunningSums<N> {
    /// All sums 0.
    pub fn new(names: [&'static str; N], device: Device) -> Self {
        Self { names, sums: Tensor::zeros([N as i64], (Kind::Double, device)), steps: 0.0 }
    }

    /// Adds the values of a step, `[N]` of any kind and without gradient.
    pub fn add(&mut self, values: &Tensor) {
        let _no_grad = tch::no_grad_guard();
        let _ = self.sums.g_add_(&values.to_kind(Kind::Double));
        self.steps += 1.0;
    }

    /// Steps added.
    pub fn steps(&self) -> f64 {
        self.steps
    }

    /// Sums over the steps. Waits for the device.
    ///
    /// # Errors
    /// When a libtorch operation fails.
    pub fn sums(&self) -> Result<[f64; N]> {
        let mut values = [0.0; N];
        self.sums.f_to_device(Device::Cpu)?.f_copy_data(&mut values, N)?;
        Ok(values)
    }

    /// Means over the steps; sums where there was none. Waits for the device.
    ///
    /// # Errors
    /// When a libtorch operation fails.
    pub fn means(&self) -> Result<[f64; N]> {
        Ok(self.sums()?.map(|sum| sum / self.steps.max(1.0)))
    }

    /// Sets all sums to 0.
    pub fn reset(&mut self) {
        let _ = self.sums.zero_();
        self.steps = 0.0;
    }

    /// The sums by name, for a checkpoint.
    ///
    /// # Errors
    /// When a libtorch operation fails.
    pub fn state(&self) -> Result<BTreeMap<String, f64>> {
        let mut state: BTreeMap<String, f64> = self.names.iter().map(|n| (*n).to_owned()).zip(self.sums()?).collect();
        state.insert(STEPS.into(), self.steps);
        Ok(state)
    }

    /// Takes over the sums of a checkpoint.
    pub fn restore(&mut self, state: &BTreeMap<String, f64>) {
        let value = |name: &str| state.get(name).copied().unwrap_or(0.0);
        self.sums = Tensor::from_slice(&self.names.map(value)).to_device(self.sums.device());
        self.steps = value(STEPS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_on_from_a_checkpoint() {
        let mut sums = RunningSums::new(["a", "b"], Device::Cpu);
        sums.add(&Tensor::from_slice(&[1.0f32, 2.0]));
        let state = sums.state().unwrap();
        assert_eq!(state, [("a", 1.0), ("b", 2.0), ("steps", 1.0)].map(|(n, v)| (n.to_owned(), v)).into());
        let mut resumed = RunningSums::new(["a", "b"], Device::Cpu);
        resumed.restore(&state);
        for sums in [&mut sums, &mut resumed] {
            sums.add(&Tensor::from_slice(&[2.0f32, 4.0]));
            assert_eq!(sums.means().unwrap(), [1.5, 3.0]);
        }
        sums.reset();
        assert_eq!((sums.means().unwrap(), sums.steps()), ([0.0, 0.0], 0.0));
    }
}
