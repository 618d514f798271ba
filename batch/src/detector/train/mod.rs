//! Supervised training of the detectors.

#[cfg(test)]
pub(crate) mod fixtures;
pub mod supervised;
