//! Browser side of D2R: the preview model on tract, natively and in WebAssembly. No image leaves the machine.
//!
//! [`session::PreviewSession`] runs a bundle's graphs on radiographs that the batch job's own code decodes and
//! preprocesses; [`bindings`] is its interface for JavaScript. Research software, not a medical device.

mod attention;
pub mod beam_search;
pub mod bindings;
pub mod bundle;
mod card_limits;
pub mod detections;
pub mod error;
pub mod graph;
mod graph_limits;
mod graph_names;
mod layer_norm;
pub mod onnx_ops;
pub mod sample_bundle;
pub mod session;

/// Research-use notice, shown wherever results are.
pub const NOTICE: &str = "Research software, not a medical device. Not for diagnosis.";
