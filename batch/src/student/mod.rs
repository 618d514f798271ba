//! The student: a small report model for the browser. A mobile encoder with a centre-point head for boxes and a
//! label head, a small pre-norm decoder, and the two ONNX graphs that they become.

pub mod augmentation;
pub mod distillation;
pub mod frozen;
pub mod mobile_encoder;
pub mod onnx_functions;
pub mod onnx_graphs;
pub mod onnx_writer;
pub mod student_batch;
pub mod student_decoder;
pub mod student_model;
pub mod targets;

#[cfg(test)]
mod parity_tests;
