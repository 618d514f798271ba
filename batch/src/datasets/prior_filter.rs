//! Removes sentences that compare with an earlier examination from reference reports: no image shows them.

use d2r_contracts::report_text::{mentions_prior, sentences_with_source};
use d2r_contracts::tables::ReportRow;

use crate::config::report::PriorMentions;

/// The report that training uses: both its texts without sentences that are left out. `None` for a report that is left
/// out.
pub fn without_prior_mentions(report: ReportRow, rule: PriorMentions) -> Option<ReportRow> {
    match rule {
        PriorMentions::Keep => Some(report),
        PriorMentions::DropReports => (!mentions_prior(&report.text_clean)).then_some(report),
        PriorMentions::DropSentences => {
            let all = sentences_with_source(&report.text_clean, &report.text);
            let kept: Vec<_> = all.iter().filter(|(sentence, _)| !mentions_prior(&sentence.text)).collect();
            if kept.len() == all.len() {
                return Some(report);
            }
            if kept.is_empty() {
                return None;
            }
            let cleaned: Vec<&str> = kept.iter().map(|(sentence, _)| sentence.text.as_str()).collect();
            let sources: Vec<&str> = kept.iter().map(|(_, source)| source.as_str()).collect();
            Some(ReportRow { text_clean: cleaned.join(" . ") + " .", text: sources.join("\n\n"), ..report })
        }
    }
}

#[cfg(test)]
mod tests {
    use d2r_contracts::report_text::{CleaningRules, clean};

    use super::*;

    fn report(text: &str) -> ReportRow {
        let text_clean = clean(text, CleaningRules::MimicCxr);
        ReportRow { study_id: "s".into(), section: "findings".into(), text: text.into(), text_clean }
    }

    #[test]
    fn sentences_about_earlier_examinations_are_left_out() {
        let text = "1. The heart is large. Effusion is\nunchanged. Opacities/nodules.";
        let of = |rule| without_prior_mentions(report(text), rule);
        assert_eq!(of(PriorMentions::Keep), Some(report(text)));
        let kept = of(PriorMentions::DropSentences).unwrap();
        assert_eq!(kept.text_clean, "the heart is large . opacitiesnodules .");
        assert_eq!(kept.text, "The heart is large.\n\nOpacities/nodules.");
        assert_eq!(of(PriorMentions::DropReports), None);
        assert_eq!(without_prior_mentions(report("No change since the prior."), PriorMentions::DropSentences), None);
        for untouched in ["The heart is large.", "no full stop", "", "."] {
            for rule in [PriorMentions::DropSentences, PriorMentions::DropReports] {
                assert_eq!(without_prior_mentions(report(untouched), rule), Some(report(untouched)));
            }
        }
    }
}
