//! Decoding: beam search, greedy decoding, sampling, token constraints, flip test-time augmentation.

pub mod beam_search;
pub mod finished_reports;
pub mod generation;
pub mod generation_options;
pub mod incremental_decoder;
pub mod sampling;
pub mod test_time_augmentation;
pub mod token_constraints;

#[cfg(test)]
mod tests;
