//! What makes figures lie: patients in two splits, the same film twice, empty reports, reports that speak of earlier
//! examinations, boxes outside their film. Joins and groups are Polars'.

use d2r_contracts::report_text::mentions_prior;
use d2r_contracts::tables::ReportRow;
use polars::prelude::*;
use serde::Serialize;

use crate::error::Result;
use crate::lake::scan::polars_error;
use crate::lake::store::Lake;

/// Kinds of findings that make every figure on the lake worthless.
const LEAKS: [&str; 2] = ["patient_in_two_splits", "film_in_two_splits"];

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AuditIssue {
    /// `patient_in_two_splits`, `film_in_two_splits`, `film_twice`, `empty_report`, `prior_mention` or `box_outside`.
    pub kind: &'static str,
    /// The dataset.
    pub dataset: String,
    /// The subject, image, study or box.
    pub id: String,
}

impl AuditIssue {
    /// Whether training and test are mixed.
    pub fn is_leak(&self) -> bool {
        LEAKS.contains(&self.kind)
    }
}

/// All findings, sorted.
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
                .agg([col("split").n_unique().alias("splits"), col("image_id").n_unique().alias("films")])
        };
        let over = |name: &str| col(name).gt(lit(1u32));
        found.extend(rows("patient_in_two_splits", splits("subject_id").filter(over("splits")), "subject_id")?);
        found.extend(rows("film_in_two_splits", splits("sha256").filter(over("splits")), "sha256")?);
        found.extend(rows("film_twice", splits("sha256").filter(over("films").and(over("splits").not())), "sha256")?);
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

/// The rows of a query as findings.
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
    use d2r_contracts::tables::{ImageRow, LesionRow};

    use super::*;
    use crate::lake::store::tests::{lake, provenance};
    use crate::lake::{Partition, Shard};

    fn image(id: &str, subject: &str, sha256: &str) -> ImageRow {
        ImageRow {
            image_id: id.into(),
            study_id: id.into(),
            subject_id: subject.into(),
            view: "PA".into(),
            path: format!("{id}.png"),
            width: Some(100),
            height: Some(80),
            sha256: Some(sha256.into()),
            n_boxes: None,
        }
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
            ("empty_report", "a"),
            ("film_in_two_splits", "s1"),
            ("film_twice", "s2"),
            ("patient_in_two_splits", "p1"),
            ("prior_mention", "b"),
        ];
        assert_eq!(found, expected.map(|(k, id)| (k, id.to_owned())));
        assert!(audit(&lake).unwrap().iter().any(AuditIssue::is_leak));
    }

    #[test]
    fn a_box_beyond_its_film_is_found() {
        let (_folder, lake) = lake();
        write(&lake, "train", vec![image("a", "p1", "s1")]);
        let lesion = |id: &str, x_max: f32| LesionRow {
            image_id: "a".into(),
            box_id: id.into(),
            class_name: "Cardiomegaly".into(),
            class_id: 3,
            x_min: 1.0,
            y_min: 2.0,
            x_max,
            y_max: 80.0,
            score: 1.0,
            source: "fused".into(),
            reader_id: None,
            n_readers: Some(1),
            std_x_min: None,
            std_y_min: None,
            std_x_max: None,
            std_y_max: None,
            student_iou: None,
            accepted: true,
            threshold: None,
            model_sha256: None,
        };
        write(&lake, "train", vec![lesion("in", 100.0), lesion("out", 100.5)]);
        assert_eq!(kinds(&lake), [("box_outside", "out".to_owned())]);
    }

    #[test]
    fn an_empty_lake_has_nothing_to_find() {
        let (_folder, lake) = lake();
        assert!(audit(&lake).unwrap().is_empty());
    }
}
