//! One figure with everything that is said of it: in the lake, on the page, in a summary.

use d2r_contracts::tables::MetricRow;

use crate::eval::bootstrap::Interval;
use crate::eval::page::html_report::FigureRow;

/// A figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// `detector`, `reports` or `links`.
    pub stage: &'static str,
    /// For instance `bleu4`.
    pub metric: String,
    /// As people call it.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Its 95 % bootstrap interval.
    pub interval: Option<Interval>,
    /// What it is compared with, and that figure.
    pub baseline: Option<(String, f64)>,
    /// Images, reports or links that it rests on.
    pub n: usize,
    /// How it was computed.
    pub signature: String,
    /// Shown large on the page.
    pub headline: bool,
}

impl Figure {
    /// A figure without interval and baseline.
    pub fn new(stage: &'static str, metric: &str, name: &str, value: f64, n: usize, signature: String) -> Self {
        let (metric, name) = (metric.to_owned(), name.to_owned());
        Self { stage, metric, name, value, interval: None, baseline: None, n, signature, headline: false }
    }

    /// With its interval.
    pub fn with_interval(self, interval: Option<Interval>) -> Self {
        Self { interval, ..self }
    }

    /// With what it is compared with.
    pub fn against(self, name: &str, value: f64) -> Self {
        Self { baseline: Some((name.to_owned(), value)), ..self }
    }

    /// Shown large on the page.
    pub fn as_headline(self) -> Self {
        Self { headline: true, ..self }
    }

    /// The row of the `metrics` table.
    pub fn metric_row(&self, run_id: &str) -> MetricRow {
        MetricRow {
            run_id: run_id.to_owned(),
            stage: self.stage.to_owned(),
            metric: self.metric.clone(),
            signature: self.signature.clone(),
            value: self.value,
            ci_low: self.interval.map(|i| i.low),
            ci_high: self.interval.map(|i| i.high),
            n: self.n as i64,
        }
    }

    /// The row on the page.
    pub fn page_row(&self) -> FigureRow {
        FigureRow {
            name: self.name.clone(),
            value: self.value,
            interval: self.interval.map(|i| (i.low, i.high)),
            baseline: self.baseline.clone(),
            n: self.n as i64,
            signature: self.signature.clone(),
            headline: self.headline,
        }
    }
}
