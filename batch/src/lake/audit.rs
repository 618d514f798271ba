//! Defects of a dataset that falsify figures: patients or images in two splits, duplicate images, empty reports,
//! reports that mention earlier examinations, boxes outside their image. Joins and groups are Polars'.

use d2r_contracts::report_text::mentions_prior;
use d2r_contracts::tables::ReportRow;
use polars::prelude::*;
use serde::Serialize;

use crate::error::Result;
use crate::lake::scan::polars_error;
use crate::lake::store::Lake;

/// Kinds of issues that mix training and test data.
const LEAKS: [&str; 2] = ["patient_in_two_splits", "image_in_two_splits"];

/// A defect of the data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AuditIssue {
    /// `patient_in_two_splits`, `image_in_two_splits`, `duplicate_image`, `empty_report`, `prior_mention` or
    /// `box_outside`.
    pub kind: &'static str,
    pub dataset: String,
    /// The subject, digest of an image, study or box.
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
    if let Some(images) = lake.scan("images")? {
        let splits = |by: &str| {
            images
                .clone()
                .filter(col(by).is_not_null())
                .group_by([col("dataset"), col(by)])
                .agg([col("split").n_unique().alias("splits"), col("image_id").n_unique().alias("images")])
        };
        let over = |name: &str| col(name).gt(lit(1u32));
        found.extend(rows("patient_in_two_splits", splits("subject_id").filter(over("splits")), "subject_id")?);
        found.extend(rows("image_in_two_splits", splits("sha256").filter(over("splits")), "sha256")?);
        found.extend(rows(
            "duplicate_image",
            splits("sha256").filter(over("images").and(over("splits").not())),
            "sha256",
        )?);
        if let Some(lesions) = lake.scan("lesions")? {
            let keys = [col("dataset"), col("image_id")];
            let outside = lesions
                .join(
                    images.select([col("dataset"), col("image_id"), col("width"), col("height")]),
                    keys.clone(),
                    keys,
                    JoinArgs::new(JoinType::Inner),
                )
                .filter(
                    col("x_min")
                        .lt(lit(0.0f32))
                        .or(col("y_min").lt(lit(0.0f32)))
                        .or(col("x_max").gt(col("width").cast(DataType::Float32)))
                        .or(col("y_max").gt(col("height").cast(DataType::Float32))),
                );
            found.extend(rows("box_outside", outside, "box_id")?);
        }
    }
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

/// The rows of a query as issues.
fn rows(kind: &'static str, query: LazyFrame, id: &str) -> Result<Vec<AuditIssue>> {
    let fail = |e: PolarsError| polars_error(kind, &e);
    let frame = query.select([col("dataset"), col(id)]).collect().map_err(fail)?;
    let text = |name: &str| -> Result<Vec<String>> {
        let column = frame.column(name).map_err(fail)?;
        Ok(column.str().map_err(fail)?.iter().map(|v| v.unwrap_or_default().to_owned()).collect())
    };
    let (datasets, ids) = (text("dataset")?, text(id)?);
    Ok(datasets.into_iter().zip(ids).map(|(dataset, id)| AuditIssue { kind, dataset, id }).collect())
}

#[cfg(test)]
mod tests {
    use d2r_contracts::tables::ImageRow;

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
    fn an_empty_lake_has_nothing_to_find() {
        let (_folder, lake) = lake();
        assert!(audit(&lake).unwrap().is_empty());
    }
}
