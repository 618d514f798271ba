//! The head of FCOS (arXiv:1904.01355, section 3; centre-ness beside the regression as in arXiv:2006.09214): two towers
//! of 3x3 convolutions with GroupNorm, shared by all levels. Parameter names are torchvision's. In the profile of
//! Unbiased Teacher v2 (arXiv:2206.09500) each distance is the expectation over 17 bins, each level has a learned
//! scale, and each edge an uncertainty. Pyramid levels f32 or bf16 `[B, C, H, W]` in, one row of predictions per point out;
//! norms and the layers that predict are f32.

use tch::{Kind, Tensor, nn};

use crate::config::detector::Profile;
use crate::detector::pyramid::{Level, Pyramid};
use crate::nn::compute_kind::same_convolution;

/// Probability of each class before training: the focal loss starts near its minimum.
const PRIOR: f64 = 0.01;
/// Distance to each edge before training, strides. ReLU passes no gradient below 0, so training starts above.
const INITIAL_DISTANCE: f64 = 2.0;
/// Standard deviation of the initial weights.
const INITIAL_STD: f64 = 0.01;
/// Bins of a distance: 0 to 16 strides.
const BINS: i64 = 17;
/// Levels P3 to P7.
const LEVELS: usize = 5;

/// Predictions for a batch.
#[derive(Debug)]
pub struct FcosOutputs {
    pub levels: Vec<Level>,
    /// One per level.
    pub predictions: Vec<LevelOutputs>,
}

/// Predictions of one level.
#[derive(Debug)]
pub struct LevelOutputs {
    /// f32 `[B, H * W, K]`, before the sigmoid.
    pub class_logits: Tensor,
    /// f32 `[B, H * W, 4]`: distances to the left, top, right and bottom edge, strides, not negative.
    pub ltrb: Tensor,
    /// f32 `[B, H * W]`, before the sigmoid.
    pub centerness: Tensor,
    /// f32 `[B, H * W, 4]`: raw uncertainties of the edges (x_min, y_min, x_max, y_max); `None` without the `utv2`
    /// profile.
    pub edge_logits: Option<Tensor>,
}

/// Expected distance in strides over 17 bins: logits `[.., 4 * 17]`, edge by edge, to `[.., 4]`.
pub fn expected_distance(logits: &Tensor) -> Tensor {
    let mut shape = logits.size();
    *shape.last_mut().expect("logits have channels") = 4;
    shape.push(BINS);
    let bins = Tensor::arange(BINS, (Kind::Float, logits.device()));
    logits.reshape(shape).softmax(-1, Kind::Float).matmul(&bins)
}

/// Convolution, GroupNorm, ReLU, several times.
#[derive(Debug)]
struct Tower(Vec<(nn::Conv2D, nn::GroupNorm)>);

impl Tower {
    fn new(path: &nn::Path, channels: i64, convs: i64, groups: i64) -> Self {
        // A sequence of three layers each, as torchvision counts them.
        let layer = |i: i64| {
            let norm =
                nn::GroupNormConfig { eps: 1e-5, affine: true, ws_init: nn::Init::Const(1.0), ..Default::default() };
            (
                conv(&(path / (3 * i)), channels, channels, 0.0),
                nn::group_norm(path / (3 * i + 1), groups, channels, norm),
            )
        };
        Self((0..convs).map(layer).collect())
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        let layer = |xs: Tensor, (conv, norm): &(nn::Conv2D, nn::GroupNorm)| {
            same_convolution(&xs, conv).to_kind(Kind::Float).apply(norm).relu_().to_kind(xs.kind())
        };
        self.0.iter().fold(xs.shallow_clone(), layer)
    }
}

#[derive(Debug)]
pub struct FcosHead {
    class_tower: Tower,
    cls_logits: nn::Conv2D,
    box_tower: Tower,
    bbox_reg: nn::Conv2D,
    bbox_ctrness: nn::Conv2D,
    utv2: Option<Utv2Layers>,
}

/// Layers that the profile of Unbiased Teacher v2 adds.
#[derive(Debug)]
struct Utv2Layers {
    bbox_pred_std: nn::Conv2D,
    scales: Vec<Tensor>,
}

/// Sizes of the head.
#[derive(Debug, Clone, Copy)]
pub struct HeadShape {
    /// Channels of the pyramid.
    pub channels: i64,
    /// Convolutions in each tower.
    pub convs: i64,
    /// Groups of each GroupNorm; a divisor of `channels`.
    pub groups: i64,
    pub classes: i64,
    pub profile: Profile,
}

impl FcosHead {
    /// A head under `classification_head` and `regression_head`.
    pub fn new(path: &nn::Path, shape: HeadShape) -> Self {
        let HeadShape { channels, convs, groups, classes, profile } = shape;
        let (class_path, box_path) = (path / "classification_head", path / "regression_head");
        let utv2 = (profile == Profile::Utv2).then(|| Utv2Layers {
            bbox_pred_std: conv_with_std(&(&box_path / "bbox_pred_std"), channels, 4, 0.0, 1e-4),
            scales: (0..LEVELS).map(|i| (&box_path / "scales" / i).ones("scale", &[1])).collect(),
        });
        let (outputs, bias) = if utv2.is_some() { (4 * BINS, 0.0) } else { (4, INITIAL_DISTANCE) };
        Self {
            class_tower: Tower::new(&(&class_path / "conv"), channels, convs, groups),
            cls_logits: conv(&(&class_path / "cls_logits"), channels, classes, -((1.0 - PRIOR) / PRIOR).ln()),
            box_tower: Tower::new(&(&box_path / "conv"), channels, convs, groups),
            bbox_reg: conv(&(&box_path / "bbox_reg"), channels, outputs, bias),
            bbox_ctrness: conv(&(&box_path / "bbox_ctrness"), channels, 1, 0.0),
            utv2,
        }
    }

    /// Predictions for each level of the pyramid.
    pub fn forward(&self, pyramid: &Pyramid) -> FcosOutputs {
        let predictions = pyramid.maps.iter().enumerate().map(|(i, map)| self.forward_level(i, map)).collect();
        FcosOutputs { levels: pyramid.levels.clone(), predictions }
    }

    fn forward_level(&self, index: usize, map: &Tensor) -> LevelOutputs {
        let class_features = self.class_tower.forward(map).to_kind(Kind::Float);
        let box_features = self.box_tower.forward(map).to_kind(Kind::Float);
        let regression = box_features.apply(&self.bbox_reg);
        let (ltrb, edge_logits) = match &self.utv2 {
            None => (per_point(&regression.relu()), None),
            Some(layers) => {
                let bin_logits = per_point(&regression) * &layers.scales[index];
                (expected_distance(&bin_logits), Some(per_point(&box_features.apply(&layers.bbox_pred_std))))
            }
        };
        LevelOutputs {
            class_logits: per_point(&class_features.apply(&self.cls_logits)),
            ltrb,
            centerness: per_point(&box_features.apply(&self.bbox_ctrness)).squeeze_dim(2),
            edge_logits,
        }
    }
}

/// f32 `[B, C, H, W]` to `[B, H * W, C]`.
fn per_point(xs: &Tensor) -> Tensor {
    xs.flatten(2, 3).transpose(1, 2)
}

fn conv(path: &nn::Path, inputs: i64, outputs: i64, bias: f64) -> nn::Conv2D {
    conv_with_std(path, inputs, outputs, bias, INITIAL_STD)
}

fn conv_with_std(path: &nn::Path, inputs: i64, outputs: i64, bias: f64, stdev: f64) -> nn::Conv2D {
    let config = nn::ConvConfig {
        padding: 1,
        ws_init: nn::Init::Randn { mean: 0.0, stdev },
        bs_init: nn::Init::Const(bias),
        ..nn::ConvConfig::default()
    };
    nn::conv2d(path, inputs, outputs, 3, config)
}
