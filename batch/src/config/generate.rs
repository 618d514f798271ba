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
    /// Groups of beams that keep out of each other's way (diverse beam search).
    pub groups: usize,
    /// What a word loses for each beam of an earlier group that has chosen it at the same place.
    pub diversity: f64,
    /// How the score of a finished report depends on its length.
    pub length_penalty: LengthPenalty,
    /// Exponent of the `wu` penalty.
    pub length_alpha: f64,
    /// Reports per film.
    pub reports: usize,
    /// Log-probabilities are divided by this.
    pub temperature: f64,
    /// Sampling: only the so many likeliest words; 0 takes all.
    pub top_k: usize,
    /// Sampling: only the likeliest words that together reach this probability; 1 takes all.
    pub top_p: f64,
    /// Shortest report, words.
    pub min_words: usize,
    /// Longest report, words.
    pub max_words: usize,
    /// No n-gram of this length twice; 0 allows all.
    pub block_ngram: usize,
    /// Greedy and sampling: halvings of the probability of a trigram for each time it was written before.
    pub trigram_penalty: f64,
    /// Never write `<unk>`.
    pub ban_unknown: bool,
    /// Never write a word that speaks of an earlier examination.
    pub ban_prior: bool,
    /// Words and phrases that are never written.
    pub banned: Vec<String>,
    /// Read each film and its mirror image side by side and write the words that are likely for both, `left` and `right` swapped in the
    /// latter: twice the work. For models that were trained on mirrored films.
    pub flip_tta: bool,
    /// Images per batch.
    pub batch_size: usize,
    /// A link needs at least this share of a sentence's region attention.
    pub link_weight_min: f64,
    /// Share of the similarity of regions and sentences (LAB) in a link's weight; the rest is attention. Used where the run kept its
    /// text encoder.
    pub similarity_share: f64,
}

/// How words are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Beam search.
    Beam,
    /// The likeliest word each time.
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
