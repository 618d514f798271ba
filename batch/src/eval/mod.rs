//! Evaluation: detection, text, labels, sentence-to-box links; each figure states how it was computed.

pub mod bootstrap;
pub mod detection;
pub mod figure;
pub mod links;
pub mod page;
pub mod text;
pub mod truth;
