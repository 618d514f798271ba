//! How often each label is positive, by dataset and split, beside the published share where there is one.

use std::collections::{BTreeMap, BTreeSet};

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::labels::{CHEXPERT_LABELS, LabelState};
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FindingRow, LesionRow};
use serde::Serialize;

use crate::audit::images::{Images, is_audited};
use crate::audit::issue::{Issue, Subject};
use crate::audit::kind::Kind;
use crate::audit::published_shares::{Comparable, PUBLISHED, PublishedShares, Unit};
use crate::error::Result;
use crate::lake::{Lake, Partition};

/// Images or studies below which a share is not judged.
const TOTAL_MIN: usize = 200;
/// Factor between a share and the published one from which they differ.
const FACTOR: f64 = 2.0;
/// Least difference of two shares that differ.
const DIFFERENCE_MIN: f64 = 0.01;
/// Standard errors between a share and the published one from which they differ.
const DEVIATIONS: f64 = 4.0;
/// All splits of a dataset together.
pub const ALL_SPLITS: &str = "all";

/// The share of one label in one split, or in all of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelShare {
    pub dataset: String,
    /// `train`, `val`, `test` or `all`.
    pub split: String,
    /// `images_with_box` of a lesion class, or `positive_studies` of a report label.
    pub unit: &'static str,
    pub label: String,
    pub positives: usize,
    /// Annotated images, or studies with labels.
    pub total: usize,
    /// Published share of a set that this split can be compared with.
    pub published: Option<f64>,
    /// Whether the share differs strongly from the published one.
    pub differs: bool,
}

impl LabelShare {
    pub fn share(&self) -> f64 {
        self.positives as f64 / self.total.max(1) as f64
    }
}

impl Unit {
    /// In files.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImagesWithBox => "images_with_box",
            Self::PositiveStudies => "positive_studies",
        }
    }
}

/// Images or studies with each label, and all of them.
#[derive(Debug, Clone, Default)]
struct Counted {
    positives: BTreeMap<String, usize>,
    total: usize,
}

/// Shares of all labels that occur or have a published share, by dataset, unit and split.
///
/// # Errors
/// When a table cannot be read.
pub fn label_shares(lake: &Lake, images: &Images, datasets: &[String]) -> Result<Vec<LabelShare>> {
    let mut counted: BTreeMap<(String, Unit), Vec<(String, Counted)>> = BTreeMap::new();
    let mut sets: BTreeMap<String, LabelSet> = BTreeMap::new();
    let mut add = |partition: &Partition, unit, counts: Counted| {
        if counts.total > 0 {
            let of = counted.entry((partition.dataset.clone(), unit)).or_default();
            of.push((partition.split.clone(), counts));
        }
    };
    for partition in lake.partitions(LesionRow::TABLE)?.into_iter().filter(|p| is_audited(datasets, p)) {
        let labels = lake.label_set(&partition)?;
        add(&partition, Unit::ImagesWithBox, boxes(&partition, &lake.read(&partition)?, images, &labels));
        sets.entry(partition.dataset).or_insert(labels);
    }
    for partition in lake.partitions(FindingRow::TABLE)?.into_iter().filter(|p| is_audited(datasets, p)) {
        add(&partition, Unit::PositiveStudies, studies(lake.read(&partition)?));
    }
    let layouts = lake.datasets()?;
    let mut shares = Vec::new();
    for ((dataset, unit), mut splits) in counted {
        splits.push((ALL_SPLITS.to_owned(), sum(&splits)));
        let layout = layouts.get(&dataset).map(|d| d.layout.as_str());
        let labels = match unit {
            Unit::ImagesWithBox => sets.get(&dataset).map_or_else(Vec::new, LabelSet::names),
            Unit::PositiveStudies => CHEXPERT_LABELS.map(str::to_owned).to_vec(),
        };
        // Published shares of boxes are of VinDr-CXR classes.
        let comparable = unit == Unit::PositiveStudies || sets.get(&dataset).is_none_or(LabelSet::is_vindr);
        let published = PUBLISHED.iter().find(|p| comparable && Some(p.layout) == layout && p.unit == unit);
        for label in labels {
            let occurs = splits.iter().any(|(_, c)| c.positives.contains_key(&label));
            if !occurs && published.and_then(|p| p.share(&label)).is_none() {
                continue;
            }
            for (split, counts) in &splits {
                let positives = counts.positives.get(&label).copied().unwrap_or(0);
                let published = published.filter(|p| is_comparable(p, split)).and_then(|p| p.share(&label));
                shares.push(LabelShare {
                    dataset: dataset.clone(),
                    split: split.clone(),
                    unit: unit.name(),
                    label: label.clone(),
                    positives,
                    total: counts.total,
                    published,
                    differs: published.is_some_and(|p| differs(positives, counts.total, p)),
                });
            }
        }
    }
    Ok(shares)
}

/// The shares that differ strongly from the published ones.
pub fn issues(shares: &[LabelShare]) -> Vec<Issue> {
    let issue = |share: &LabelShare| {
        let published = share.published.filter(|_| share.differs)?;
        let numbers =
            format!("{:.1} % of {}, published {:.1} %", 100.0 * share.share(), share.total, 100.0 * published);
        let subject = Subject { dataset: share.dataset.clone(), split: share.split.clone(), id: share.label.clone() };
        Some(Issue { detail: Some(numbers), ..Issue::new(Kind::LabelShare, subject) })
    };
    shares.iter().filter_map(issue).collect()
}

fn is_comparable(published: &PublishedShares, split: &str) -> bool {
    match published.comparable {
        // Ingest takes `val` from the training set where the dataset has no validation set of its own.
        Comparable::Train => split == "train" || (split == "val" && published.unit == Unit::ImagesWithBox),
        Comparable::All => split == ALL_SPLITS,
    }
}

fn differs(positives: usize, total: usize, published: f64) -> bool {
    let share = positives as f64 / total.max(1) as f64;
    let difference = (share - published).abs();
    let error = (published * (1.0 - published) / total.max(1) as f64).sqrt();
    let factor = share > FACTOR * published || share < published / FACTOR;
    total >= TOTAL_MIN && factor && difference >= DIFFERENCE_MIN && difference > DEVIATIONS * error
}

fn sum(splits: &[(String, Counted)]) -> Counted {
    let mut sum = Counted::default();
    for (_, counts) in splits {
        sum.total += counts.total;
        for (label, positives) in &counts.positives {
            *sum.positives.entry(label.clone()).or_default() += positives;
        }
    }
    sum
}

/// Annotated images with at least one annotator's box of a class; fused boxes where there are no others.
fn boxes(partition: &Partition, lesions: &[LesionRow], images: &Images, labels: &LabelSet) -> Counted {
    let mut counts = Counted::default();
    let annotated = |i: &str| images.find(partition, i).is_some_and(|i| i.row.n_boxes.is_some());
    counts.total = images.iter().filter(|i| i.partition == partition && i.row.n_boxes.is_some()).count();
    let source = if lesions.iter().any(|l| l.source == "reader") { "reader" } else { "fused" };
    let mut seen: BTreeSet<(&str, i32)> = BTreeSet::new();
    for lesion in lesions.iter().filter(|l| l.source == source && annotated(&l.image_id)) {
        if let Some(class) = labels.class_name(lesion.class_id)
            && seen.insert((&lesion.image_id, lesion.class_id))
        {
            *counts.positives.entry(class.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Studies whose reference report is positive for a label.
fn studies(findings: Vec<FindingRow>) -> Counted {
    let mut counts = Counted::default();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for row in findings.into_iter().filter(|f| f.origin == "reference") {
        if row.state == LabelState::Positive.as_str()
            && let Some(label) = CHEXPERT_LABELS.iter().find(|l| **l == row.label)
        {
            *counts.positives.entry((*label).to_owned()).or_default() += 1;
        }
        seen.insert(row.study_id);
    }
    counts.total = seen.len();
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::Shard;
    use crate::lake::store::tests::{lake, provenance};
    use crate::test_fixtures::{image, lesion};
    use d2r_contracts::tables::ImageRow;

    #[test]
    fn shares_are_counted_by_split_and_compared_with_the_published_ones() {
        let (folder, lake) = lake();
        lake.register_dataset("d", folder.path(), "vindr").unwrap();
        let name = |i: usize| format!("i{i:04}");
        let train = Partition::new("d", "train");
        let images: Vec<ImageRow> =
            (0..400).map(|i| ImageRow { n_boxes: (i < 300).then_some(0), ..image(&name(i)) }).collect();
        lake.write(&train, Shard::default(), images, &provenance("t")).unwrap();
        // Cardiomegaly in half of the annotated images (15 % are published), aortic enlargement in 20 % (20 %), one of
        // them twice; a detector's box and that of an image without annotator do not count.
        let drawn = |i: usize, class: i32, n: &str| {
            let edges = [1.0, 2.0, 30.0, 40.0];
            LesionRow { source: "reader".into(), ..lesion(&name(i), &format!("{i}-{class}-{n}"), class, edges) }
        };
        let mut lesions: Vec<LesionRow> = (0..150).map(|i| drawn(i, 3, "a")).collect();
        lesions.extend((0..60).map(|i| drawn(i, 0, "a")));
        lesions.extend([drawn(5, 0, "b"), drawn(350, 0, "a"), lesion(&name(299), "pseudo", 0, [1.0, 2.0, 3.0, 4.0])]);
        lake.write(&train, Shard::default(), lesions, &provenance("t")).unwrap();

        let shares = label_shares(&lake, &Images::read(&lake, &[]).unwrap(), &[]).unwrap();
        let of =
            |label: &str, split: &str| shares.iter().find(|s| s.label == label && s.split == split).cloned().unwrap();
        let aorta = of("Aortic enlargement", "train");
        assert_eq!((aorta.positives, aorta.total, aorta.differs), (60, 300, false));
        assert!((aorta.published.unwrap() - 0.2045).abs() < 1e-3);
        assert!(of("Cardiomegaly", "train").differs);
        assert_eq!(of("Cardiomegaly", ALL_SPLITS).published, None);
        assert!(!of("Pneumothorax", "train").differs, "0.6 % are too few to miss among 300");
        assert!(!shares.iter().any(|s| s.label == "Lung cyst"));
        let found: Vec<String> = issues(&shares).iter().map(|i| format!("{} {:?}", i.line(), i.detail)).collect();
        assert!(
            found.contains(&"label_share d/train Cardiomegaly Some(\"50.0 % of 300, published 15.3 %\")".to_owned()),
            "{found:?}"
        );
    }

    #[test]
    fn a_share_differs_by_a_factor_and_beyond_chance() {
        assert!(differs(100, 1000, 0.03) && differs(10, 1000, 0.1) && differs(0, 1000, 0.05));
        assert!(!differs(50, 1000, 0.03), "less than a factor of 2");
        assert!(!differs(4, 1000, 0.001), "less than 1 %");
        assert!(!differs(5, 199, 0.2), "too few");
        assert!(!differs(0, 200, 0.012), "as likely as not");
    }

    #[test]
    fn studies_count_once_and_generated_reports_do_not() {
        let row = |study: &str, origin: &str, label: &str, state: &str| FindingRow {
            study_id: study.into(),
            report_id: None,
            origin: origin.into(),
            label: label.into(),
            state: state.into(),
        };
        let counts = studies(vec![
            row("a", "reference", "Edema", "positive"),
            row("a", "reference", "Fracture", "negative"),
            row("b", "reference", "Edema", "uncertain"),
            row("c", "generated", "Edema", "positive"),
        ]);
        assert_eq!(counts.total, 2);
        assert_eq!(counts.positives, [("Edema".to_owned(), 1)].into());
    }
}
