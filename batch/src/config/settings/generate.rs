//! Section `[generate]`: how reports are written.

use serde::{Deserialize, Serialize};

use super::number_or::{NumberOrAll, NumberOrOff};
use crate::config::generate::{GenerateConfig, LengthPenalty, Method};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateSettings {
    pub method: Method,
    pub beam_size: usize,
    pub groups: usize,
    pub length_penalty: LengthPenalty,
    pub reports: usize,
    pub temperature: f64,
    pub top_k: NumberOrAll<usize>,
    pub top_p: f64,
    pub max_words: usize,
    pub block_ngram: NumberOrOff<usize>,
    pub rules: Rules,
    pub ban_prior: bool,
    pub batch_size: usize,
    pub flip_tta: bool,
    pub similarity_share: f64,
}

/// Rules for unknown words and repeated trigrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rules {
    /// `<unk>` is never written.
    Standard,
    /// R2Gen's: `<unk>` is allowed, greedy decoding and sampling have a trigram penalty of 2.
    R2gen,
}

impl GenerateSettings {
    pub fn config(&self) -> GenerateConfig {
        GenerateConfig {
            method: self.method,
            beam_size: self.beam_size,
            groups: self.groups,
            diversity: 0.5,
            length_penalty: self.length_penalty,
            length_alpha: 0.9,
            reports: self.reports,
            temperature: self.temperature,
            top_k: self.top_k.or_zero(),
            top_p: self.top_p,
            min_words: 0,
            max_words: self.max_words,
            block_ngram: self.block_ngram.or_zero(),
            trigram_penalty: if self.rules == Rules::R2gen { 2.0 } else { 0.0 },
            ban_unknown: self.rules == Rules::Standard,
            ban_prior: self.ban_prior,
            banned: Vec::new(),
            flip_tta: self.flip_tta,
            batch_size: self.batch_size,
            link_weight_min: 0.3,
            similarity_share: self.similarity_share,
        }
    }
}
