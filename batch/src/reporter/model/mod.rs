//! The network of the report model: visual extractor, regions, R2Gen encoder and decoder.

pub mod conditional_norm;
pub mod cpca;
pub mod decoder;
pub mod encoder;
pub mod encoder_decoder;
pub mod lera;
pub mod region_encoder;
pub mod relational_memory;
pub mod report_model;
pub mod visual;
pub mod visual_extractor;

#[cfg(test)]
mod tests;
