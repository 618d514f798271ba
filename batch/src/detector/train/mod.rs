//! Supervised training of the detectors.

pub mod supervised;
