//! Removes sentences that compare with an earlier examination from reference reports: no image shows them.

use d2r_contracts::report_text::{mentions_prior, sentences};

use crate::config::report::PriorMentions;

/// The text that training uses, from the cleaned text; `None` for a report that is left out.
pub fn without_prior_mentions(text_clean: &str, rule: PriorMentions) -> Option<String> {
    match rule {
        PriorMentions::Keep => Some(text_clean.to_owned()),
        PriorMentions::DropReports => (!mentions_prior(text_clean)).then(|| text_clean.to_owned()),
        PriorMentions::DropSentences => {
            let all = sentences(text_clean);
            let kept: Vec<&str> = all.iter().map(|s| s.text.as_str()).filter(|s| !mentions_prior(s)).collect();
            match (kept.len() == all.len(), kept.is_empty()) {
                (true, _) => Some(text_clean.to_owned()),
                (false, true) => None,
                (false, false) => Some(kept.join(" . ") + " ."),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_about_earlier_examinations_are_left_out() {
        let text = "the heart is large . effusion is unchanged . lungs are clear .";
        let of = |rule| without_prior_mentions(text, rule);
        assert_eq!(of(PriorMentions::Keep).as_deref(), Some(text));
        assert_eq!(of(PriorMentions::DropSentences).as_deref(), Some("the heart is large . lungs are clear ."));
        assert_eq!(of(PriorMentions::DropReports), None);
        assert_eq!(without_prior_mentions("no change since the prior .", PriorMentions::DropSentences), None);
        for untouched in ["the heart is large .", "no full stop", "", "."] {
            for rule in [PriorMentions::DropSentences, PriorMentions::DropReports] {
                assert_eq!(without_prior_mentions(untouched, rule).as_deref(), Some(untouched));
            }
        }
    }
}
