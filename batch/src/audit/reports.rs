//! Reports that teach nothing, or something that one study cannot show.

use d2r_contracts::report_text::mentions_prior;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::ReportRow;

use crate::audit::images::{is_audited, subject};
use crate::audit::issue::Issue;
use crate::audit::kind::Kind;
use crate::error::Result;
use crate::lake::Lake;

/// Empty reports and mentions of earlier examinations.
///
/// # Errors
/// When the table cannot be read.
pub fn issues(lake: &Lake, datasets: &[String]) -> Result<Vec<Issue>> {
    let mut found = Vec::new();
    for partition in lake.partitions(ReportRow::TABLE)?.into_iter().filter(|p| is_audited(datasets, p)) {
        for report in lake.read::<ReportRow>(&partition)? {
            let mut add = |kind| found.push(Issue::new(kind, subject(&partition, &report.study_id)));
            if report.text_clean.trim_matches([' ', '.']).is_empty() {
                add(Kind::EmptyReport);
            }
            if mentions_prior(&report.text_clean) {
                add(Kind::PriorMention);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::store::tests::{lake, provenance};
    use crate::lake::{Partition, Shard};

    #[test]
    fn empty_and_comparing_reports_are_found() {
        let (_folder, lake) = lake();
        let report = |id: &str, text: &str| ReportRow {
            study_id: id.into(),
            section: "findings".into(),
            text: text.into(),
            text_clean: text.into(),
        };
        let rows =
            vec![report("a", " . "), report("b", "compared to prior the heart is normal ."), report("c", "clear .")];
        lake.write(&Partition::new("d", "train"), Shard::default(), rows, &provenance("t")).unwrap();
        let found: Vec<String> = issues(&lake, &[]).unwrap().iter().map(Issue::line).collect();
        assert_eq!(found, ["empty_report d/train a", "prior_mention d/train b"]);
        assert!(issues(&lake, &["other".to_owned()]).unwrap().is_empty());
    }
}
