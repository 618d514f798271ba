//! Weights of others in safetensors form: names are mapped to ours, and what is missing, surplus or of another shape is
//! said, not guessed.

pub mod bert_names;
pub mod detector_names;
pub mod import;
pub mod r2gen_names;
