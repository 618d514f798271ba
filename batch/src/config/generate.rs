//! Configuration of writing reports.

use serde::{Deserialize, Serialize};

/// Writing reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateConfig {
    /// How words are chosen.
    pub method: Method,
    /// Beam width, all groups together; 1 is greedy.
    pub beam_size: usize,
    /// Groups of diverse beam search; they share the width.
    pub groups: usize,
    /// Penalty of a word for each beam of an earlier group that chose it at the same position.
    pub diversity: f64,
    /// How the score of a finished report depends on its length.
    pub length_penalty: LengthPenalty,
    /// Exponent of the `wu` penalty.
    pub length_alpha: f64,
    /// Reports per image.
    pub reports: usize,
    /// Log-probabilities are divided by this.
    pub temperature: f64,
    /// Top-k sampling: the most probable words; 0 takes all.
    pub top_k: usize,
    /// Top-p (nucleus) sampling: the most probable words that together reach this probability; 1 takes all.
    pub top_p: f64,
    /// Shortest report, words.
    pub min_words: usize,
    /// Longest report, words.
    pub max_words: usize,
    /// No n-gram of this length occurs twice; 0 allows all.
    pub block_ngram: usize,
    /// Greedy decoding and sampling: halvings of a trigram's probability for each earlier occurrence.
    pub trigram_penalty: f64,
    /// Never write `<unk>`.
    pub ban_unknown: bool,
    /// Never write a word that mentions an earlier examination.
    pub ban_prior: bool,
    /// Words and phrases that are never written.
    pub banned: Vec<String>,
    /// Flip test-time augmentation: word probabilities are means over the image and its mirror image, `left` and
    /// `right` swapped in the latter. For models that were trained with flips.
    pub flip_tta: bool,
    /// Images per batch.
    pub batch_size: usize,
    /// A link needs at least this share of a sentence's region attention.
    pub link_weight_min: f64,
    /// Share of the similarity of regions and sentences (LAB) in a link's weight; the rest is attention. Used where the
    /// run kept its text encoder.
    pub similarity_share: f64,
}

/// How words are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Beam search.
    Beam,
    /// The most probable word each time.
    Greedy,
    /// Words drawn by their probabilities.
    Sample,
}

/// How the score of a finished report depends on its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthPenalty {
    /// The sum of its log-probabilities.
    None,
    /// Divided by `((5 + length) / 6)^length_alpha`.
    Wu,
    /// Divided by the length.
    Average,
}
