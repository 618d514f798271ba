//! Feature pyramid (Lin et al. 2017, arXiv:1612.03144) with the two extra levels of RetinaNet and FCOS: lateral 1x1,
//! top-down nearest sum, 3x3 output; P6 from P5, P7 from ReLU(P6).
//! C`min_level` to C5 in, P`min_level` to P7 out, all of one width. Parameter names are torchvision's.

use tch::{Tensor, nn};

/// Highest level of the pyramid; its stride is `1 << TOP_LEVEL`.
pub const TOP_LEVEL: usize = 7;

/// The pyramid.
#[derive(Debug)]
pub struct Fpn {
    inner_blocks: Vec<nn::Conv2D>,
    layer_blocks: Vec<nn::Conv2D>,
    p6: nn::Conv2D,
    p7: nn::Conv2D,
}

impl Fpn {
    /// A pyramid over the given levels' channels, finest first.
    pub fn new(path: &nn::Path, inputs: &[i64], channels: i64) -> Self {
        let (inner, layer, extra) = (path / "inner_blocks", path / "layer_blocks", path / "extra_blocks");
        Self {
            inner_blocks: inputs.iter().enumerate().map(|(i, &c)| conv(&inner / i / "0", c, channels, 1, 1)).collect(),
            layer_blocks: (0..inputs.len()).map(|i| conv(&layer / i / "0", channels, channels, 3, 1)).collect(),
            p6: conv(&extra / "p6", channels, channels, 3, 2),
            p7: conv(&extra / "p7", channels, channels, 3, 2),
        }
    }

    /// `levels`: f32 `[B, C, H, W]` each, finest first. Returns the pyramid, finest first.
    pub fn forward(&self, levels: &[Tensor]) -> Vec<Tensor> {
        let mut pyramid = Vec::with_capacity(levels.len() + 2);
        let mut above: Option<Tensor> = None;
        for ((level, lateral), output) in levels.iter().zip(&self.inner_blocks).zip(&self.layer_blocks).rev() {
            let (_, _, height, width) = level.size4().expect("levels are images");
            let mut merged = level.apply(lateral);
            if let Some(top) = above {
                merged = merged + top.upsample_nearest2d([height, width], None, None);
            }
            pyramid.push(merged.apply(output));
            above = Some(merged);
        }
        pyramid.reverse();
        let p6 = pyramid[pyramid.len() - 1].apply(&self.p6);
        let p7 = p6.relu().apply(&self.p7);
        pyramid.extend([p6, p7]);
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
