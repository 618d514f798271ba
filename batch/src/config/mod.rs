//! Configuration: the keys that a user sets, and the complete values that they expand to.
//!
//! [`resolve`] lays a preset, a file, the environment and `--set` over `presets/default.toml`, which documents every
//! key. The result is [`settings::Settings`], which expand to [`RunConfig`]: what stages, models and cards get. A value
//! without a key has one place, such as [`semi::GuardConfig::standard`].

pub mod detector;
pub mod evaluate;
pub mod generate;
pub mod ingest;
mod limits;
pub mod preview;
pub mod report;
pub mod resolve;
pub mod schema;
pub mod semi;
pub mod settings;

use serde::Serialize;

pub use resolve::{Layers, Resolved, resolve};

/// Everything that decides a run's result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunConfig {
    /// Seed, device, threads.
    pub run: Run,
    /// Phantom drawing.
    pub phantom: d2r_phantom::PhantomConfig,
    /// Reading datasets into the lake.
    pub ingest: ingest::IngestConfig,
    /// Detector model and training.
    pub detector: detector::DetectorConfig,
    /// Semi-supervised training of the detector.
    pub semi: semi::SemiConfig,
    /// Writing detections into the lake.
    pub annotate: detector::AnnotateConfig,
    /// Report model and training.
    pub report: report::ReportConfig,
    /// Writing reports.
    pub generate: generate::GenerateConfig,
    /// The preview model for the browser.
    pub preview: preview::PreviewConfig,
    /// Figures.
    pub evaluate: evaluate::EvaluateConfig,
}

/// What every stage shares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Seed of every random stream.
    pub seed: u64,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// `f32` or `bf16` (bf16 on CUDA only).
    pub precision: String,
    /// CPU threads; 0 takes all cores.
    pub threads: usize,
}

#[cfg(test)]
impl RunConfig {
    /// A preset with `key=value` pairs over it.
    pub fn of(preset: &str, set: &[&str]) -> Self {
        let set = set.iter().map(|pair| (*pair).to_owned()).collect();
        let layers = Layers { preset: Some(preset.to_owned()), set, ..Layers::default() };
        resolve(&layers).unwrap_or_else(|e| panic!("{preset}: {e}")).config
    }
}
