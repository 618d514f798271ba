//! The preview model: a small report model for the browser. A mobile encoder with a centre-point head for boxes and a
//! label head, a small pre-norm decoder, distillation, and the two ONNX graphs.

pub mod card;
pub mod distill;
pub mod model;
pub mod onnx;

#[cfg(test)]
mod tests;
