//! R2Gen's encoder-decoder (Chen et al. 2020): source tokens in, log-probabilities of report tokens out; a relational memory
//! modulates the decoder's norms. Teacher-forced and token-by-token decoding give the same log-probabilities.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor, nn};

use crate::config::report::ReportModelConfig;
use crate::error::Result;
use crate::nn::compute_kind::linear as linear_in;
use crate::nn::mlp::{glorot_bound, linear};
use crate::nn::pass::Passes;
use crate::nn::positional::sinusoidal;
use crate::reporter::model::conditional_norm::{FusedModulation, Modulation};
use crate::reporter::model::decoder::{Decoder, Source, TokenCache};
use crate::reporter::model::encoder::Encoder;
use crate::reporter::model::relational_memory::{RelationalMemory, TrainingRead};

/// Rows of the position table: the longest sequence.
pub const MAX_POSITIONS: i64 = 1024;

/// Token id of padding, begin and end of a report.
pub const BOUNDARY: i64 = 0;

/// The encoder-decoder; parameters `att_embed.0`, `model.{encoder,decoder,rm,tgt_embed.0.lut}`, `logit`.
#[derive(Debug)]
pub struct EncoderDecoder {
    att_embed: nn::Linear,
    encoder: Encoder,
    lut: Tensor,
    positions: Tensor,
    memory: Option<RelationalMemory>,
    decoder: Decoder,
    logit: nn::Linear,
    d_model: i64,
    dropout: f64,
    visual_dropout: f64,
    compute: Kind,
    /// The training passes through the memory since the last [`Self::take_passes`].
    passes: RefCell<Passes>,
}

/// Output of a teacher-forced pass.
#[derive(Debug)]
pub struct TeacherForced {
    /// f32 `[B, T, V]`: log-probabilities of the next token.
    pub log_probs: Tensor,
    /// `[B, T, S]`: the last layer's cross-attention over source tokens, mean over heads.
    pub attention: Tensor,
}

/// Token-by-token decoding of a batch with cached keys and values. A row is one partial report; every image has equally many
/// rows, grouped by image.
#[derive(Debug)]
pub struct DecodeState<'a> {
    model: &'a EncoderDecoder,
    source: Source,
    cache: TokenCache,
    memory: Option<Tensor>,
    modulation: Option<FusedModulation>,
    position: i64,
    images: i64,
}

impl DecodeState<'_> {
    pub fn images(&self) -> i64 {
        self.images
    }

    /// Where the tensors are.
    pub fn device(&self) -> Device {
        self.model.device()
    }

    /// Whether the source's keys and values are finite. Synchronises with the device.
    ///
    /// # Errors
    /// When a libtorch operation fails.
    pub fn is_finite(&self) -> Result<bool> {
        self.source.is_finite()
    }

    /// Appends a token to each row. `tokens`: i64 `[rows]`, the boundary first. Returns log-probabilities of the next token, f32
    /// `[rows, V]`.
    pub fn step(&mut self, tokens: &Tensor) -> Tensor {
        let model = self.model;
        let embedded = model.embed(&tokens.unsqueeze(1), self.position, false);
        let modulation = match (&model.memory, self.memory.take(), &self.modulation) {
            (Some(relational), Some(memory), Some(fused)) => {
                let (states, memory) = relational.read(&embedded, memory);
                self.memory = Some(memory);
                fused.forward(&states.to_kind(model.compute))
            }
            _ => Vec::<Modulation>::new(),
        };
        self.position += 1;
        let beams = tokens.size()[0] / self.images.max(1);
        let hidden = model.decoder.step(&embedded, &mut self.cache, &self.source, &modulation, beams);
        model.log_probs(&hidden).squeeze_dim(1)
    }

    /// Reorders, drops or repeats rows. `rows`: i64 `[images * rows per image]`, grouped by image.
    pub fn select_rows(&mut self, rows: &Tensor) {
        self.cache = self.cache.select(rows);
        self.memory = self.memory.as_ref().map(|m| m.index_select(0, rows));
    }

    /// Keeps some images; their rows are selected separately. `images`: i64 `[images kept]`.
    pub fn select_images(&mut self, images: &Tensor) {
        self.source = self.source.select(images);
        self.images = images.size()[0];
    }
}

impl EncoderDecoder {
    /// `d_visual`: width of the source tokens; `token_count`: vocabulary size plus the boundary.
    pub fn new(path: &nn::Path, config: &ReportModelConfig, d_visual: i64, token_count: i64) -> Self {
        let ReportModelConfig { d_model, d_ff, heads, layers, dropout, memory_slots, .. } = *config;
        let model = path / "model";
        let bound = glorot_bound(token_count, d_model);
        let table = nn::Init::Uniform { lo: -bound, up: bound };
        Self {
            att_embed: linear(&(path / "att_embed" / 0), d_visual, d_model),
            encoder: Encoder::new(&(&model / "encoder"), d_model, d_ff, heads, layers, dropout),
            lut: (&model / "tgt_embed" / 0 / "lut").var("weight", &[token_count, d_model], table),
            positions: sinusoidal(MAX_POSITIONS, d_model, path.device()),
            memory: (memory_slots > 0)
                .then(|| RelationalMemory::new(&(&model / "rm"), d_model, heads, memory_slots, dropout)),
            decoder: Decoder::new(&(&model / "decoder"), d_model, d_ff, heads, layers, memory_slots, dropout),
            logit: linear(&(path / "logit"), d_model, token_count),
            d_model,
            dropout,
            visual_dropout: config.visual_dropout,
            compute: Kind::Float,
            passes: RefCell::default(),
        }
    }

    /// The kind that matrix products run in: f32 or bf16.
    pub fn set_compute(&mut self, kind: Kind) {
        self.compute = kind;
    }

    /// `tokens`: f32 `[B, S, d_visual]`; `present`: boolean `[B, S]`. Returns `[B, S, d_model]`.
    pub fn encode(&self, tokens: &Tensor, present: &Tensor, train: bool) -> Tensor {
        let embedded =
            linear_in(&tokens.to_kind(self.compute), &self.att_embed).relu().dropout(self.visual_dropout, train);
        let embedded = embedded * present.unsqueeze(-1).to_kind(self.compute);
        self.encoder.forward_t(&embedded, &visible(present), train)
    }

    /// Teacher-forced pass. `inputs`: i64 `[B, T]`, each row a boundary and then token ids, padded with boundaries. A training pass
    /// must be followed by [`Self::take_passes`]: the memory's gradients are theirs.
    pub fn forward_t(&self, encoded: &Tensor, present: &Tensor, inputs: &Tensor, train: bool) -> TeacherForced {
        let length = inputs.size()[1];
        let mut embedded = self.embed(inputs, 0, train);
        let modulation = match (&self.memory, self.decoder.fused_modulation()) {
            (Some(memory), Some(fused)) => {
                let states;
                (states, embedded) = self.read(memory, embedded, train);
                fused.forward(&states.to_kind(self.compute))
            }
            _ => Vec::new(),
        };
        let causal = causal_mask(inputs, length);
        let source = self.decoder.source(encoded, &visible(present));
        let (hidden, attention) = self.decoder.forward_t(&embedded, &causal, &source, &modulation, train);
        TeacherForced { log_probs: self.log_probs(&hidden), attention }
    }

    /// The training passes through the memory since the last call, for [`crate::nn::pass::gradients`].
    pub fn take_passes(&self) -> Passes {
        self.passes.take()
    }

    /// The memory's states after each token, and the tokens for the decoder.
    fn read(&self, memory: &RelationalMemory, embedded: Tensor, train: bool) -> (Tensor, Tensor) {
        if !train {
            return (memory.read(&embedded, memory.start(embedded.size()[0])).0, embedded);
        }
        let TrainingRead { states, tokens, pass } = memory.read_in_training(&embedded);
        self.passes.borrow_mut().push(pass);
        (states, tokens)
    }

    /// Starts token-by-token decoding with one row per image. `encoded`: `[B, S, d_model]`; `present`: boolean `[B, S]`.
    pub fn begin(&self, encoded: &Tensor, present: &Tensor) -> DecodeState<'_> {
        let images = encoded.size()[0];
        DecodeState {
            model: self,
            source: self.decoder.source(encoded, &visible(present)),
            cache: TokenCache::default(),
            memory: self.memory.as_ref().map(|m| m.start(images)),
            modulation: self.decoder.fused_modulation(),
            position: 0,
            images,
        }
    }

    /// Where the parameters are.
    pub fn device(&self) -> Device {
        self.lut.device()
    }

    fn embed(&self, ids: &Tensor, position: i64, train: bool) -> Tensor {
        let embedded = Tensor::embedding(&self.lut, ids, -1, false, false) * (self.d_model as f64).sqrt();
        (embedded + self.positions.narrow(0, position, ids.size()[1]))
            .dropout(self.dropout, train)
            .to_kind(self.compute)
    }

    fn log_probs(&self, hidden: &Tensor) -> Tensor {
        linear_in(hidden, &self.logit).log_softmax(-1, Kind::Float)
    }
}

/// `[B, S]` to `[B, 1, 1, S]`, to be broadcast over heads and queries.
fn visible(present: &Tensor) -> Tensor {
    present.unsqueeze(1).unsqueeze(1)
}

/// Boolean `[B, 1, T, T]`: a token attends to itself and to earlier tokens, not to padding.
fn causal_mask(inputs: &Tensor, length: i64) -> Tensor {
    let causal = Tensor::ones([length, length], (Kind::Bool, inputs.device())).tril(0);
    let keys = inputs.gt(BOUNDARY);
    // The leading boundary is not padding.
    let _ = keys.narrow(1, 0, 1).fill_(1);
    keys.unsqueeze(1).unsqueeze(1).logical_and(&causal)
}

#[cfg(test)]
pub(crate) mod tests;
