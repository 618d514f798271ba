//! Feature vectors of regions: RoIAlign, then two fully connected layers (Faster R-CNN with FPN), or 3x3 convolutions
//! with batch norm and one fully connected layer (torchvision's second version).

use tch::{Tensor, nn};

use crate::config::detector::{BackboneNorm, RcnnConfig};
use crate::detector::rcnn::roi_align::{BINS, Roi, RoiAlign};
use crate::nn::compute_kind;
use crate::nn::conv_norm::{ConvNorm, ConvShape};

#[derive(Debug)]
pub struct BoxHead {
    align: RoiAlign,
    convs: Vec<ConvNorm>,
    full: Vec<nn::Linear>,
}

impl BoxHead {
    /// A head over a pyramid of `channels` channels; two fully connected layers if `config.box_convs` is 0.
    pub fn new(path: &nn::Path, channels: i64, config: &RcnnConfig, align: RoiAlign) -> Self {
        let flat = channels * (BINS * BINS) as i64;
        let full = if config.box_convs == 0 {
            let fc6 = linear(path / "fc6", flat, config.box_features);
            vec![fc6, linear(path / "fc7", config.box_features, config.box_features)]
        } else {
            // Torchvision's indices count the flattening.
            vec![linear(path / (config.box_convs + 1), flat, config.box_features)]
        };
        let shape = ConvShape { inputs: channels, outputs: channels, kernel: 3, stride: 1 };
        let conv = |i: i64| {
            let layer = path / i;
            ConvNorm::new(&(&layer / "0"), &(&layer / "1"), shape, BackboneNorm::Batch)
        };
        Self { align, convs: (0..config.box_convs).map(conv).collect(), full }
    }

    /// `[R, features]` of `R` regions, in the kind of the pyramid; see [`RoiAlign::pool`].
    pub fn forward(&self, pyramid: &[Tensor], strides: &[f32], rois: &[Roi], train: bool) -> Tensor {
        let mut xs = self.align.pool(pyramid, strides, rois).to_kind(pyramid[0].kind());
        for conv in &self.convs {
            xs = conv.forward_t(&xs, train && !rois.is_empty()).relu_();
        }
        self.full.iter().fold(xs.flatten(1, -1), |xs, layer| compute_kind::linear(&xs, layer).relu_())
    }
}

fn linear(path: nn::Path, inputs: i64, outputs: i64) -> nn::Linear {
    let config = nn::LinearConfig {
        ws_init: nn::Init::Kaiming {
            dist: nn::init::NormalOrUniform::Uniform,
            fan: nn::init::FanInOut::FanIn,
            non_linearity: nn::init::NonLinearity::Linear,
        },
        bs_init: Some(nn::Init::Const(0.0)),
        bias: true,
    };
    nn::linear(path, inputs, outputs, config)
}
