//! Image-text similarity by negative-aware attention (NAAF; Zhang et al. 2022, "Negative-Aware Attention Framework for
//! Image-Text Matching", section 3). The score of a text token is the sum of its mismatch with all image tokens, its similarity to
//! the context vector of the image tokens that it matches, and its similarity weighted by relevance.
//! All pairs of a batch are computed at once without context vectors: the product of a text token with its context vector is a sum
//! of similarities, the vector's length a quadratic form of the image tokens' Gram matrix.

use tch::{Kind, Tensor};

/// Lower bound of lengths and denominators.
const EPSILON: f64 = 1e-8;
/// Similarity of an absent token.
const ABSENT: f64 = -1e4;
/// Negative slope of the leaky ReLU.
const SLOPE: f64 = 0.1;

/// Unit vectors of tokens, image or text.
#[derive(Debug)]
pub struct Tokens {
    /// f32 `[n, R, D]`.
    pub vectors: Tensor,
    /// Boolean `[n, R]`: tokens that are not padding.
    pub present: Tensor,
}

impl Tokens {
    /// Normalises to unit length; absent tokens become zero.
    pub fn unit(vectors: &Tensor, present: &Tensor) -> Self {
        let vectors = unit(vectors) * present.unsqueeze(-1).to_kind(Kind::Float);
        Self { vectors, present: present.shallow_clone() }
    }

    /// Mean over present tokens, `[n, D]`; zero without any.
    pub fn mean(&self) -> Tensor {
        let count = self.present.sum_dim_intlist([1i64].as_slice(), true, Kind::Float).clamp_min(1.0);
        self.vectors.sum_dim_intlist([1i64].as_slice(), false, Kind::Float) / count
    }
}

/// Normalises along the last axis; the gradient of a zero vector is zero.
pub fn unit(vectors: &Tensor) -> Tensor {
    let squares = vectors.square().sum_dim_intlist([-1i64].as_slice(), true, Kind::Float);
    vectors * squares.clamp_min(EPSILON * EPSILON).rsqrt()
}

/// Similarity of every image and every text, `[B, C]`; 0 for a text without tokens. `temperature` multiplies logits of attention; a
/// text token matches the image tokens whose cosine similarity is above `boundary`, a scalar on the same device.
pub fn similarities(image: &Tokens, text: &Tokens, temperature: f64, boundary: &Tensor) -> Tensor {
    let (similarity, absent) = token_similarities(image, text);
    let [images, texts, length, tokens] = [0, 1, 2, 3].map(|axis| similarity.size()[axis]);
    let padding = text.present.logical_not().view([1, texts, length, 1]);

    let mismatch = (max_over_image(&similarity, &absent) - boundary).clamp_max(0.0);

    let weights = matched_attention(&similarity, &absent, temperature, boundary);
    let product = (&weights * &similarity).sum_dim_intlist([-1i64].as_slice(), false, Kind::Float);
    let gram = image.vectors.matmul(&image.vectors.transpose(1, 2));
    let flat = weights.reshape([images, texts * length, tokens]);
    let squared_length = (flat.bmm(&gram) * &flat).sum_dim_intlist([-1i64].as_slice(), false, Kind::Float);
    let context = product / squared_length.view([images, texts, length]).clamp_min(EPSILON * EPSILON).sqrt();

    let rectified = (similarity.relu() + similarity.clamp_max(0.0) * SLOPE).masked_fill(&padding, 0.0);
    let over_text = rectified.square().sum_dim_intlist([2i64].as_slice(), true, Kind::Float);
    let relative = &rectified * over_text.clamp_min(EPSILON * EPSILON).rsqrt();
    let relevance = (relative * temperature).masked_fill(&absent, ABSENT).softmax(-1, Kind::Float);
    let relevant = (relevance * &similarity).sum_dim_intlist([-1i64].as_slice(), false, Kind::Float);

    let of_token = (mismatch + context + relevant) * text.present.unsqueeze(0).to_kind(Kind::Float);
    let count = text.present.sum_dim_intlist([1i64].as_slice(), false, Kind::Float).clamp_min(1.0);
    of_token.sum_dim_intlist([2i64].as_slice(), false, Kind::Float) / count.unsqueeze(0)
}

/// Cosine similarity of every text token to its most similar image token, `[B, C, L]`.
pub fn max_similarities(image: &Tokens, text: &Tokens) -> Tensor {
    let (similarity, absent) = token_similarities(image, text);
    max_over_image(&similarity, &absent)
}

/// Cosine similarities of text tokens and image tokens, `[B, C, L, R]`, and a mask of absent image tokens, `[B, 1, 1, R]`.
fn token_similarities(image: &Tokens, text: &Tokens) -> (Tensor, Tensor) {
    let [images, tokens, width] = [0, 1, 2].map(|axis| image.vectors.size()[axis]);
    let [texts, length] = [0, 1].map(|axis| text.vectors.size()[axis]);
    let flat = text.vectors.reshape([texts * length, width]);
    let similarity = image.vectors.matmul(&flat.tr()).transpose(1, 2).reshape([images, texts, length, tokens]);
    (similarity, image.present.logical_not().view([images, 1, 1, tokens]))
}

fn max_over_image(similarity: &Tensor, absent: &Tensor) -> Tensor {
    similarity.masked_fill(absent, ABSENT).amax([-1i64].as_slice(), false)
}

/// Attention of a text token over the image tokens that it matches, as shares of 1; zero for a token that matches none. `similarity`:
/// `[.., R]`; `absent`: boolean, broadcast to it.
fn matched_attention(similarity: &Tensor, absent: &Tensor, temperature: f64, boundary: &Tensor) -> Tensor {
    let matched = similarity.gt_tensor(boundary).logical_and(&absent.logical_not());
    let above = ((similarity - boundary) * temperature).exp() * matched.to_kind(Kind::Float);
    &above / (above.sum_dim_intlist([-1i64].as_slice(), true, Kind::Float) + EPSILON)
}

/// Attention of each text over the tokens of its own image, mean over its tokens: `[n, R]`. `image` and `text` hold `n` each.
pub fn attention(image: &Tokens, text: &Tokens, temperature: f64, boundary: &Tensor) -> Tensor {
    let similarity = text.vectors.bmm(&image.vectors.transpose(1, 2));
    let absent = image.present.logical_not().unsqueeze(1);
    let present = text.present.unsqueeze(-1).to_kind(Kind::Float);
    let weights = matched_attention(&similarity, &absent, temperature, boundary) * &present;
    weights.sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
        / present.sum_dim_intlist([1i64].as_slice(), false, Kind::Float).clamp_min(1.0)
}
