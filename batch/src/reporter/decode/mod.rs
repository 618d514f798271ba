//! Decoding: beam search, greedy decoding, sampling, word constraints, flip test-time augmentation.

pub mod beam_search;
pub mod decode_options;
pub mod finished_reports;
pub mod generation;
pub mod sampling;
pub mod test_time_augmentation;
pub mod word_constraints;

#[cfg(test)]
mod tests;
