//! CPCA, channel prior convolutional attention, between trunk and local embedder as in D2R-Net: channel attention from mean and
//! maximum, then a spatial map by strip convolutions.
//! As published, one 1x1 convolution is used three times and there is no residual connection.

use tch::{Tensor, nn};

use crate::nn::compute_kind::same_convolution as conv;

/// Ratio of channels to hidden channels in the channel attention.
const REDUCTION: i64 = 4;
/// Lengths of the strip convolutions.
const STRIPS: [i64; 3] = [7, 11, 21];

/// The module; parameters `ca.fc1`, `ca.fc2`, `conv`, `dconv5_5`, `dconv1_7`, `dconv7_1`, ... as in the public code.
#[derive(Debug)]
pub struct Cpca {
    conv: nn::Conv2D,
    fc1: nn::Conv2D,
    fc2: nn::Conv2D,
    square: nn::Conv2D,
    strips: Vec<[nn::Conv2D; 2]>,
}

impl Cpca {
    /// Over `channels` channels, at least 4.
    pub fn new(path: &nn::Path, channels: i64) -> Self {
        let point = |path: nn::Path, inputs, outputs| nn::conv2d(path, inputs, outputs, 1, nn::ConvConfig::default());
        let depth_wise = |name: String, kernel: [i64; 2]| {
            let padding = kernel.map(|size| size / 2);
            let config = nn::ConvConfigND::<[i64; 2]> { padding, groups: channels, ..Default::default() };
            nn::conv(path / name, channels, channels, kernel, config)
        };
        let (attention, hidden) = (path / "ca", channels / REDUCTION);
        Self {
            conv: point(path / "conv", channels, channels),
            fc1: point(&attention / "fc1", channels, hidden),
            fc2: point(&attention / "fc2", hidden, channels),
            square: depth_wise("dconv5_5".into(), [5, 5]),
            strips: STRIPS
                .iter()
                .map(|&k| [depth_wise(format!("dconv1_{k}"), [1, k]), depth_wise(format!("dconv{k}_1"), [k, 1])])
                .collect(),
        }
    }

    /// `[B, C, H, W] -> [B, C, H, W]`.
    pub fn forward(&self, xs: &Tensor) -> Tensor {
        let ys = conv(xs, &self.conv).gelu("none");
        let vs = &ys * self.channel_weights(&ys);
        let base = conv(&vs, &self.square);
        let add_strip = |sum: Tensor, [across, down]: &[nn::Conv2D; 2]| sum + conv(&conv(&base, across), down);
        let map = self.strips.iter().fold(base.shallow_clone(), add_strip);
        conv(&(conv(&map, &self.conv) * vs), &self.conv)
    }

    /// `[B, C, 1, 1]`, each 0 to 2.
    fn channel_weights(&self, xs: &Tensor) -> Tensor {
        let weigh = |pooled: Tensor| conv(&conv(&pooled, &self.fc1).relu(), &self.fc2).sigmoid();
        weigh(xs.adaptive_avg_pool2d([1, 1])) + weigh(xs.amax([2i64, 3].as_slice(), true))
    }
}
