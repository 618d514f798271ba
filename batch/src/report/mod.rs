//! The report model: patch and region tokens, R2Gen encoder and decoder, beam search, grounding.

pub mod beam_search;
pub mod conditional_norm;
pub mod cpca;
pub mod decoder;
pub mod encoder;
pub mod encoder_decoder;
pub mod lera;
pub mod region_encoder;
pub mod relational_memory;
pub mod report_model;
pub mod visual_extractor;

#[cfg(test)]
mod parity_d2rnet_tests;
