//! A mobile encoder (inverted residuals of MobileNetV2, Sandler et al. 2018) for grey images: a map at stride 16 for boxes, a map at
//! stride 32 for the decoder's tokens.

use tch::Tensor;
use tch::nn::{self, Module};

use crate::config::preview::Tier;
use crate::nn::batch_norm::batch_norm;

/// Added to a batch norm's variance.
pub const EPS: f64 = 1e-5;

/// Hyper-parameters of a convolution with padding `kernel / 2`.
#[derive(Debug, Clone, Copy)]
pub struct ConvShape {
    /// Input channels.
    pub inputs: i64,
    /// Output channels.
    pub outputs: i64,
    /// Kernel height and width.
    pub kernel: i64,
    pub stride: i64,
    pub groups: i64,
}

impl ConvShape {
    /// A 1x1 convolution.
    pub fn pointwise(inputs: i64, outputs: i64) -> Self {
        Self { inputs, outputs, kernel: 1, stride: 1, groups: 1 }
    }
}

/// A convolution without bias, then batch norm.
#[derive(Debug)]
pub struct ConvNorm {
    conv: nn::Conv2D,
    norm: nn::BatchNorm,
    pub shape: ConvShape,
}

impl ConvNorm {
    fn new(path: &nn::Path, shape: ConvShape) -> Self {
        let ConvShape { inputs, outputs, kernel, stride, groups } = shape;
        let config = nn::ConvConfig { stride, padding: kernel / 2, groups, bias: false, ..nn::ConvConfig::default() };
        let norm = nn::BatchNormConfig { eps: EPS, ws_init: nn::Init::Const(1.0), ..nn::BatchNormConfig::default() };
        Self {
            conv: nn::conv2d(path / "conv", inputs, outputs, kernel, config),
            norm: nn::batch_norm2d(path / "norm", outputs, norm),
            shape,
        }
    }

    fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        batch_norm(&self.conv.forward(xs), &self.norm, train)
    }

    /// Kernel and bias of the equivalent convolution in evaluation mode.
    pub fn folded(&self) -> (Tensor, Tensor) {
        let scale = self.norm.ws.as_ref().map_or_else(|| self.norm.running_var.ones_like(), Tensor::shallow_clone)
            / (&self.norm.running_var + EPS).sqrt();
        let shift = self.norm.bs.as_ref().map_or_else(|| self.norm.running_var.zeros_like(), Tensor::shallow_clone)
            - &self.norm.running_mean * &scale;
        (&self.conv.ws * scale.view([-1, 1, 1, 1]), shift)
    }

    /// Folds the norm into the convolution in place; only a shift remains in the norm.
    pub fn fold(&self) {
        let (kernel, shift) = self.folded();
        let set = |tensor: &Tensor, value: &Tensor| tensor.shallow_clone().copy_(value);
        set(&self.conv.ws, &kernel);
        set(&self.norm.running_mean, &self.norm.running_mean.zeros_like());
        set(&self.norm.running_var, &(self.norm.running_var.ones_like() - EPS));
        if let (Some(weight), Some(bias)) = (&self.norm.ws, &self.norm.bs) {
            set(weight, &weight.ones_like());
            set(bias, &shift);
        }
    }
}

/// Expansion, depthwise convolution, projection; a residual connection where the shape stays.
#[derive(Debug)]
pub struct InvertedResidual {
    /// 1x1; `None` for expansion 1.
    pub expand: Option<ConvNorm>,
    pub depthwise: ConvNorm,
    /// 1x1, without activation.
    pub project: ConvNorm,
    /// Whether the input is added.
    pub shortcut: bool,
}

impl InvertedResidual {
    fn new(path: &nn::Path, inputs: i64, Stage { expansion, channels: outputs, stride, kernel, .. }: Stage) -> Self {
        let hidden = inputs * expansion;
        Self {
            expand: (expansion > 1).then(|| ConvNorm::new(&(path / "expand"), ConvShape::pointwise(inputs, hidden))),
            depthwise: ConvNorm::new(
                &(path / "depthwise"),
                ConvShape { inputs: hidden, outputs: hidden, kernel, stride, groups: hidden },
            ),
            project: ConvNorm::new(&(path / "project"), ConvShape::pointwise(hidden, outputs)),
            shortcut: stride == 1 && inputs == outputs,
        }
    }

    fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        let wide = self.expand.as_ref().map_or_else(|| xs.shallow_clone(), |e| e.forward_t(xs, train).relu());
        let out = self.project.forward_t(&self.depthwise.forward_t(&wide, train).relu(), train);
        if self.shortcut { out + xs } else { out }
    }
}

/// Serial inverted residuals; only the first has a stride.
#[derive(Debug, Clone, Copy)]
struct Stage {
    /// Hidden channels of a block over its input channels.
    expansion: i64,
    /// Output channels.
    channels: i64,
    /// Number of blocks.
    repeats: i64,
    /// Stride of the first block.
    stride: i64,
    /// Size of the depthwise kernel.
    kernel: i64,
}

/// Sizes of an encoder.
struct Sizes {
    /// Channels of the two dense convolutions.
    dense: [i64; 2],
    stages: [Stage; 4],
    token_width: i64,
}

/// Depthwise kernels of 5x5 are cheap (MobileNetV3, Howard et al. 2019); narrow expansions compensate for them.
fn sizes(tier: Tier) -> Sizes {
    let stage = |[expansion, channels, repeats, stride, kernel]: [i64; 5]| Stage {
        expansion,
        channels,
        repeats,
        stride,
        kernel,
    };
    let (dense, stages, token_width) = match tier {
        Tier::A => ([8, 24], [[2, 24, 1, 1, 3], [3, 40, 2, 2, 5], [3, 64, 3, 2, 5], [4, 96, 1, 2, 5]], 128),
        Tier::B => ([16, 32], [[4, 32, 1, 1, 3], [6, 48, 3, 2, 5], [6, 96, 4, 2, 5], [6, 160, 3, 2, 5]], 256),
    };
    Sizes { dense, stages: stages.map(stage), token_width }
}

/// The encoder; parameters `stem.N`, `blocks.N`, `last`. Two dense convolutions lead to stride 4: an inverted residual at stride 2
/// would cost more time than all others.
#[derive(Debug)]
pub struct MobileEncoder {
    /// 3x3 convolutions with stride 2.
    pub stem: [ConvNorm; 2],
    /// The blocks of all stages.
    pub blocks: Vec<InvertedResidual>,
    /// 1x1 convolution to the tokens' width.
    pub last: ConvNorm,
    /// Number of blocks before the map at stride 16.
    pub at_stride_16: usize,
    /// Channels of the map at stride 16.
    pub map_channels: i64,
    /// Width of the tokens.
    pub token_width: i64,
}

impl MobileEncoder {
    /// An encoder of this tier.
    pub fn new(path: &nn::Path, tier: Tier) -> Self {
        let Sizes { dense: [first, second], stages, token_width } = sizes(tier);
        let stem = |index: i64, inputs: i64, outputs: i64| {
            ConvNorm::new(&(path / "stem" / index), ConvShape { inputs, outputs, kernel: 3, stride: 2, groups: 1 })
        };
        let mut blocks = Vec::new();
        let mut channels = second;
        let (mut at_stride_16, mut map_channels) = (0, second);
        for (index, stage) in stages.into_iter().enumerate() {
            if index == stages.len() - 1 {
                (at_stride_16, map_channels) = (blocks.len(), channels);
            }
            for repeat in 0..stage.repeats {
                let stage = if repeat == 0 { stage } else { Stage { stride: 1, ..stage } };
                let block = path / "blocks" / blocks.len() as i64;
                blocks.push(InvertedResidual::new(&block, channels, stage));
                channels = stage.channels;
            }
        }
        Self {
            stem: [stem(0, 1, first), stem(1, first, second)],
            last: ConvNorm::new(&(path / "last"), ConvShape::pointwise(channels, token_width)),
            blocks,
            at_stride_16,
            map_channels,
            token_width,
        }
    }

    /// `images`: f32 `[B, 1, S, S]` in 0 to 1. Returns the map `[B, C, S/16, S/16]` and the tokens' map
    /// `[B, W, S/32, S/32]`.
    pub fn forward_t(&self, images: &Tensor, train: bool) -> (Tensor, Tensor) {
        let mut xs = self.stem.iter().fold(images.shallow_clone(), |xs, layer| layer.forward_t(&xs, train).relu());
        let mut map = Tensor::new();
        for (i, block) in self.blocks.iter().enumerate() {
            if i == self.at_stride_16 {
                map = xs.shallow_clone();
            }
            xs = block.forward_t(&xs, train);
        }
        (map, self.last.forward_t(&xs, train).relu())
    }
}
