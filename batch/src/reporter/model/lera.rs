//! Lesion region enhancement (LERA). D2R-Net's module is not published; this is a reconstruction from the module of HCF-Net with
//! the same signature (PPA, parallelized patch-aware attention; Xu et al. 2024, arXiv:2403.10778): three serial convolutions,
//! two branches over 2x2 and 4x4 patches, then channel attention and spatial attention.

use tch::{Kind, Tensor, nn};

use crate::config::report::Lera;
use crate::nn::batch_norm::batch_norm;
use crate::nn::mlp::linear;

/// Channel dropout probability.
const DROPOUT: f64 = 0.1;
/// Sizes of the patches, pixels.
const PATCHES: [i64; 2] = [2, 4];
/// Least hidden width of a patch in the corrected form: a layer norm over one value would return its bias.
const HIDDEN_MIN: i64 = 8;

/// The module; parameters `skip`, `c1`, `c2`, `c3`, `lga2`, `lga4`, `cn`, `sa`, `bn1`.
#[derive(Debug)]
pub struct LesionEnhancement {
    skip: ConvBatchNorm,
    convs: [ConvBatchNorm; 3],
    patches: [PatchAttention; 2],
    channels: nn::Conv1D,
    spatial: nn::Conv2D,
    norm: nn::BatchNorm,
}

impl LesionEnhancement {
    /// From `inputs` channels to `filters`; `None` when `kind` is [`Lera::Off`].
    pub fn new(path: &nn::Path, inputs: i64, filters: i64, kind: Lera) -> Option<Self> {
        let literal = match kind {
            Lera::Off => return None,
            Lera::Corrected => false,
            Lera::Literal => true,
        };
        let conv = |name: &str, inputs, kernel| ConvBatchNorm::new(&(path / name), inputs, filters, kernel);
        let kernel = channel_kernel(filters);
        let channels = nn::ConvConfig { padding: kernel / 2, bias: false, ..Default::default() };
        let spatial = nn::ConvConfig { padding: 3, ..Default::default() };
        Some(Self {
            skip: conv("skip", inputs, 1),
            convs: [conv("c1", inputs, 3), conv("c2", filters, 3), conv("c3", filters, 3)],
            patches: PATCHES.map(|size| PatchAttention::new(&(path / format!("lga{size}")), filters, size, literal)),
            channels: nn::conv1d(path / "cn" / "conv" / 0, 1, 1, kernel, channels),
            spatial: nn::conv2d(path / "sa" / "conv2d", 2, 1, 7, spatial),
            norm: new_batch_norm(&(path / "bn1"), filters),
        })
    }

    /// f32 `[M, inputs, R, R] -> [M, filters, R, R]`; `R` is a multiple of 4.
    pub fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        let skip = self.skip.forward_t(xs, train);
        let mut sum = skip.shallow_clone();
        let mut ys = xs.shallow_clone();
        for conv in &self.convs {
            ys = conv.forward_t(&ys, train).relu();
            sum = sum + &ys;
        }
        for patches in &self.patches {
            sum = sum + patches.forward(&skip);
        }
        let ys = self.spatial_attention(&self.channel_attention(&sum));
        batch_norm(&ys.feature_dropout(DROPOUT, train), &self.norm, train).relu()
    }

    /// Efficient channel attention: a 1-D convolution over the channels' means.
    fn channel_attention(&self, xs: &Tensor) -> Tensor {
        let means = xs.mean_dim([2i64, 3].as_slice(), false, None::<Kind>).unsqueeze(1);
        let weights = means.apply(&self.channels).sigmoid().squeeze_dim(1).unsqueeze(-1).unsqueeze(-1);
        xs * weights
    }

    /// A weight per pixel from the mean and maximum over channels.
    fn spatial_attention(&self, xs: &Tensor) -> Tensor {
        let over_channels = [xs.mean_dim([1i64].as_slice(), true, None::<Kind>), xs.amax([1i64].as_slice(), true)];
        xs * Tensor::cat(&over_channels, 1).apply(&self.spatial).sigmoid()
    }
}

/// Kernel length of the channel attention: the odd number of ECA-Net's rule, `(log2(channels) + 1) / 2`.
fn channel_kernel(channels: i64) -> i64 {
    let length = (((channels as f64).log2() + 1.0) / 2.0) as i64;
    if length % 2 == 1 { length } else { length + 1 }
}

fn new_batch_norm(path: &nn::Path, channels: i64) -> nn::BatchNorm {
    nn::batch_norm2d(path, channels, nn::BatchNormConfig { ws_init: nn::Init::Const(1.0), ..Default::default() })
}

/// Convolution with bias, then batch norm; parameters `conv`, `norm`.
#[derive(Debug)]
struct ConvBatchNorm {
    conv: nn::Conv2D,
    norm: nn::BatchNorm,
}

impl ConvBatchNorm {
    fn new(path: &nn::Path, inputs: i64, outputs: i64, kernel: i64) -> Self {
        let config = nn::ConvConfig { padding: kernel / 2, ..Default::default() };
        Self {
            conv: nn::conv2d(path / "conv", inputs, outputs, kernel, config),
            norm: new_batch_norm(&(path / "norm"), outputs),
        }
    }

    fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        batch_norm(&xs.apply(&self.conv), &self.norm, train)
    }
}

/// Attention over non-overlapping patches: a token per patch, weighted by its cosine similarity to a learned prompt.
/// Parameters `mlp1`, `norm`, `mlp2`, `prompt`, `top_down_transform`, `conv`.
#[derive(Debug)]
struct PatchAttention {
    size: i64,
    literal: bool,
    mlp1: nn::Linear,
    norm: nn::LayerNorm,
    mlp2: nn::Linear,
    prompt: Tensor,
    top_down: Tensor,
    conv: nn::Conv2D,
}

impl PatchAttention {
    fn new(path: &nn::Path, channels: i64, size: i64, literal: bool) -> Self {
        let hidden = if literal { channels / 2 } else { (channels / 2).max(HIDDEN_MIN) };
        let identity = Tensor::eye(channels, (Kind::Float, path.device()));
        Self {
            size,
            literal,
            mlp1: linear(&(path / "mlp1"), size * size, hidden),
            norm: nn::layer_norm(path / "norm", vec![hidden], nn::LayerNormConfig::default()),
            mlp2: linear(&(path / "mlp2"), hidden, channels),
            prompt: path.randn("prompt", &[channels], 0.0, 1.0),
            top_down: path.var_copy("top_down_transform", &identity),
            conv: nn::conv2d(path / "conv", channels, channels, 1, nn::ConvConfig::default()),
        }
    }

    /// `[M, C, R, R] -> [M, C, R, R]`.
    fn forward(&self, xs: &Tensor) -> Tensor {
        let [batch, channels, height, width] = [0, 1, 2, 3].map(|axis| xs.size()[axis]);
        let (rows, columns) = (height / self.size, width / self.size);
        let token = self.pixel_means(xs).apply(&self.mlp1).apply(&self.norm).apply(&self.mlp2);
        let token = &token * token.softmax(-1, None::<Kind>);
        let similarity = Tensor::cosine_similarity(&token, &self.prompt.view([1, 1, -1]), -1, 1e-8);
        let token = (token * similarity.clamp(0.0, 1.0).unsqueeze(-1)).matmul(&self.top_down);
        let map = token.transpose(1, 2).reshape([batch, channels, rows, columns]);
        map.upsample_bilinear2d([height, width], false, None, None).apply(&self.conv)
    }

    /// Means over channels of a patch's pixels: `[M, patches, size^2]`.
    fn pixel_means(&self, xs: &Tensor) -> Tensor {
        let [batch, channels] = [0, 1].map(|axis| xs.size()[axis]);
        let size = self.size;
        if self.literal {
            // As published: channels and pixels of a patch, flattened together, are split into size^2 runs.
            let patches = xs.permute([0, 2, 3, 1]).unfold(1, size, size).unfold(2, size, size);
            return patches.reshape([batch, -1, size * size, channels]).mean_dim(
                [-1i64].as_slice(),
                false,
                None::<Kind>,
            );
        }
        let grey = xs.mean_dim([1i64].as_slice(), false, None::<Kind>);
        grey.unfold(1, size, size).unfold(2, size, size).reshape([batch, -1, size * size])
    }
}
