//! The transformer decoder with memory-driven conditional norms: teacher-forced over whole reports, or token by token with cached
//! keys and values. The hidden state at a token depends on earlier tokens only, so both agree.

use tch::{Tensor, nn};

use crate::error::Result;
use crate::nn::attention::{KeyValue, MultiHeadAttention};
use crate::nn::mlp::FeedForward;
use crate::reporter::model::conditional_norm::{ConditionalNorm, FusedModulation, Modulation, StdNorm};

#[derive(Debug)]
struct DecoderLayer {
    self_attn: MultiHeadAttention,
    src_attn: MultiHeadAttention,
    feed_forward: FeedForward,
    norms: [ConditionalNorm; 3],
    dropout: f64,
}

/// Modulations of one layer's three norms; empty without a memory.
type LayerModulation<'a> = &'a [Modulation];

impl DecoderLayer {
    fn norm(&self, index: usize, xs: &Tensor, modulation: LayerModulation) -> Tensor {
        self.norms[index].norm.scaled(xs, modulation.get(index))
    }

    /// After self-attention: cross-attention and feed-forward. `beams` rows of `xs` share each source row.
    /// Returns the output and the cross-attention, mean over heads, `[B * beams, T, S]`.
    fn after_self_attention(
        &self,
        xs: &Tensor,
        source: &Source,
        layer: usize,
        modulation: LayerModulation,
        beams: i64,
        train: bool,
    ) -> (Tensor, Tensor) {
        let (rows, length, width) = (xs.size()[0], xs.size()[1], xs.size()[2]);
        // Beams are laid out as further query positions, so that the source's keys are not repeated.
        let normed = self.norm(1, xs, modulation).view([rows / beams, beams * length, width]);
        let (mixed, weights) = self.src_attn.attend(&normed, &source.layers[layer], Some(&source.visible), train);
        let xs = xs + mixed.view([rows, length, width]).dropout(self.dropout, train);
        let mixed = self.feed_forward.forward_t(&self.norm(2, &xs, modulation), train);
        let attention = weights.mean_dim(1, false, None::<tch::Kind>).view([rows, length, -1]);
        (xs + mixed.dropout(self.dropout, train), attention)
    }
}

/// Cross-attention keys and values of the encoded source tokens, one per layer, and the mask of present tokens.
#[derive(Debug)]
pub struct Source {
    layers: Vec<KeyValue>,
    visible: Tensor,
}

impl Source {
    /// Images chosen by `rows`: i64 `[B']`.
    pub fn select(&self, rows: &Tensor) -> Self {
        Self {
            layers: self.layers.iter().map(|kv| kv.select(rows)).collect(),
            visible: self.visible.index_select(0, rows),
        }
    }

    /// Whether keys and values of the first layer are finite. Synchronises with the device.
    ///
    /// # Errors
    /// When a libtorch operation fails.
    pub fn is_finite(&self) -> Result<bool> {
        let flag = |kv: &KeyValue| i64::try_from(kv.key.isfinite().all().logical_and(&kv.value.isfinite().all()));
        Ok(self.layers.first().map(flag).transpose()? != Some(0))
    }
}

/// Self-attention keys and values of the tokens so far, one per layer; empty before the first token.
#[derive(Debug, Default)]
pub struct TokenCache {
    layers: Vec<KeyValue>,
}

impl TokenCache {
    /// Rows chosen by `rows`: i64 `[rows']`.
    pub fn select(&self, rows: &Tensor) -> Self {
        Self { layers: self.layers.iter().map(|kv| kv.select(rows)).collect() }
    }
}

/// The decoder; parameters `layers.L.*` and `norm`.
#[derive(Debug)]
pub struct Decoder {
    layers: Vec<DecoderLayer>,
    norm: StdNorm,
}

impl Decoder {
    /// `layers` layers of width `d_model`; `slots = 0` gives plain norms.
    pub fn new(path: &nn::Path, d_model: i64, d_ff: i64, heads: i64, layers: i64, slots: i64, dropout: f64) -> Self {
        let layer = |i: i64| {
            let path = path / "layers" / i;
            let attention = |name: &str| MultiHeadAttention::new(&(&path / name), d_model, heads, dropout);
            DecoderLayer {
                self_attn: attention("self_attn"),
                src_attn: attention("src_attn"),
                feed_forward: FeedForward::new(&(&path / "feed_forward"), d_model, d_ff, dropout),
                norms: [0, 1, 2].map(|n| ConditionalNorm::new(&(&path / "sublayer" / n / "norm"), d_model, slots)),
                dropout,
            }
        };
        Self { layers: (0..layers).map(layer).collect(), norm: StdNorm::new(&(path / "norm"), d_model) }
    }

    /// The modulating layers of all norms, fused.
    pub fn fused_modulation(&self) -> Option<FusedModulation> {
        FusedModulation::new(self.layers.iter().flat_map(|l| &l.norms))
    }

    /// `encoded`: `[B, S, d_model]`; `visible`: boolean `[B, 1, 1, S]`.
    pub fn source(&self, encoded: &Tensor, visible: &Tensor) -> Source {
        Source {
            layers: self.layers.iter().map(|l| l.src_attn.keys_and_values(encoded)).collect(),
            visible: visible.shallow_clone(),
        }
    }

    /// All tokens at once. `tokens`: `[B, T, d_model]`; `causal`: boolean `[B, 1, T, T]`; `modulation` from
    /// [`Self::fused_modulation`], empty without a memory. Returns `[B, T, d_model]` and the last layer's cross-attention, mean over
    /// heads, `[B, T, S]`.
    pub fn forward_t(
        &self,
        tokens: &Tensor,
        causal: &Tensor,
        source: &Source,
        modulation: &[Modulation],
        train: bool,
    ) -> (Tensor, Tensor) {
        let mut xs = tokens.shallow_clone();
        let mut attention = Tensor::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let modulation = of_layer(modulation, i);
            let normed = layer.norm(0, &xs, modulation);
            let kv = layer.self_attn.keys_and_values(&normed);
            let mixed = layer.self_attn.attend(&normed, &kv, Some(causal), train).0;
            xs = xs + mixed.dropout(layer.dropout, train);
            (xs, attention) = layer.after_self_attention(&xs, source, i, modulation, 1, train);
        }
        (self.norm.forward(&xs), attention)
    }

    /// One more token in each of `B * beams` rows. `token`: `[B * beams, 1, d_model]`. Returns `[B * beams, 1, d_model]`; appends the
    /// token to `cache`.
    pub fn step(
        &self,
        token: &Tensor,
        cache: &mut TokenCache,
        source: &Source,
        modulation: &[Modulation],
        beams: i64,
    ) -> Tensor {
        let mut xs = token.shallow_clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let modulation = of_layer(modulation, i);
            let normed = layer.norm(0, &xs, modulation);
            let new = layer.self_attn.keys_and_values(&normed);
            match cache.layers.get_mut(i) {
                Some(cached) => *cached = cached.extended(&new),
                None => cache.layers.push(new),
            }
            xs = xs + layer.self_attn.attend(&normed, &cache.layers[i], None, false).0;
            xs = layer.after_self_attention(&xs, source, i, modulation, beams, false).0;
        }
        self.norm.forward(&xs)
    }
}

fn of_layer(modulation: &[Modulation], layer: usize) -> LayerModulation<'_> {
    modulation.get(3 * layer..3 * layer + 3).unwrap_or_default()
}
