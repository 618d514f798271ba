//! The whole student. Films in, cells and words out; the browser runs the same weights as two ONNX graphs.

use d2r_contracts::labels::{CHEXPERT_LABELS, LESION_CLASSES};
use tch::nn::{self, Module};
use tch::{Device, Kind, Tensor};

use crate::config::preview::PreviewModelConfig;
use crate::error::{Error, Result};
use crate::nn::mlp::linear;
use crate::preview_model::model::decoder::{PreviewDecoder, layer_norm};
use crate::preview_model::model::mobile_encoder::MobileEncoder;

/// Classes of the heat map.
pub const CLASSES: i64 = LESION_CLASSES.len() as i64;
/// Labels of a film.
pub const LABELS: i64 = CHEXPERT_LABELS.len() as i64;
/// A centre is rare: the heat map starts at this score.
const HEAT_PRIOR: f64 = 0.01;
/// The decoder is told of a class where its logit is above minus this: a score of 0.047. Scores themselves would be too
/// faint to be heard beside the features.
pub const EVIDENT: f64 = 3.0;
/// Logits are told on this scale.
pub const TOLD: f64 = 0.5;
/// Standard deviation of the weights that tell the decoder of boxes and labels, at first.
const LOUD: f64 = 0.2;

/// What the encoder says of films.
#[derive(Debug)]
pub struct PreviewFeatures {
    /// `[B, S, d_model]`: what the decoder looks at.
    pub tokens: Tensor,
    /// `[B, W, S/32, S/32]`: the same before projection.
    pub map: Tensor,
    /// Logits `[B, 22, S/16, S/16]`.
    pub heat: Tensor,
    /// `[B, 4, S/16, S/16]`: from a cell's centre to left, top, right and bottom, as shares of the side.
    pub edges: Tensor,
    /// Logits `[B, 14]`.
    pub labels: Tensor,
}

/// The student; parameters `encoder`, `head`, `heat`, `edges`, `labels`, `token`, `seen`, `stated`, `place`,
/// `token_norm`, `decoder`.
#[derive(Debug)]
pub struct PreviewModel {
    vs: nn::VarStore,
    /// Sizes.
    pub config: PreviewModelConfig,
    /// Encoder.
    pub encoder: MobileEncoder,
    /// 1x1, shared by heat and edges.
    pub head: nn::Conv2D,
    /// 1x1 to class scores.
    pub heat: nn::Conv2D,
    /// 1x1 to box edges.
    pub edges: nn::Conv2D,
    /// Mean of the tokens to labels.
    pub labels: nn::Linear,
    /// Token width to the decoder's.
    pub token: nn::Linear,
    /// Evidence for the classes in a token's four cells to the decoder's width: the words follow the boxes.
    pub seen: nn::Linear,
    /// Labels, and the strongest evidence for each class anywhere, to the decoder's width; the same for every token.
    pub stated: nn::Linear,
    /// `[S, d_model]`: where a token lies.
    pub place: Tensor,
    /// Over tokens.
    pub token_norm: nn::LayerNorm,
    /// Decoder.
    pub decoder: PreviewDecoder,
}

impl PreviewModel {
    /// A fresh student with a table of `words` rows, initial values from `tch`'s current random state.
    ///
    /// # Errors
    /// [`Error::Config`] when the sizes do not fit together.
    pub fn new(config: &PreviewModelConfig, words: i64, device: Device) -> Result<Self> {
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
            seen: loud(&root / "seen", CLASSES * 4, config.d_model),
            stated: loud(&root / "stated", LABELS + CLASSES, config.d_model),
            place: root.var("place", &[cells, config.d_model], small),
            token_norm: layer_norm(&root / "token_norm", config.d_model),
            decoder: PreviewDecoder::new(&(&root / "decoder"), config, words),
            encoder,
            config: config.clone(),
            vs,
        })
    }

    /// The variables.
    pub fn variables(&self) -> &nn::VarStore {
        &self.vs
    }

    /// The variables, for loading.
    pub fn variables_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    /// Trained parameters.
    pub fn parameters(&self) -> i64 {
        self.vs.trainable_variables().iter().map(|t| t.numel() as i64).sum()
    }

    /// `films`: f32 `[B, 1, S, S]` in 0 to 1. Boxes and labels reach the tokens without a gradient: words do not bend them.
    pub fn features(&self, films: &Tensor, train: bool) -> PreviewFeatures {
        let (cells, map) = self.encoder.forward_t(films, train);
        let head = self.head.forward(&cells).relu();
        let heat = self.heat.forward(&head);
        let flat = map.flatten(2, 3).transpose(1, 2);
        let labels = flat.mean_dim([1i64].as_slice(), false, None::<Kind>).apply(&self.labels);
        let evidence = (heat.detach() + EVIDENT).relu() * TOLD;
        let seen = by_token(&evidence).apply(&self.seen);
        let strongest = evidence.amax([2i64, 3].as_slice(), false);
        let stated = Tensor::cat(&[labels.detach() * TOLD, strongest], 1).apply(&self.stated).unsqueeze(1);
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

/// A linear layer whose inputs count from the first step on.
fn loud(path: nn::Path, inputs: i64, outputs: i64) -> nn::Linear {
    let config = nn::LinearConfig {
        ws_init: nn::Init::Randn { mean: 0.0, stdev: LOUD },
        bs_init: Some(nn::Init::Const(0.0)),
        bias: true,
    };
    nn::linear(path, inputs, outputs, config)
}

/// Cells `[B, K, 2g, 2g]` by the token that covers them: `[B, g * g, 4 K]`.
fn by_token(cells: &Tensor) -> Tensor {
    let (batch, channels, grid) = (cells.size()[0], cells.size()[1], cells.size()[2] / 2);
    let split = cells.reshape([batch, channels, grid, 2, grid, 2]);
    split.permute([0, 2, 4, 1, 3, 5]).reshape([batch, grid * grid, 4 * channels])
}
