//! Image-text alignment (D2R-Net's LAB and GAB): a text encoder, similarity by negative-aware attention, ranking losses. Losses of
//! training only; generation does not need them.

pub mod alignment;
pub mod bert;
pub mod boundary;
pub mod negative_aware;
pub mod ranking_loss;
pub mod text_encoder;

#[cfg(test)]
mod tests;
