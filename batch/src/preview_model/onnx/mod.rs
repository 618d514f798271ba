//! Export of the preview model as ONNX graphs.

pub mod functions;
pub mod graphs;
pub mod writer;
