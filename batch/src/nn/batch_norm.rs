//! Batch norm that a batch of one value does not damage.

use tch::{Tensor, nn};

/// Batch norm of `xs` `[B, C, H, W]`. A single value per channel has no variance, and PyTorch makes the running variance NaN of
/// it: it is normalised by the running statistics, which stay as they are.
pub fn batch_norm(xs: &Tensor, norm: &nn::BatchNorm, train: bool) -> Tensor {
    let size = xs.size();
    xs.apply_t(norm, train && size[0] * size[2] * size[3] > 1)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn a_single_value_leaves_the_running_statistics_as_they_are() {
        let vs = nn::VarStore::new(Device::Cpu);
        let norm = nn::batch_norm2d(vs.root(), 2, nn::BatchNormConfig::default());
        let statistics = || ["running_mean", "running_var"].map(|name| vs.variables()[name].copy());
        let before = statistics();
        let out = batch_norm(&Tensor::full([1, 2, 1, 1], 3.0, (Kind::Float, Device::Cpu)), &norm, true);
        assert_eq!(statistics(), before);
        assert!(f64::try_from(out.isfinite().all()).unwrap() == 1.0);
        let _ = batch_norm(&Tensor::full([2, 2, 1, 1], 3.0, (Kind::Float, Device::Cpu)), &norm, true);
        assert_ne!(statistics()[0], before[0], "two values are learned from");
    }
}
