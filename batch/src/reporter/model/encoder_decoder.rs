//! R2Gen's encoder-decoder (Chen et al. 2020): source tokens to words, with a relational memory that modulates the
//! decoder's norms. Teacher-forced for training, word by word for writing; both give the same log-probabilities.

use tch::{Device, Kind, Tensor, nn};

use crate::config::report::ReportModelConfig;
use crate::error::Result;
use crate::nn::compute_kind::linear as linear_in;
use crate::nn::mlp::{glorot_bound, linear};
use crate::nn::positional::sinusoidal;
use crate::reporter::decode::test_time_augmentation::mean_log_probs;
use crate::reporter::model::conditional_norm::{FusedModulation, Modulation};
use crate::reporter::model::decoder::{Decoder, Source, WordCache};
use crate::reporter::model::encoder::Encoder;
use crate::reporter::model::relational_memory::RelationalMemory;

/// Longest sequence that positions exist for.
pub const MAX_POSITIONS: i64 = 1024;

/// Padding, begin and end of a report.
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
}

/// What the decoder says of whole reports.
#[derive(Debug)]
pub struct TeacherForced {
    /// Log-probability of each next word, f32 `[B, T, words]`.
    pub log_probs: Tensor,
    /// Last layer's cross-attention over source tokens, mean over heads, `[B, T, S]`.
    pub attention: Tensor,
}

/// Where word-by-word decoding stands.
#[derive(Debug)]
pub struct DecodeState {
    source: Source,
    cache: WordCache,
    memory: Option<Tensor>,
    modulation: Option<FusedModulation>,
    position: i64,
    images: i64,
    mirrored: Option<Box<MirroredState>>,
}

/// Where the same report stands, mirrored, for the mirrored films.
#[derive(Debug)]
struct MirroredState {
    state: DecodeState,
    /// i64 `[words]`: the mirror image of each.
    words: Tensor,
}

impl DecodeState {
    /// How many images are being written about.
    pub fn images(&self) -> i64 {
        self.images
    }

    /// Whether what the words are read from is finite. Waits for the device.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn is_finite(&self) -> Result<bool> {
        Ok(self.source.is_finite()? && self.mirrored.as_ref().map_or(Ok(true), |m| m.state.is_finite())?)
    }

    /// Rows chosen by `rows`: i64 `[images * beams']`, grouped by image.
    pub fn select_rows(&mut self, rows: &Tensor) {
        self.cache = self.cache.select(rows);
        self.memory = self.memory.as_ref().map(|m| m.index_select(0, rows));
        if let Some(mirrored) = &mut self.mirrored {
            mirrored.state.select_rows(rows);
        }
    }

    /// Images chosen by `images`: i64 `[images']`; rows are chosen apart from that.
    pub fn select_images(&mut self, images: &Tensor) {
        self.source = self.source.select(images);
        self.images = images.size()[0];
        if let Some(mirrored) = &mut self.mirrored {
            mirrored.state.select_images(images);
        }
    }
}

impl EncoderDecoder {
    /// `d_visual`: width of the source tokens; `words`: rows of embedding and head, the boundary included.
    pub fn new(path: &nn::Path, config: &ReportModelConfig, d_visual: i64, words: i64) -> Self {
        let ReportModelConfig { d_model, d_ff, heads, layers, dropout, memory_slots, .. } = *config;
        let model = path / "model";
        let bound = glorot_bound(words, d_model);
        let table = nn::Init::Uniform { lo: -bound, up: bound };
        Self {
            att_embed: linear(&(path / "att_embed" / 0), d_visual, d_model),
            encoder: Encoder::new(&(&model / "encoder"), d_model, d_ff, heads, layers, dropout),
            lut: (&model / "tgt_embed" / 0 / "lut").var("weight", &[words, d_model], table),
            positions: sinusoidal(MAX_POSITIONS, d_model, path.device()),
            memory: (memory_slots > 0)
                .then(|| RelationalMemory::new(&(&model / "rm"), d_model, heads, memory_slots, dropout)),
            decoder: Decoder::new(&(&model / "decoder"), d_model, d_ff, heads, layers, memory_slots, dropout),
            logit: linear(&(path / "logit"), d_model, words),
            d_model,
            dropout,
            visual_dropout: config.visual_dropout,
            compute: Kind::Float,
        }
    }

    /// The kind that products run in: f32 or bf16.
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

    /// Teacher forcing. `inputs`: i64 `[B, T]`, each row a boundary and then words, padded with boundaries.
    pub fn forward_t(&self, encoded: &Tensor, present: &Tensor, inputs: &Tensor, train: bool) -> TeacherForced {
        let (batch, length) = (inputs.size()[0], inputs.size()[1]);
        let words = self.embed(inputs, 0, train);
        let modulation = match (&self.memory, self.decoder.fused_modulation()) {
            (Some(memory), Some(fused)) => {
                let states = memory.read(&words, memory.start(batch), train).0;
                fused.forward(&states.to_kind(self.compute))
            }
            _ => Vec::new(),
        };
        let seen = seen_words(inputs, length);
        let source = self.decoder.source(encoded, &visible(present));
        let (hidden, attention) = self.decoder.forward_t(&words, &seen, &source, &modulation, train);
        TeacherForced { log_probs: self.log_probs(&hidden), attention }
    }

    /// Starts word-by-word decoding with one row per image.
    pub fn begin(&self, encoded: &Tensor, present: &Tensor) -> DecodeState {
        let images = encoded.size()[0];
        DecodeState {
            source: self.decoder.source(encoded, &visible(present)),
            cache: WordCache::default(),
            memory: self.memory.as_ref().map(|m| m.start(images)),
            modulation: self.decoder.fused_modulation(),
            position: 0,
            images,
            mirrored: None,
        }
    }

    /// The same where the mirror images are read beside the films. `mirrored`: `[B, S, d_model]`; `words`: i64 `[words]`, the
    /// mirror image of each word.
    pub fn begin_both_ways(&self, encoded: &Tensor, mirrored: &Tensor, present: &Tensor, words: Tensor) -> DecodeState {
        let state = self.begin(mirrored, present);
        DecodeState { mirrored: Some(Box::new(MirroredState { state, words })), ..self.begin(encoded, present) }
    }

    /// One word per row. `words`: i64 `[rows]`, the boundary first. Returns log-probabilities `[rows, words]`.
    pub fn step(&self, state: &mut DecodeState, words: &Tensor) -> Tensor {
        let own = self.step_one_way(state, words);
        match &mut state.mirrored {
            None => own,
            Some(mirrored) => {
                let other = self.step_one_way(&mut mirrored.state, &mirrored.words.index_select(0, words));
                mean_log_probs(&own, &other, &mirrored.words)
            }
        }
    }

    fn step_one_way(&self, state: &mut DecodeState, words: &Tensor) -> Tensor {
        let word = self.embed(&words.unsqueeze(1), state.position, false);
        let modulation = match (&self.memory, state.memory.take(), &state.modulation) {
            (Some(rm), Some(memory), Some(fused)) => {
                let (states, memory) = rm.read(&word, memory, false);
                state.memory = Some(memory);
                fused.forward(&states.to_kind(self.compute))
            }
            _ => Vec::<Modulation>::new(),
        };
        state.position += 1;
        let beams = words.size()[0] / state.images.max(1);
        let hidden = self.decoder.step(&word, &mut state.cache, &state.source, &modulation, beams);
        self.log_probs(&hidden).squeeze_dim(1)
    }

    /// Where the parameters are.
    pub fn device(&self) -> Device {
        self.lut.device()
    }

    fn embed(&self, ids: &Tensor, position: i64, train: bool) -> Tensor {
        let words = Tensor::embedding(&self.lut, ids, -1, false, false) * (self.d_model as f64).sqrt();
        (words + self.positions.narrow(0, position, ids.size()[1])).dropout(self.dropout, train).to_kind(self.compute)
    }

    fn log_probs(&self, hidden: &Tensor) -> Tensor {
        linear_in(hidden, &self.logit).log_softmax(-1, Kind::Float)
    }
}

/// `[B, S]` to the shape that attention wants.
fn visible(present: &Tensor) -> Tensor {
    present.unsqueeze(1).unsqueeze(1)
}

/// Boolean `[B, 1, T, T]`: words that a word may look at, itself and the ones before it, without padding.
fn seen_words(inputs: &Tensor, length: i64) -> Tensor {
    let causal = Tensor::ones([length, length], (Kind::Bool, inputs.device())).tril(0);
    let keys = inputs.gt(BOUNDARY);
    // The leading boundary is a word like any other.
    let _ = keys.narrow(1, 0, 1).fill_(1);
    keys.unsqueeze(1).unsqueeze(1).logical_and(&causal)
}

#[cfg(test)]
pub(crate) mod tests;
