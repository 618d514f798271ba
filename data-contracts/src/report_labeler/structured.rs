//! Statements of a subject and a value: "Pneumothorax : none", "Heart : normal", "Effusion : small".

use std::sync::LazyLock;

use regex::Regex;

use crate::labels::LabelState;

use super::terms::{Assertion, Cue, FULLY, SEEN, cues_in, terms_in};
use super::{Mention, mentions, pattern, plain_mentions};

/// Values that deny the subject.
static NEGATIVE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        &r"^(?:is |are |was |were |has |have |been )*(?:none|nil|no|negative|neg|absent|absence|denied|unlikely|excluded|ruled out|resolved|removed|without|normal|unremarkable|clear|intact|sharp|within normal limits|not(?: clearly| definitely| well| currently)? {seen}|n|0)(?:$|[ ,.()])"
            .replace("{seen}", SEEN),
    )
});
/// Values that deny the subject of one side and state it of the other.
static ONE_SIDE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^[^,]+,(?: and)? (?:but )?(?:an? )?(?:small|tiny|trace|minimal|mild|moderate|large|severe|present|yes|positive)\b",
    )
});
/// Values that begin as one and deny nothing.
static UNCHANGED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:no|without)(?: (?:significant|interval|definite|appreciable|substantial|obvious|further|large|major))* (?:change|changes|changed|improvement|worsening|progression|increase|decrease)",
    )
});
/// Values that say nothing about the subject.
static NOT_ASSESSED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:(?:is |are )?(?:not|cannot|could not|incompletely|poorly|suboptimally|inadequately)(?: (?:well|fully|adequately|completely|reliably|be))* (?:assessed|evaluated|applicable|determined|imaged|included)|n ?/ ?a\b|n\.a)",
    )
});
/// Values that make the subject possible.
static UNCERTAIN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        &r"^(?:is |are |may |might |could )*(?:possibl[ey]|probabl[ey]|likely|maybe|be\b|questionable|equivocal|indeterminate|suspected|suspicious|uncertain|unclear|borderline|presumed|considered?|rule out|(?:cannot|could not|difficult to|hard to|not|unable to){fully} (?:excluded?|ruled? out))"
            .replace("{fully}", FULLY),
    )
});
/// A word of a value that calls the subject's organ healthy ("fracture : the bones are intact").
static HEALTHY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b(?:intact|unremarkable|normal|clear|sharp|within normal limits)\b"));
/// The first word of a value that is complete by itself.
static ANSWER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:none|nil|no|negative|neg|absent|yes|positive|present)(?: ?[,.(]|$)"));
/// The last word of a statement whose colon was lost in text cleaning.
static LAST_WORD: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(.+[a-z]) (none|nil|no|absent|negative|neg)$"));

/// Words beside terms in a subject that is nothing but a heading.
const BESIDE: [&str; 22] = [
    "and",
    "or",
    "the",
    "of",
    "any",
    "acute",
    "focal",
    "new",
    "evidence",
    "presence",
    "sign",
    "signs",
    "left",
    "right",
    "bilateral",
    "lung",
    "lungs",
    "pulmonary",
    "suspicious",
    "definite",
    "large",
    "small",
];

/// A statement without a colon as subject and value ("pleural effusion none").
pub(super) fn without_colon(clause: &str) -> Option<(&str, &str)> {
    let parts = LAST_WORD.captures(clause)?;
    let (subject, value) = (parts.get(1)?.as_str(), parts.get(2)?.as_str());
    (is_heading(subject) && !terms_in(subject).is_empty()).then_some((subject, value))
}

/// The mentions of a statement.
pub(super) fn structured_mentions(subject: &str, value: &str) -> Vec<Mention> {
    let joined = format!("{subject} {value}");
    // "heart : normal", "lungs : clear"
    let crosses = |start: usize, end: usize| start < subject.len() && end > subject.len();
    if terms_in(&joined).iter().any(|&(t, start, end)| t.assertion != Assertion::None && crosses(start, end)) {
        return plain_mentions(&joined);
    }
    let own = plain_mentions(subject);
    if own.is_empty() {
        // "no evidence of : pneumothorax, effusion"
        let forward = |cue: Cue| matches!(cue, Cue::NegationForward | Cue::UncertaintyForward | Cue::NotExcluded);
        let open = cues_in(subject).iter().any(|&(cue, _, end)| forward(cue) && end == subject.len());
        return if open { plain_mentions(&joined) } else { mentions(value) };
    }
    let inner = mentions(&ANSWER.replace(value, ""));
    let heading = is_heading(subject);
    let shared = |mention: &Mention| inner.iter().any(|other| mention.shares_subject(other));
    let denied = inner.iter().all(|other| other.state == LabelState::Negative);
    let mut found = Vec::new();
    for mention in own {
        let healthy = heading && inner.is_empty() && HEALTHY.is_match(value);
        let state = if mention.state == LabelState::Negative {
            LabelState::Negative
        } else if NOT_ASSESSED.is_match(value) {
            continue;
        } else if inner.is_empty() && UNCERTAIN.is_match(value) {
            LabelState::Uncertain
        } else if healthy
            || (NEGATIVE.is_match(value)
                && !UNCHANGED.is_match(value)
                && !(inner.is_empty() && ONE_SIDE.is_match(value))
                && (inner.is_empty() || heading || shared(&mention)))
        {
            LabelState::Negative
        } else if heading && !inner.is_empty() && (denied || shared(&mention)) {
            // The value decides.
            continue;
        } else {
            mention.state
        };
        found.push(Mention { state, ..mention });
    }
    found.extend(inner);
    found
}

/// Whether a subject has no words but terms and those beside them.
fn is_heading(subject: &str) -> bool {
    let mut rest = subject.to_owned();
    for &(_, start, end) in terms_in(subject).iter().rev() {
        rest.replace_range(start..end, " ");
    }
    let mut words = rest.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.all(|word| BESIDE.contains(&word))
}
