//! Image-text alignment while the report model trains (D2R-Net's LAB and GAB): a text encoder, similarity of image tokens
//! and words with negative-aware attention, ranking losses. Writing reports needs none of it.

pub mod alignment;
pub mod bert;
pub mod boundary;
pub mod negative_aware;
pub mod ranking_loss;
pub mod text_encoder;

#[cfg(test)]
mod tests;
