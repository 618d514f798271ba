//! What a sentence says, by the rule labeler: the bridge from evaluation's labels to grounding.

use d2r_contracts::labels::{FINDING_LABELS, FindingState};
use d2r_contracts::report_text::sides;

use crate::eval::findings_labeler::label_sentence;
use crate::report::grounding::SentenceFacts;

/// Classes, findings and sides that a sentence names.
pub fn facts(sentence: &str) -> SentenceFacts {
    let found = label_sentence(sentence);
    let stated = |s: &FindingState| matches!(s, FindingState::Positive | FindingState::Uncertain);
    let findings =
        FINDING_LABELS.iter().zip(&found.states).filter(|(_, s)| stated(s)).map(|(label, _)| *label).collect();
    SentenceFacts { classes: found.lesion_classes, findings, sides: sides(sentence) }
}
