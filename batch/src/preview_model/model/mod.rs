//! The network of the preview model.

pub mod decoder;
pub mod frozen;
pub mod mobile_encoder;
pub mod preview_model;
