//! Import of published weights from safetensors files: names are mapped to variables, strictly. Missing and surplus
//! tensors and other shapes are errors that name them.

pub mod bert_names;
pub mod detector_names;
pub mod import;
pub mod initial_weights;
pub mod r2gen_names;
