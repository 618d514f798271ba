//! The targets, by what they read.

pub mod bundles;
pub mod datasets;
pub mod pixels;
pub mod settings;
pub mod texts;
