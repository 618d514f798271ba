//! How well an image's tokens and a text's words go together: negative-aware attention (NAAF; Zhang et al. 2022,
//! "Negative-Aware Attention Framework for Image-Text Matching", section 3).
//! For every word: how much it misses every image token, how well the tokens that it matches add up to it, and how
//! relevant the tokens are to it. All pairs of a batch at once; the context vector of a word is never built: its product with
//! the word is a sum of similarities, its length a quadratic form of the tokens' Gram matrix.

use tch::{Kind, Tensor};

/// Keeps divisions from zero.
const TINY: f64 = 1e-8;
/// Similarity of a token or word that is not there.
const ABSENT: f64 = -1e4;
/// Slope of the leaky rectifier below zero.
const SLOPE: f64 = 0.1;

/// Vectors of unit length and which of them are there.
#[derive(Debug)]
pub struct Tokens {
    /// f32 `[n, R, D]`.
    pub vectors: Tensor,
    /// Boolean `[n, R]`.
    pub present: Tensor,
}

impl Tokens {
    /// The same vectors at unit length, absent ones zero.
    pub fn unit(vectors: &Tensor, present: &Tensor) -> Self {
        let vectors = unit(vectors) * present.unsqueeze(-1).to_kind(Kind::Float);
        Self { vectors, present: present.shallow_clone() }
    }

    /// Mean of the present vectors, `[n, D]`; zero where none is.
    pub fn mean(&self) -> Tensor {
        let count = self.present.sum_dim_intlist([1i64].as_slice(), true, Kind::Float).clamp_min(1.0);
        self.vectors.sum_dim_intlist([1i64].as_slice(), false, Kind::Float) / count
    }
}

/// Vectors of unit length along the last axis; the gradient of a zero vector is zero.
pub fn unit(vectors: &Tensor) -> Tensor {
    let squares = vectors.square().sum_dim_intlist([-1i64].as_slice(), true, Kind::Float);
    vectors * squares.clamp_min(TINY * TINY).rsqrt()
}

/// Similarity of every image and every text, `[B, C]`. `temperature` sharpens attention; a word counts as matched by the
/// tokens whose similarity is above `boundary`, a number on the same device.
///
/// A text without words has similarity 0 to every image.
pub fn scores(image: &Tokens, text: &Tokens, temperature: f64, boundary: &Tensor) -> Tensor {
    let (similarity, no_token) = similarities(image, text);
    let [images, texts, words, tokens] = [0, 1, 2, 3].map(|axis| similarity.size()[axis]);
    let no_word = text.present.logical_not().view([1, texts, words, 1]);

    let best = similarity.masked_fill(&no_token, ABSENT).amax([-1i64].as_slice(), false);
    let missed = (best - boundary).clamp_max(0.0);

    let weights = matched(&similarity, &no_token, temperature, boundary);
    let along = (&weights * &similarity).sum_dim_intlist([-1i64].as_slice(), false, Kind::Float);
    let gram = image.vectors.matmul(&image.vectors.transpose(1, 2));
    let flat = weights.reshape([images, texts * words, tokens]);
    let squared = (flat.bmm(&gram) * &flat).sum_dim_intlist([-1i64].as_slice(), false, Kind::Float);
    let fitting = along / squared.view([images, texts, words]).clamp_min(TINY * TINY).sqrt();

    let rectified = (similarity.relu() + similarity.clamp_max(0.0) * SLOPE).masked_fill(&no_word, 0.0);
    let over_words = rectified.square().sum_dim_intlist([2i64].as_slice(), true, Kind::Float);
    let relative = &rectified * over_words.clamp_min(TINY * TINY).rsqrt();
    let relevance = (relative * temperature).masked_fill(&no_token, ABSENT).softmax(-1, Kind::Float);
    let relevant = (relevance * &similarity).sum_dim_intlist([-1i64].as_slice(), false, Kind::Float);

    let word = (missed + fitting + relevant) * text.present.unsqueeze(0).to_kind(Kind::Float);
    let count = text.present.sum_dim_intlist([1i64].as_slice(), false, Kind::Float).clamp_min(1.0);
    word.sum_dim_intlist([2i64].as_slice(), false, Kind::Float) / count.unsqueeze(0)
}

/// Of every word with every token `[B, C, L, R]`, and which tokens are not there `[B, 1, 1, R]`.
fn similarities(image: &Tokens, text: &Tokens) -> (Tensor, Tensor) {
    let [images, tokens, width] = [0, 1, 2].map(|axis| image.vectors.size()[axis]);
    let [texts, words] = [0, 1].map(|axis| text.vectors.size()[axis]);
    let all_words = text.vectors.reshape([texts * words, width]);
    let similarity = image.vectors.matmul(&all_words.tr()).transpose(1, 2).reshape([images, texts, words, tokens]);
    (similarity, image.present.logical_not().view([images, 1, 1, tokens]))
}

/// How well each word of each text fits the token that it fits best, `[B, C, L]`.
pub fn best_of_words(image: &Tokens, text: &Tokens) -> Tensor {
    let (similarity, no_token) = similarities(image, text);
    similarity.masked_fill(&no_token, ABSENT).amax([-1i64].as_slice(), false)
}

/// A word's attention to the tokens that it matches, as shares of 1; zero for a word that matches none. `similarity`: `[.., R]`;
/// `no_token`: boolean, broadcast to it.
fn matched(similarity: &Tensor, no_token: &Tensor, temperature: f64, boundary: &Tensor) -> Tensor {
    let matched = similarity.gt_tensor(boundary).logical_and(&no_token.logical_not());
    let above = ((similarity - boundary) * temperature).exp() * matched.to_kind(Kind::Float);
    &above / (above.sum_dim_intlist([-1i64].as_slice(), true, Kind::Float) + TINY)
}

/// How much each text attends to each token of its own image: the mean over its words, `[n, R]`. `image` and `text` hold `n` each.
pub fn attended(image: &Tokens, text: &Tokens, temperature: f64, boundary: &Tensor) -> Tensor {
    let similarity = text.vectors.bmm(&image.vectors.transpose(1, 2));
    let no_token = image.present.logical_not().unsqueeze(1);
    let words = text.present.unsqueeze(-1).to_kind(Kind::Float);
    let sum = (matched(&similarity, &no_token, temperature, boundary) * &words).sum_dim_intlist(
        [1i64].as_slice(),
        false,
        Kind::Float,
    );
    sum / words.sum_dim_intlist([1i64].as_slice(), false, Kind::Float).clamp_min(1.0)
}
