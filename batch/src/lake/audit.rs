//! Defects of a dataset that falsify figures: patients or images in two splits, duplicate images, empty reports,
//! reports that mention earlier examinations, boxes outside their image, images that they left unread.

use std::collections::{BTreeMap, BTreeSet};

use d2r_contracts::report_text::mentions_prior;
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow, ReportRow};
use serde::Serialize;

use crate::error::Result;
use crate::lake::partition::Partition;
use crate::lake::store::Lake;

/// Kinds of issues that mix training and test data.
const LEAKS: [&str; 2] = ["patient_in_two_splits", "image_in_two_splits"];

/// A defect of the data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AuditIssue {
    /// `patient_in_two_splits`, `image_in_two_splits`, `duplicate_image`, `empty_report`, `prior_mention`,
    /// `box_outside` or `image_unread`.
    pub kind: &'static str,
    pub dataset: String,
    /// The subject, digest of an image, study, box (or its row in a label file) or image.
    pub id: String,
}

impl AuditIssue {
    /// Whether it mixes training and test data.
    pub fn is_leak(&self) -> bool {
        LEAKS.contains(&self.kind)
    }
}

/// All issues, sorted.
///
/// # Errors
/// When a table cannot be read.
pub fn audit(lake: &Lake) -> Result<Vec<AuditIssue>> {
    let mut found = Vec::new();
    for (dataset, images) in by_dataset(lake.read_all::<ImageRow>()?) {
        let issue = |kind, id: &str| AuditIssue { kind, dataset: dataset.clone(), id: id.to_owned() };
        let mut subjects: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut digests: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
        for (split, image) in &images {
            subjects.entry(&image.subject_id).or_default().insert(split);
            if let Some(digest) = &image.sha256 {
                let (splits, ids) = digests.entry(digest).or_default();
                splits.insert(split);
                ids.insert(&image.image_id);
            }
        }
        found.extend(
            subjects.iter().filter(|(_, splits)| splits.len() > 1).map(|(id, _)| issue("patient_in_two_splits", id)),
        );
        for (digest, (splits, ids)) in &digests {
            if splits.len() > 1 {
                found.push(issue("image_in_two_splits", digest));
            } else if ids.len() > 1 {
                found.push(issue("duplicate_image", digest));
            }
        }
        let sizes: BTreeMap<&str, (i32, i32)> =
            images.iter().filter_map(|(_, i)| Some((i.image_id.as_str(), (i.width?, i.height?)))).collect();
        for (_, lesions) in lake.read_all::<LesionRow>()?.into_iter().filter(|(p, _)| p.dataset == dataset) {
            for lesion in lesions {
                let Some(&(width, height)) = sizes.get(lesion.image_id.as_str()) else { continue };
                let over = lesion.x_max > width as f32 || lesion.y_max > height as f32;
                if lesion.x_min < 0.0 || lesion.y_min < 0.0 || over {
                    found.push(issue("box_outside", &lesion.box_id));
                }
            }
        }
    }
    found.extend(boxes_left_out(lake)?);
    for (partition, reports) in lake.read_all::<ReportRow>()? {
        let dataset = || partition.dataset.clone();
        for report in reports {
            if report.text_clean.trim_matches([' ', '.']).is_empty() {
                found.push(AuditIssue { kind: "empty_report", dataset: dataset(), id: report.study_id.clone() });
            }
            if mentions_prior(&report.text_clean) {
                found.push(AuditIssue { kind: "prior_mention", dataset: dataset(), id: report.study_id });
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Codes of failures that cost an image its boxes.
const UNREAD: [&str; 2] = ["box_outside", "turned_frame"];

/// Boxes that ingest left out because they are outside their image, and the images that are unread for it.
fn boxes_left_out(lake: &Lake) -> Result<Vec<AuditIssue>> {
    let mut found = Vec::new();
    let mut hit = BTreeSet::new();
    for (partition, failures) in lake.read_all::<FailureRow>()? {
        for failure in failures.into_iter().filter(|f| UNREAD.contains(&f.code.as_str())) {
            let dataset = partition.dataset.clone();
            hit.extend(failure.image_id.map(|id| (dataset.clone(), id)));
            if failure.code == "box_outside" {
                let id = failure.path.unwrap_or_default();
                found.push(AuditIssue { kind: "box_outside", dataset, id });
            }
        }
    }
    if hit.is_empty() {
        return Ok(found);
    }
    for (partition, images) in lake.read_all::<ImageRow>()? {
        let unread = images.into_iter().filter(|i| i.n_boxes.is_none());
        let keys = unread.map(|i| (partition.dataset.clone(), i.image_id)).filter(|key| hit.contains(key));
        found.extend(keys.map(|(dataset, id)| AuditIssue { kind: "image_unread", dataset, id }));
    }
    Ok(found)
}

/// Rows with their split, dataset by dataset.
fn by_dataset<R>(partitions: Vec<(Partition, Vec<R>)>) -> BTreeMap<String, Vec<(String, R)>> {
    let mut all: BTreeMap<String, Vec<(String, R)>> = BTreeMap::new();
    for (partition, rows) in partitions {
        let of = all.entry(partition.dataset).or_default();
        of.extend(rows.into_iter().map(|row| (partition.split.clone(), row)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::store::tests::{lake, provenance};
    use crate::lake::{Partition, Shard};
    use crate::test_fixtures::{self, lesion};

    fn image(id: &str, subject: &str, sha256: &str) -> ImageRow {
        ImageRow { subject_id: subject.into(), sha256: Some(sha256.into()), ..test_fixtures::image(id) }
    }

    fn kinds(lake: &Lake) -> Vec<(&'static str, String)> {
        audit(lake).unwrap().into_iter().map(|f| (f.kind, f.id)).collect()
    }

    fn write<R: d2r_contracts::rows::Row>(lake: &Lake, split: &str, rows: Vec<R>) {
        lake.write(&Partition::new("d", split), Shard::default(), rows, &provenance("t")).unwrap();
    }

    #[test]
    fn every_kind_is_found_and_nothing_else() {
        let (_folder, lake) = lake();
        write(&lake, "train", vec![image("a", "p1", "s1"), image("b", "p2", "s2"), image("c", "p2", "s2")]);
        write(&lake, "test", vec![image("d", "p1", "s4"), image("e", "p5", "s1")]);
        let report = |id: &str, text: &str| ReportRow {
            study_id: id.into(),
            section: "findings".into(),
            text: text.into(),
            text_clean: text.into(),
        };
        write(
            &lake,
            "train",
            vec![report("a", " . "), report("b", "compared to prior the heart is normal ."), report("c", "clear .")],
        );
        let found = kinds(&lake);
        let expected = [
            ("duplicate_image", "s2"),
            ("empty_report", "a"),
            ("image_in_two_splits", "s1"),
            ("patient_in_two_splits", "p1"),
            ("prior_mention", "b"),
        ];
        assert_eq!(found, expected.map(|(k, id)| (k, id.to_owned())));
        assert!(audit(&lake).unwrap().iter().any(AuditIssue::is_leak));
    }

    #[test]
    fn a_box_beyond_its_image_is_found() {
        let (_folder, lake) = lake();
        write(&lake, "train", vec![image("a", "p1", "s1")]);
        write(
            &lake,
            "train",
            vec![lesion("a", "in", 3, [1.0, 2.0, 100.0, 80.0]), lesion("a", "out", 3, [1.0, 2.0, 100.5, 80.0])],
        );
        assert_eq!(kinds(&lake), [("box_outside", "out".to_owned())]);
    }

    #[test]
    fn boxes_that_ingest_left_out_are_counted_and_so_are_the_images_without_others() {
        let (_folder, lake) = lake();
        let of = |id: &str, n_boxes| ImageRow { n_boxes, ..image(id, id, id) };
        write(&lake, "train", vec![of("a", None), of("b", Some(1)), of("c", None), of("d", None)]);
        let failure = |image: &str, path: &str, code: &str| FailureRow {
            stage: "ingest".into(),
            path: Some(path.into()),
            image_id: Some(image.into()),
            code: code.into(),
            message: "m".into(),
        };
        let rows = vec![
            failure("a", "t.csv:2", "box_outside"),
            failure("a", "t.csv:3", "box_outside"),
            failure("b", "t.csv:4", "box_outside"),
            failure("c", "c.jpg", "turned_frame"),
            failure("d", "d.png", "truncated"),
        ];
        write(&lake, "train", rows);
        let expected = [
            ("box_outside", "t.csv:2"),
            ("box_outside", "t.csv:3"),
            ("box_outside", "t.csv:4"),
            ("image_unread", "a"),
            ("image_unread", "c"),
        ];
        assert_eq!(kinds(&lake), expected.map(|(k, id)| (k, id.to_owned())));
    }

    #[test]
    fn an_empty_lake_has_nothing_to_find() {
        let (_folder, lake) = lake();
        assert!(audit(&lake).unwrap().is_empty());
    }
}
