//! The preview model: a mobile encoder with heads for boxes (CenterNet) and labels, and a small transformer decoder. Images in;
//! heat map, box edges, labels and report tokens out. The browser runs the same weights as two ONNX graphs.

use d2r_contracts::labels::{CHEXPERT_LABELS, LESION_CLASSES};
use tch::nn::{self, Module};
use tch::{Device, Kind, Tensor};

use crate::config::preview::PreviewModelConfig;
use crate::error::{Error, Result};
use crate::nn::mlp::linear;
use crate::preview_model::model::decoder::{PreviewDecoder, layer_norm};
use crate::preview_model::model::mobile_encoder::MobileEncoder;

/// Lesion classes of the heat map.
pub const CLASSES: i64 = LESION_CLASSES.len() as i64;
/// CheXpert labels.
pub const LABELS: i64 = CHEXPERT_LABELS.len() as i64;
/// Initial score of the heat map's cells; box centres are rare.
const HEAT_PRIOR: f64 = 0.01;
/// Logit from which a class is evidence for the decoder: a score of 0.047. Scores themselves would be small beside the features.
pub const EVIDENCE_LOGIT_MIN: f64 = -3.0;
/// Factor of the evidence and of the label logits at the decoder's input.
pub const EVIDENCE_SCALE: f64 = 0.5;
/// Initial standard deviation of the weights from evidence and labels to the decoder's width.
const EVIDENCE_INIT_STD: f64 = 0.2;

/// Outputs of the encoder and its heads.
#[derive(Debug)]
pub struct PreviewFeatures {
    /// `[B, S, d_model]`: the decoder's source tokens.
    pub tokens: Tensor,
    /// `[B, W, S/32, S/32]`: the encoder's last map, before projection.
    pub map: Tensor,
    /// Logits `[B, 22, S/16, S/16]`.
    pub heat: Tensor,
    /// `[B, 4, S/16, S/16]`: distances from a cell's centre to the left, top, right and bottom edge, as shares of the image size.
    pub edges: Tensor,
    /// Logits `[B, 14]`.
    pub labels: Tensor,
}

/// The model; parameters `encoder`, `head`, `heat`, `edges`, `labels`, `token`, `seen`, `stated`, `place`,
/// `token_norm`, `decoder`.
#[derive(Debug)]
pub struct PreviewModel {
    vs: nn::VarStore,
    pub config: PreviewModelConfig,
    pub encoder: MobileEncoder,
    /// 1x1 convolution before `heat` and `edges`.
    pub head: nn::Conv2D,
    /// 1x1 convolution to class logits.
    pub heat: nn::Conv2D,
    /// 1x1 convolution to box edges.
    pub edges: nn::Conv2D,
    /// From the mean of the tokens to label logits.
    pub labels: nn::Linear,
    /// From the token width to the decoder's.
    pub token: nn::Linear,
    /// From the class evidence in a token's four cells to the decoder's width, so that the report follows the boxes.
    pub seen: nn::Linear,
    /// From label logits and the maximum evidence per class over the image to the decoder's width; the same for every token.
    pub stated: nn::Linear,
    /// `[S, d_model]`: learned position of each token.
    pub place: Tensor,
    /// Over the sum of the parts of a token.
    pub token_norm: nn::LayerNorm,
    pub decoder: PreviewDecoder,
}

impl PreviewModel {
    /// An untrained model with initial values from `tch`'s current random state. `token_count`: vocabulary size plus the boundary.
    ///
    /// # Errors
    /// [`Error::Config`] when the sizes do not fit together.
    pub fn new(config: &PreviewModelConfig, token_count: i64, device: Device) -> Result<Self> {
        let bad = |problem: String| Err(Error::Config { place: "preview".into(), problem });
        if config.input_size == 0 || !config.input_size.is_multiple_of(32) {
            return bad(format!("`input_size` = {}; it must be a multiple of 32", config.input_size));
        }
        if config.heads < 1 || config.d_model % config.heads != 0 {
            return bad(format!("`heads` = {} does not divide `d_model` = {}", config.heads, config.d_model));
        }
        if config.layers < 1 || config.max_words < 2 || config.embedding < 1 {
            return bad("needs `layers` >= 1, `embedding` >= 1 and `max_words` >= 2".into());
        }
        let vs = nn::VarStore::new(device);
        let root = vs.root();
        let encoder = MobileEncoder::new(&(&root / "encoder"), config.tier);
        let (channels, width) = (encoder.map_channels, encoder.token_width);
        let cells = i64::from(config.input_size / 32).pow(2);
        let prior =
            nn::ConvConfig { bs_init: nn::Init::Const(-(1.0 / HEAT_PRIOR - 1.0).ln()), ..nn::ConvConfig::default() };
        let small = nn::Init::Randn { mean: 0.0, stdev: 0.02 };
        Ok(Self {
            head: nn::conv2d(&root / "head", channels, channels, 1, nn::ConvConfig::default()),
            heat: nn::conv2d(&root / "heat", channels, CLASSES, 1, prior),
            edges: nn::conv2d(&root / "edges", channels, 4, 1, nn::ConvConfig::default()),
            labels: linear(&(&root / "labels"), width, LABELS),
            token: linear(&(&root / "token"), width, config.d_model),
            seen: evidence_layer(&root / "seen", CLASSES * 4, config.d_model),
            stated: evidence_layer(&root / "stated", LABELS + CLASSES, config.d_model),
            place: root.var("place", &[cells, config.d_model], small),
            token_norm: layer_norm(&root / "token_norm", config.d_model),
            decoder: PreviewDecoder::new(&(&root / "decoder"), config, token_count),
            encoder,
            config: config.clone(),
            vs,
        })
    }

    pub fn variables(&self) -> &nn::VarStore {
        &self.vs
    }

    /// The variables, for loading.
    pub fn variables_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    /// Number of trainable parameters.
    pub fn parameters(&self) -> i64 {
        self.vs.trainable_variables().iter().map(|t| t.numel() as i64).sum()
    }

    /// `images`: f32 `[B, 1, S, S]` in 0 to 1. Heat map and labels enter the tokens without gradient, so the report losses do not
    /// change the heads.
    pub fn features(&self, images: &Tensor, train: bool) -> PreviewFeatures {
        let (cells, map) = self.encoder.forward_t(images, train);
        let head = self.head.forward(&cells).relu();
        let heat = self.heat.forward(&head);
        let flat = map.flatten(2, 3).transpose(1, 2);
        let labels = flat.mean_dim([1i64].as_slice(), false, None::<Kind>).apply(&self.labels);
        let evidence = (heat.detach() - EVIDENCE_LOGIT_MIN).relu() * EVIDENCE_SCALE;
        let seen = by_token(&evidence).apply(&self.seen);
        let maximum = evidence.amax([2i64, 3].as_slice(), false);
        let stated = Tensor::cat(&[labels.detach() * EVIDENCE_SCALE, maximum], 1).apply(&self.stated).unsqueeze(1);
        let tokens = flat.apply(&self.token) + seen + stated + &self.place;
        PreviewFeatures {
            tokens: self.token_norm.forward(&tokens),
            edges: self.edges.forward(&head).sigmoid(),
            heat,
            labels,
            map,
        }
    }
}

/// A linear layer with larger initial weights, so that its inputs matter from the first step on.
fn evidence_layer(path: nn::Path, inputs: i64, outputs: i64) -> nn::Linear {
    let config = nn::LinearConfig {
        ws_init: nn::Init::Randn { mean: 0.0, stdev: EVIDENCE_INIT_STD },
        bs_init: Some(nn::Init::Const(0.0)),
        bias: true,
    };
    nn::linear(path, inputs, outputs, config)
}

/// Groups cells `[B, K, 2g, 2g]` by the token that covers them: `[B, g * g, 4 K]`.
fn by_token(cells: &Tensor) -> Tensor {
    let (batch, channels, grid) = (cells.size()[0], cells.size()[1], cells.size()[2] / 2);
    let split = cells.reshape([batch, channels, grid, 2, grid, 2]);
    split.permute([0, 2, 4, 1, 3, 5]).reshape([batch, grid * grid, 4 * channels])
}
