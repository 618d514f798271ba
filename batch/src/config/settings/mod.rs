//! The keys of configuration files, one struct per section; `presets/default.toml` documents them.
//!
//! Each section's `config` gives the complete values that its keys expand to.

pub mod annotate;
pub mod detector;
pub mod evaluate;
pub mod generate;
pub mod ingest;
pub mod number_or;
pub mod preview;
pub mod report;
pub mod run;
pub mod semi;

use d2r_phantom::PhantomConfig;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::config::RunConfig;

/// All keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub run: run::RunSettings,
    pub phantom: PhantomConfig,
    pub ingest: ingest::IngestSettings,
    pub detector: detector::DetectorSettings,
    pub semi: semi::SemiSettings,
    pub annotate: annotate::AnnotateSettings,
    pub report: report::ReportSettings,
    pub generate: generate::GenerateSettings,
    pub preview: preview::PreviewSettings,
    pub evaluate: evaluate::EvaluateSettings,
}

/// Keys with a word beside a number or a list: dotted key, word, JSON type of the other form.
pub const KEYS_WITH_A_WORD: [(&str, &str, &str); 12] = [
    ("run.threads", "all", "integer"),
    ("detector.train.schedule", "cosine", "array"),
    ("detector.train.clip_norm", "off", "number"),
    ("detector.train.rare_share", "off", "number"),
    ("semi.ignore_min", "off", "number"),
    ("semi.report_threshold", "off", "number"),
    ("semi.guard_rails", "off", "number"),
    ("annotate.threshold", "by_class", "number"),
    ("report.train.val_studies", "all", "integer"),
    ("generate.top_k", "all", "integer"),
    ("generate.block_ngram", "off", "integer"),
    ("evaluate.bootstrap_draws", "off", "integer"),
];

impl Settings {
    /// The settings of a table that holds every key.
    ///
    /// # Errors
    /// When a key is missing or unknown, or a value does not fit.
    pub fn from_table(table: &Table) -> Result<Self, toml::de::Error> {
        toml::Value::Table(table.clone()).try_into()
    }

    /// All keys and their values.
    pub fn table(&self) -> Table {
        Table::try_from(self).expect("settings that were read from TOML are TOML")
    }

    /// The complete values that these keys expand to.
    pub fn run_config(&self) -> RunConfig {
        let (log_every, accumulate) = (self.run.log_every, self.run.accumulate);
        RunConfig {
            run: self.run.config(),
            phantom: self.phantom.clone(),
            ingest: self.ingest.config(),
            detector: self.detector.config(log_every, accumulate),
            semi: self.semi.config(),
            annotate: self.annotate.config(),
            report: self.report.config(log_every, accumulate),
            generate: self.generate.config(),
            preview: self.preview.config(log_every),
            evaluate: self.evaluate.config(),
        }
    }
}
