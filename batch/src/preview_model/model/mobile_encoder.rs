//! A mobile encoder (inverted residuals of MobileNetV2, Sandler et al. 2018) for grey films: a map of cells for boxes
//! at stride 16, tokens for the decoder at stride 32.

use tch::Tensor;
use tch::nn::{self, Module, ModuleT};

use crate::config::preview::Tier;

/// Added to a batch norm's variance.
pub const EPS: f64 = 1e-5;

/// A convolution without bias and its batch norm.
#[derive(Debug)]
pub struct ConvNorm {
    conv: nn::Conv2D,
    norm: nn::BatchNorm,
    /// Channels in, channels out, side of the kernel, stride, groups.
    pub shape: [i64; 5],
}

impl ConvNorm {
    fn new(path: &nn::Path, shape: [i64; 5]) -> Self {
        let [inputs, outputs, kernel, stride, groups] = shape;
        let config = nn::ConvConfig { stride, padding: kernel / 2, groups, bias: false, ..nn::ConvConfig::default() };
        let norm = nn::BatchNormConfig { eps: EPS, ws_init: nn::Init::Const(1.0), ..nn::BatchNormConfig::default() };
        Self {
            conv: nn::conv2d(path / "conv", inputs, outputs, kernel, config),
            norm: nn::batch_norm2d(path / "norm", outputs, norm),
            shape,
        }
    }

    fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        self.norm.forward_t(&self.conv.forward(xs), train)
    }

    /// Kernel and bias of the one convolution that does both in evaluation.
    pub fn folded(&self) -> (Tensor, Tensor) {
        let scale = self.norm.ws.as_ref().map_or_else(|| self.norm.running_var.ones_like(), Tensor::shallow_clone)
            / (&self.norm.running_var + EPS).sqrt();
        let shift = self.norm.bs.as_ref().map_or_else(|| self.norm.running_var.zeros_like(), Tensor::shallow_clone)
            - &self.norm.running_mean * &scale;
        (&self.conv.ws * scale.view([-1, 1, 1, 1]), shift)
    }

    /// Puts the norm's statistics into the convolution; only its shift is left.
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

/// Expansion, depthwise convolution, projection; a shortcut where the size stays.
#[derive(Debug)]
pub struct InvertedResidual {
    /// Absent where the expansion is 1.
    pub expand: Option<ConvNorm>,
    /// Depthwise.
    pub depthwise: ConvNorm,
    /// Linear.
    pub project: ConvNorm,
    /// The input is added.
    pub shortcut: bool,
}

impl InvertedResidual {
    fn new(path: &nn::Path, inputs: i64, Stage { expansion, channels: outputs, stride, kernel, .. }: Stage) -> Self {
        let hidden = inputs * expansion;
        Self {
            expand: (expansion > 1).then(|| ConvNorm::new(&(path / "expand"), [inputs, hidden, 1, 1, 1])),
            depthwise: ConvNorm::new(&(path / "depthwise"), [hidden, hidden, kernel, stride, hidden]),
            project: ConvNorm::new(&(path / "project"), [hidden, outputs, 1, 1, 1]),
            shortcut: stride == 1 && inputs == outputs,
        }
    }

    fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        let wide = self.expand.as_ref().map_or_else(|| xs.shallow_clone(), |e| e.forward_t(xs, train).relu());
        let out = self.project.forward_t(&self.depthwise.forward_t(&wide, train).relu(), train);
        if self.shortcut { out + xs } else { out }
    }
}

/// Inverted residuals in a row; only the first of them has a stride.
#[derive(Debug, Clone, Copy)]
struct Stage {
    /// Of the channels, inside a block.
    expansion: i64,
    /// Channels out.
    channels: i64,
    /// Blocks.
    repeats: i64,
    /// Of the first block.
    stride: i64,
    /// Side of the depthwise kernel.
    kernel: i64,
}

/// Channels of the two dense convolutions, the stages, width of the tokens. Kernels of 5 x 5 cost little where each
/// channel has its own (MobileNetV3, Howard et al. 2019), and narrow expansions pay for them.
fn sizes(tier: Tier) -> ([i64; 2], [Stage; 4], i64) {
    let stage = |[expansion, channels, repeats, stride, kernel]: [i64; 5]| Stage {
        expansion,
        channels,
        repeats,
        stride,
        kernel,
    };
    let (dense, stages, tokens) = match tier {
        Tier::A => ([8, 24], [[2, 24, 1, 1, 3], [3, 40, 2, 2, 5], [3, 64, 3, 2, 5], [4, 96, 1, 2, 5]], 128),
        Tier::B => ([16, 32], [[4, 32, 1, 1, 3], [6, 48, 3, 2, 5], [6, 96, 4, 2, 5], [6, 160, 3, 2, 5]], 256),
    };
    (dense, stages.map(stage), tokens)
}

/// The encoder; parameters `stem.N`, `blocks.N`, `last`. Two dense convolutions lead to stride 4: an inverted residual on
/// half the film's side would cost more time than all others.
#[derive(Debug)]
pub struct MobileEncoder {
    /// 3x3, stride 2 each.
    pub stem: [ConvNorm; 2],
    /// All stages in a row.
    pub blocks: Vec<InvertedResidual>,
    /// 1x1 to the tokens' width.
    pub last: ConvNorm,
    /// Blocks before the map at stride 16 is taken.
    pub at_stride_16: usize,
    /// Channels of that map.
    pub map_channels: i64,
    /// Width of the tokens.
    pub token_width: i64,
}

impl MobileEncoder {
    /// An encoder of this tier.
    pub fn new(path: &nn::Path, tier: Tier) -> Self {
        let ([first, second], stages, token_width) = sizes(tier);
        let mut blocks = Vec::new();
        let mut channels = second;
        let (mut at_stride_16, mut map_channels) = (0, second);
        for (place, stage) in stages.into_iter().enumerate() {
            if place == stages.len() - 1 {
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
            stem: [
                ConvNorm::new(&(path / "stem" / 0), [1, first, 3, 2, 1]),
                ConvNorm::new(&(path / "stem" / 1), [first, second, 3, 2, 1]),
            ],
            last: ConvNorm::new(&(path / "last"), [channels, token_width, 1, 1, 1]),
            blocks,
            at_stride_16,
            map_channels,
            token_width,
        }
    }

    /// `films`: f32 `[B, 1, S, S]` in 0 to 1. Returns the map `[B, C, S/16, S/16]` and the tokens' map
    /// `[B, W, S/32, S/32]`.
    pub fn forward_t(&self, films: &Tensor, train: bool) -> (Tensor, Tensor) {
        let mut xs = self.stem.iter().fold(films.shallow_clone(), |xs, layer| layer.forward_t(&xs, train).relu());
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
