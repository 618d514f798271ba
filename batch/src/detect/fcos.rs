//! The head of FCOS (arXiv:1904.01355, section 3; centre-ness beside the regression as in arXiv:2006.09214): two
//! towers of 3x3 convolutions with GroupNorm, shared by all levels. Parameter names are torchvision's.
//! Pyramid levels f32 `[B, C, H, W]` in, one row of predictions per point out.

use tch::{Kind, Tensor, nn};

/// Probability of each class before training: the focal loss starts near its minimum.
const PRIOR: f64 = 0.01;
/// Distance to each side before training, strides. ReLU passes no gradient below 0, so training starts above.
const INITIAL_REACH: f64 = 2.0;
const SPREAD: f64 = 0.01;

/// What the head says of one level.
#[derive(Debug)]
pub struct LevelOutputs {
    /// f32 `[B, H * W, K]`, before the sigmoid.
    pub class_logits: Tensor,
    /// f32 `[B, H * W, 4]`: distances to the left, top, right and bottom side, in strides, not negative.
    pub ltrb: Tensor,
    /// f32 `[B, H * W]`, before the sigmoid.
    pub centerness: Tensor,
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
        self.0.iter().fold(xs.shallow_clone(), |xs, (conv, norm)| xs.apply(conv).apply(norm).relu_())
    }
}

/// The head.
#[derive(Debug)]
pub struct FcosHead {
    class_tower: Tower,
    cls_logits: nn::Conv2D,
    box_tower: Tower,
    bbox_reg: nn::Conv2D,
    bbox_ctrness: nn::Conv2D,
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
    /// Number of classes.
    pub classes: i64,
}

impl FcosHead {
    /// A head under `classification_head` and `regression_head`.
    pub fn new(path: &nn::Path, shape: HeadShape) -> Self {
        let HeadShape { channels, convs, groups, classes } = shape;
        let (class_path, box_path) = (path / "classification_head", path / "regression_head");
        Self {
            class_tower: Tower::new(&(&class_path / "conv"), channels, convs, groups),
            cls_logits: conv(&(&class_path / "cls_logits"), channels, classes, -((1.0 - PRIOR) / PRIOR).ln()),
            box_tower: Tower::new(&(&box_path / "conv"), channels, convs, groups),
            bbox_reg: conv(&(&box_path / "bbox_reg"), channels, 4, INITIAL_REACH),
            bbox_ctrness: conv(&(&box_path / "bbox_ctrness"), channels, 1, 0.0),
        }
    }

    /// Predictions for each level of the pyramid.
    pub fn forward(&self, pyramid: &[Tensor]) -> Vec<LevelOutputs> {
        pyramid.iter().map(|level| self.forward_level(level)).collect()
    }

    fn forward_level(&self, level: &Tensor) -> LevelOutputs {
        let of_class = self.class_tower.forward(level);
        let of_box = self.box_tower.forward(level);
        LevelOutputs {
            class_logits: per_point(&of_class.apply(&self.cls_logits)),
            ltrb: per_point(&of_box.apply(&self.bbox_reg).relu()),
            centerness: per_point(&of_box.apply(&self.bbox_ctrness)).squeeze_dim(2),
        }
    }
}

/// `[B, C, H, W]` to f32 `[B, H * W, C]`.
fn per_point(xs: &Tensor) -> Tensor {
    xs.flatten(2, 3).transpose(1, 2).to_kind(Kind::Float)
}

fn conv(path: &nn::Path, inputs: i64, outputs: i64, bias: f64) -> nn::Conv2D {
    let config = nn::ConvConfig {
        padding: 1,
        ws_init: nn::Init::Randn { mean: 0.0, stdev: SPREAD },
        bs_init: nn::Init::Const(bias),
        ..nn::ConvConfig::default()
    };
    nn::conv2d(path, inputs, outputs, 3, config)
}
