//! A figure of an evaluation: a row of the table `metrics` and of the page. Its signature states how it was computed, so
//! that two figures are compared only when they may be.

use d2r_contracts::tables::MetricRow;

use crate::eval::bootstrap::Interval;
use crate::eval::page::html_report::FigureRow;

/// A figure, its uncertainty and its origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// `detector`, `reports` or `links`.
    pub stage: &'static str,
    /// For instance `bleu4`.
    pub metric: String,
    /// For people, for instance `BLEU-4`.
    pub name: String,
    pub value: f64,
    /// 95 % bootstrap interval.
    pub interval: Option<Interval>,
    /// Name and value of what it is compared with.
    pub baseline: Option<(String, f64)>,
    /// Number of images, reports or links behind it.
    pub n: usize,
    /// `metric|key:value|..|d2r:version`, for instance `bleu4|ref:full|tok:space|d2r:0.1.0`.
    pub signature: String,
    /// Whether the page shows it in large type.
    pub headline: bool,
}

impl Figure {
    /// A figure without interval and baseline. `how`: keys and values of its signature.
    pub fn new(stage: &'static str, metric: &str, name: &str, value: f64, n: usize, how: &[(&str, &str)]) -> Self {
        let signature = signature(metric, how);
        let (metric, name) = (metric.to_owned(), name.to_owned());
        Self { stage, metric, name, value, interval: None, baseline: None, n, signature, headline: false }
    }

    pub fn with_interval(self, interval: Option<Interval>) -> Self {
        Self { interval, ..self }
    }

    /// Adds the baseline.
    pub fn against(self, name: &str, value: f64) -> Self {
        Self { baseline: Some((name.to_owned(), value)), ..self }
    }

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

fn signature(metric: &str, how: &[(&str, &str)]) -> String {
    let mut line = metric.to_owned();
    for (key, value) in how {
        line.push_str(&format!("|{key}:{value}"));
    }
    line + "|d2r:" + env!("CARGO_PKG_VERSION")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_in_order_and_the_version_last() {
        let expected = format!("bleu4|ref:full|tok:space|d2r:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(signature("bleu4", &[("ref", "full"), ("tok", "space")]), expected);
    }
}
