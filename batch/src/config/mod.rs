//! Configuration: one struct per module it configures, every value in a preset, none in code.
//!
//! `presets/default.toml` documents every key and is compiled in; [`resolve`] lays a preset, a file, the
//! environment and `--set` over it. A key that the default does not have is an error with a suggestion.

pub mod detector;
pub mod evaluate;
pub mod generate;
pub mod lake_config;
pub mod preview;
pub mod report;
pub mod resolve;
pub mod schema;
pub mod semi;

use serde::{Deserialize, Serialize};

pub use resolve::{Layers, Resolved, resolve};

/// Everything that decides a run's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Seed, device, threads.
    pub run: Run,
    /// Phantom drawing.
    pub phantom: d2r_phantom::PhantomConfig,
    /// Reading datasets into the lake.
    pub ingest: lake_config::IngestConfig,
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
    /// The student for the browser.
    pub preview: preview::PreviewConfig,
    /// Figures.
    pub evaluate: evaluate::EvaluateConfig,
}

/// What every stage shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
