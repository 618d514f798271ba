//! Patch tokens: the film through a ResNet trunk, its last level projected to the width of the source tokens
//! (D2R-Net's local embedder, a 1x1 convolution without bias).

use tch::{Tensor, nn};

use crate::config::report::ReportModelConfig;
use crate::detect::resnet::ResNet;

/// The trunk and its projection; parameters `model.*` and `local_embedder`.
#[derive(Debug)]
pub struct VisualExtractor {
    trunk: ResNet,
    local_embedder: nn::Conv2D,
}

impl VisualExtractor {
    /// `d_visual`: width of the tokens.
    pub fn new(path: &nn::Path, config: &ReportModelConfig, d_visual: i64) -> Self {
        let trunk = ResNet::new(&(path / "model"), config.trunk_depth, config.trunk_width);
        let plain = nn::ConvConfig { bias: false, ..nn::ConvConfig::default() };
        let local_embedder = nn::conv2d(path / "local_embedder", trunk.channels()[3], d_visual, 1, plain);
        Self { trunk, local_embedder }
    }

    /// `films`: f32 `[B, 1, S, S]`, normalised. Returns `[B, (S / 32)^2, d_visual]`.
    pub fn forward_t(&self, films: &Tensor, train: bool) -> Tensor {
        let [_, _, _, c5] = self.trunk.forward_t(films, train);
        c5.apply(&self.local_embedder).flatten(2, 3).transpose(1, 2)
    }
}
