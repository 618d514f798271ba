//! Feature pyramid (Lin et al. 2017, arXiv:1612.03144): lateral 1x1, top-down nearest sum, 3x3 output, and extra coarse
//! levels: P6 subsampled from P5 (Faster R-CNN), or P6 and P7 by convolutions (RetinaNet, FCOS).
//! C`min_level` to C5 in, P`min_level` to the top out, all of one width. Parameter names are torchvision's.

use tch::{Kind, Tensor, nn};

use crate::config::detector::BackboneNorm;
use crate::nn::compute_kind::{convolution, same_convolution};
use crate::nn::conv_norm::{ConvNorm, ConvShape};

/// How the levels above P5 are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopLevels {
    /// P6: every second row and column of P5.
    Pool,
    /// P6 from P5 and P7 from ReLU(P6), convolutions of stride 2.
    Convolutions,
}

/// A convolution with a bias, or without one and with a norm after it.
#[derive(Debug)]
enum Layer {
    Plain(nn::Conv2D),
    Normed(ConvNorm),
}

impl Layer {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        match self {
            Self::Plain(conv) => same_convolution(xs, conv),
            Self::Normed(conv) => conv.forward_t(xs, train),
        }
    }
}

#[derive(Debug)]
pub struct Fpn {
    inner_blocks: Vec<Layer>,
    layer_blocks: Vec<Layer>,
    /// The convolutions of P6 and P7, with [`TopLevels::Convolutions`].
    extra: Option<(nn::Conv2D, nn::Conv2D)>,
}

impl Fpn {
    /// A pyramid over the given levels' channels, finest first; `normed`: batch norms after its convolutions.
    pub fn new(path: &nn::Path, inputs: &[i64], channels: i64, top: TopLevels, normed: bool) -> Self {
        let (inner, outer, extra) = (path / "inner_blocks", path / "layer_blocks", path / "extra_blocks");
        let layer = |path: nn::Path, inputs: i64, kernel: i64| {
            if normed {
                let shape = ConvShape { inputs, outputs: channels, kernel, stride: 1 };
                return Layer::Normed(ConvNorm::new(&(&path / "0"), &(&path / "1"), shape, BackboneNorm::Batch));
            }
            Layer::Plain(conv(&path / "0", inputs, channels, kernel, 1))
        };
        let convolutions =
            || (conv(&extra / "p6", channels, channels, 3, 2), conv(&extra / "p7", channels, channels, 3, 2));
        Self {
            inner_blocks: inputs.iter().enumerate().map(|(i, &c)| layer(&inner / i, c, 1)).collect(),
            layer_blocks: (0..inputs.len()).map(|i| layer(&outer / i, channels, 3)).collect(),
            extra: (top == TopLevels::Convolutions).then(convolutions),
        }
    }

    /// `levels`: f32 or bf16 `[B, C, H, W]` each, finest first. Returns the pyramid in their kind, finest first.
    pub fn forward_t(&self, levels: &[Tensor], train: bool) -> Vec<Tensor> {
        let mut pyramid = Vec::with_capacity(levels.len() + 2);
        let mut above: Option<Tensor> = None;
        for ((level, lateral), output) in levels.iter().zip(&self.inner_blocks).zip(&self.layer_blocks).rev() {
            let (_, _, height, width) = level.size4().expect("levels are images");
            let mut merged = lateral.forward_t(level, train);
            if let Some(top) = above {
                merged = merged + top.upsample_nearest2d([height, width], None, None);
            }
            pyramid.push(output.forward_t(&merged, train));
            above = Some(merged);
        }
        pyramid.reverse();
        let top = &pyramid[pyramid.len() - 1];
        match &self.extra {
            None => {
                let p6 = top.max_pool2d([1, 1], [2, 2], [0, 0], [1, 1], false);
                pyramid.push(p6);
            }
            Some((p6, p7)) => {
                // Small maps, in f32: of a map of one cell libtorch 2.11 leaves the gradient of a bf16 kernel of stride 2
                // unset on the CPU.
                let halved = |xs: &Tensor, conv: &nn::Conv2D| convolution(xs, conv, 2, [1, 1]);
                let kind = top.kind();
                let p6 = halved(&top.to_kind(Kind::Float), p6);
                let p7 = halved(&p6.relu(), p7);
                pyramid.extend([p6, p7].map(|map| map.to_kind(kind)));
            }
        }
        pyramid
    }
}

fn conv(path: nn::Path, inputs: i64, outputs: i64, kernel: i64, stride: i64) -> nn::Conv2D {
    let config = nn::ConvConfig {
        stride,
        padding: kernel / 2,
        // Kaiming uniform with a = 1.
        ws_init: nn::Init::Kaiming {
            dist: nn::init::NormalOrUniform::Uniform,
            fan: nn::init::FanInOut::FanIn,
            non_linearity: nn::init::NonLinearity::Linear,
        },
        bs_init: nn::Init::Const(0.0),
        ..nn::ConvConfig::default()
    };
    nn::conv2d(path, inputs, outputs, kernel, config)
}
