//! Patch tokens: the last level of a ResNet trunk. R2Gen uses it as it is; D2R-Net adds CPCA and a 1x1 convolution without bias
//! (local embedder) to the width of the source tokens.

use tch::{Kind, Tensor, nn};

use crate::config::report::ReportModelConfig;
use crate::detector::resnet::ResNet;
use crate::nn::compute_kind::same_convolution;
use crate::nn::pass::Passes;
use crate::reporter::model::cpca::Cpca;

/// Mean and standard deviation of ImageNet's three channels.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// Trunk, CPCA and local embedder; parameters `model.*`, `cpca.*` and `local_embedder`.
#[derive(Debug)]
pub struct VisualExtractor {
    trunk: ResNet,
    cpca: Option<Cpca>,
    local_embedder: Option<nn::Conv2D>,
    d_visual: i64,
}

impl VisualExtractor {
    /// A trunk of the configured depth and width.
    pub fn new(path: &nn::Path, config: &ReportModelConfig) -> Self {
        let trunk = ResNet::new(&(path / "model"), config.trunk_depth, config.trunk_width);
        let channels = trunk.channels()[3];
        // D2R-Net's 1,024 at the published width of 512.
        let d_visual = if config.local_embedder { 2 * config.d_model } else { channels };
        let plain = nn::ConvConfig { bias: false, ..nn::ConvConfig::default() };
        Self {
            trunk,
            cpca: config.cpca.then(|| Cpca::new(&(path / "cpca"), channels)),
            local_embedder: config
                .local_embedder
                .then(|| nn::conv2d(path / "local_embedder", channels, d_visual, 1, plain)),
            d_visual,
        }
    }

    /// As [`ResNet::set_recompute`].
    pub fn set_recompute(&mut self, recompute: bool) {
        self.trunk.set_recompute(recompute);
    }

    /// As [`ResNet::take_passes`].
    pub fn take_passes(&self) -> Passes {
        self.trunk.take_passes()
    }

    /// Width of the tokens.
    pub fn d_visual(&self) -> i64 {
        self.d_visual
    }

    /// `images`: f32 or bf16 `[B, 1 or 3, S, S]`, normalised. Returns `[B, (S / 32)^2, d_visual]`.
    pub fn forward_t(&self, images: &Tensor, train: bool) -> Tensor {
        let [_, _, _, mut map] = self.trunk.forward_t(images, train);
        if let Some(cpca) = &self.cpca {
            map = cpca.forward(&map);
        }
        if let Some(embedder) = &self.local_embedder {
            map = same_convolution(&map, embedder);
        }
        map.flatten(2, 3).transpose(1, 2)
    }
}

/// u8 `[B, 1, S, S]` as three channels normalised with ImageNet's statistics: f32 `[B, 3, S, S]`.
pub fn imagenet_channels(grey: &Tensor) -> Tensor {
    let channels = |values: [f32; 3]| Tensor::from_slice(&values).to_device(grey.device()).view([1, 3, 1, 1]);
    (grey.to_kind(Kind::Float) / 255.0 - channels(IMAGENET.0)) / channels(IMAGENET.1)
}
