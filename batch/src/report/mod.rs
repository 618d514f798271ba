//! The report model: patch and region tokens, R2Gen encoder and decoder, beam search, grounding.

pub mod beam_search;
pub mod conditional_norm;
pub mod cpca;
pub mod decode_options;
pub mod decoder;
pub mod encoder;
pub mod encoder_decoder;
pub mod finished_reports;
pub mod generation;
pub mod lera;
pub mod mirror_image;
pub mod region_encoder;
pub mod relational_memory;
pub mod report_model;
pub mod sampling;
pub mod visual_extractor;
pub mod word_constraints;

#[cfg(test)]
mod parity_d2rnet_tests;
#[cfg(test)]
mod parity_decoding_tests;
