//! Batch normalisation with fixed statistics and a fixed affine map: `y = x * a + b` with
//! `a = weight / sqrt(running_var + eps)` and `b = bias - running_mean * a`.
//! The four tensors are buffers under torchvision's names; nothing here is trained.

use tch::{Tensor, nn};

/// A channel-wise affine map.
#[derive(Debug)]
pub struct FrozenBatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    eps: f64,
}

impl FrozenBatchNorm {
    /// The identity (up to `eps`) over `channels` channels until weights are loaded.
    pub fn new(path: &nn::Path, channels: i64, eps: f64) -> Self {
        Self {
            weight: path.ones_no_train("weight", &[channels]),
            bias: path.zeros_no_train("bias", &[channels]),
            running_mean: path.zeros_no_train("running_mean", &[channels]),
            running_var: path.ones_no_train("running_var", &[channels]),
            eps,
        }
    }

    /// `a` and `b`, each `[C]`, to be folded into the convolution before this norm: kernel times `a`, bias `b`.
    pub fn scale_and_shift(&self) -> (Tensor, Tensor) {
        let scale = &self.weight * (&self.running_var + self.eps).rsqrt();
        let shift = &self.bias - &self.running_mean * &scale;
        (scale, shift)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn equals_batch_norm_in_evaluation_mode_and_has_no_trainable_variable() {
        let vs = nn::VarStore::new(Device::Cpu);
        let norm = FrozenBatchNorm::new(&vs.root(), 2, 1e-5);
        for (mut tensor, values) in [
            (norm.weight.shallow_clone(), [2.0f32, 0.5]),
            (norm.bias.shallow_clone(), [1.0, -1.0]),
            (norm.running_mean.shallow_clone(), [0.3, -0.2]),
            (norm.running_var.shallow_clone(), [4.0, 0.25]),
        ] {
            tensor.copy_(&Tensor::from_slice(&values));
        }
        let xs = Tensor::arange(16, (Kind::Float, Device::Cpu)).view([2, 2, 2, 2]);
        let torch = Tensor::batch_norm(
            &xs,
            Some(&norm.weight),
            Some(&norm.bias),
            Some(&norm.running_mean),
            Some(&norm.running_var),
            false,
            0.1,
            1e-5,
            false,
        );
        let (scale, shift) = norm.scale_and_shift();
        let ours = &xs * scale.view([1, -1, 1, 1]) + shift.view([1, -1, 1, 1]);
        let gap = f64::try_from((ours - torch).abs().max()).unwrap();
        assert!(gap < 1e-5, "{gap}");
        assert!(vs.trainable_variables().is_empty());
        assert_eq!(vs.variables().len(), 4);
    }
}
