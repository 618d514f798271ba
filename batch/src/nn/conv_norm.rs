//! A convolution without bias and the norm after it, as in torchvision's ResNets: siblings with separate
//! names (`conv1`, `bn1`), initialised as there (Kaiming normal, fan out; norm weight 1, bias 0).

use tch::{Tensor, nn};

use crate::config::detector::BackboneNorm;
use crate::nn::batch_norm::batch_norm;
use crate::nn::frozen_batch_norm::FrozenBatchNorm;

const EPS: f64 = 1e-5;

/// Channels, kernel and stride of a square convolution, padded to keep the size at stride 1.
#[derive(Debug, Clone, Copy)]
pub struct ConvShape {
    /// Input channels.
    pub inputs: i64,
    /// Output channels.
    pub outputs: i64,
    /// Size of the kernel, odd.
    pub kernel: i64,
    pub stride: i64,
}

#[derive(Debug)]
enum Norm {
    Batch(nn::BatchNorm),
    Frozen(FrozenBatchNorm),
}

/// Convolution, then norm.
#[derive(Debug)]
pub struct ConvNorm {
    conv: nn::Conv2D,
    shape: ConvShape,
    norm: Norm,
}

impl ConvNorm {
    /// Both layers under their own paths.
    pub fn new(conv: &nn::Path, norm: &nn::Path, shape: ConvShape, kind: BackboneNorm) -> Self {
        let config = nn::ConvConfig {
            stride: shape.stride,
            padding: shape.kernel / 2,
            bias: false,
            ws_init: nn::Init::Kaiming {
                dist: nn::init::NormalOrUniform::Normal,
                fan: nn::init::FanInOut::FanOut,
                non_linearity: nn::init::NonLinearity::ReLU,
            },
            ..nn::ConvConfig::default()
        };
        let norm = match kind {
            // The default of tch is a weight uniform in [0, 1).
            BackboneNorm::Batch => Norm::Batch(nn::batch_norm2d(
                norm,
                shape.outputs,
                nn::BatchNormConfig { eps: EPS, ws_init: nn::Init::Const(1.0), ..nn::BatchNormConfig::default() },
            )),
            BackboneNorm::FrozenBatch => Norm::Frozen(FrozenBatchNorm::new(norm, shape.outputs, EPS)),
        };
        Self { conv: nn::conv2d(conv, shape.inputs, shape.outputs, shape.kernel, config), shape, norm }
    }

    /// Whether a variable of either layer is trained.
    pub fn is_trained(&self) -> bool {
        let of_norm = match &self.norm {
            Norm::Batch(norm) => norm.ws.as_ref().is_some_and(Tensor::requires_grad),
            Norm::Frozen(_) => false,
        };
        self.conv.ws.requires_grad() || of_norm
    }

    /// The running mean and variance, which training passes change; none where the norm is frozen.
    pub fn running_statistics(&self) -> Vec<Tensor> {
        match &self.norm {
            Norm::Batch(norm) => vec![norm.running_mean.shallow_clone(), norm.running_var.shallow_clone()],
            Norm::Frozen(_) => Vec::new(),
        }
    }

    /// `xs`: f32 or bf16 `[B, C, H, W]`. An image with one channel is repeated for each input channel of the layer: the
    /// kernel is summed over its inputs, which gives the same result with less work. A frozen norm is folded into the
    /// kernel and a bias.
    pub fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        let kernel = if xs.size()[1] == 1 && self.shape.inputs > 1 {
            self.conv.ws.sum_dim_intlist([1i64].as_slice(), true, self.conv.ws.kind())
        } else {
            self.conv.ws.shallow_clone()
        };
        let (stride, padding) = (self.shape.stride, self.shape.kernel / 2);
        let convolved = |kernel: &Tensor, bias: Option<&Tensor>| {
            let (kernel, bias) = (kernel.to_kind(xs.kind()), bias.map(|b| b.to_kind(xs.kind())));
            xs.conv2d(&kernel, bias.as_ref(), [stride; 2], [padding; 2], [1, 1], 1)
        };
        match &self.norm {
            Norm::Batch(norm) => batch_norm(&convolved(&kernel, None), norm, train),
            Norm::Frozen(norm) => {
                let (scale, shift) = norm.scale_and_shift();
                convolved(&(kernel * scale.view([-1, 1, 1, 1])), Some(&shift))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn a_grey_image_is_repeated_for_each_input_channel() {
        let vs = nn::VarStore::new(Device::Cpu);
        let shape = ConvShape { inputs: 3, outputs: 4, kernel: 7, stride: 2 };
        let layer = ConvNorm::new(&(vs.root() / "conv1"), &(vs.root() / "bn1"), shape, BackboneNorm::Batch);
        let grey = Tensor::randn([2, 1, 16, 16], (Kind::Float, Device::Cpu));
        let gap = (layer.forward_t(&grey, false) - layer.forward_t(&grey.expand([2, 3, 16, 16], false), false)).abs();
        assert!(f64::try_from(gap.max()).unwrap() < 1e-5);
        let weight = &vs.variables()["bn1.weight"];
        assert_eq!(Vec::<f32>::try_from(weight).unwrap(), [1.0; 4]);
    }
}
