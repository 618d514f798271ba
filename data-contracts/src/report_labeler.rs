//! A rule labeler for the 14 CheXpert labels, and for VinDr-CXR classes in a sentence. It is not CheXbert and not
//! the CheXpert labeler: its figures compare only with its own.
//! Text (raw or cleaned) in, states out. Terms and cues are in `labeler_terms`; a cue reaches within its clause.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::labels::{CHEXPERT_LABELS, LabelState, lesion_class_id};
use regex::Regex;

use crate::labeler_terms::{Cue, Says, cues_in, terms_in};

/// Index of "No Finding" in the labels.
const NO_FINDING: usize = CHEXPERT_LABELS.len() - 1;

/// What one sentence says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceLabels {
    /// States of the 14 labels; "No Finding" is always blank here.
    pub states: [LabelState; 14],
    /// VinDr-CXR classes named as present, ascending.
    pub lesion_classes: Vec<i32>,
    /// Something is named as present or possible, also where no label fits it (emphysema).
    pub abnormal: bool,
}

/// The states of the 14 labels in a report: what is once stated as present is positive, else what is once doubted
/// is uncertain, else what is once denied is negative. "No Finding" is positive when a text with words states and
/// doubts nothing (devices aside), else blank. An empty text is blank throughout.
pub fn label(text: &str) -> [LabelState; 14] {
    let findings = label_sentence(text);
    let mut states = findings.states;
    if !findings.abnormal && text.chars().any(char::is_alphabetic) {
        states[NO_FINDING] = LabelState::Positive;
    }
    states
}

/// What a sentence (or several) says.
pub fn label_sentence(text: &str) -> SentenceLabels {
    let mut states = [LabelState::Blank; 14];
    let mut classes = BTreeSet::new();
    let mut abnormal = false;
    for clause in clauses(text) {
        for mention in mentions(&clause) {
            let (labels, class, state) = (mention.labels, mention.class, mention.state);
            for (slot, name) in states.iter_mut().zip(CHEXPERT_LABELS) {
                if labels.contains(&name) {
                    *slot = stronger(*slot, state);
                }
            }
            let device = labels.contains(&"Support Devices");
            abnormal |= !device && matches!(state, LabelState::Positive | LabelState::Uncertain);
            if state == LabelState::Positive {
                classes.extend(class.and_then(lesion_class_id));
            }
        }
    }
    SentenceLabels { states, lesion_classes: classes.into_iter().collect(), abnormal }
}

/// VinDr-CXR classes that a sentence names as present, ascending.
pub fn lesion_classes_in(sentence: &str) -> Vec<i32> {
    label_sentence(sentence).lesion_classes
}

fn stronger(a: LabelState, b: LabelState) -> LabelState {
    let rank = |s| match s {
        LabelState::Blank => 0,
        LabelState::Negative => 1,
        LabelState::Uncertain => 2,
        LabelState::Positive => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// A term in a clause with its state after cues.
struct Mention {
    labels: &'static [&'static str],
    class: Option<&'static str>,
    state: LabelState,
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this file are constants and tested")
}

/// Ends of sentences (a point between digits is a decimal point) and words that turn the sense of a sentence.
static BREAK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"[!?;]|\.(?:\s|$)|\.\b|\s\.|\b(?:but|however|although|though|whereas|while|yet|except(?: for)?|aside from|apart from|other than|with the exception of|otherwise|which|there (?:is|are|has been|remains?))\b",
    )
});
static DECIMAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\d)\.(\d)"));

/// Lower-case clauses with single blanks.
fn clauses(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let joined = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    let joined = DECIMAL.replace_all(&joined, "$1 $2");
    BREAK.split(&joined).map(|c| c.trim().to_owned()).filter(|c| !c.is_empty()).collect()
}

fn mentions(clause: &str) -> Vec<Mention> {
    let terms = terms_in(clause);
    if terms.is_empty() {
        return Vec::new();
    }
    // A cue inside a normal statement ("heart is not enlarged") belongs to it.
    let cues: Vec<(Cue, usize, usize)> = cues_in(clause)
        .into_iter()
        .filter(|&(_, start, end)| {
            !terms.iter().any(|&(t, s, e)| matches!(t.says, Says::Absent | Says::Possible) && s <= start && end <= e)
        })
        .collect();
    let mut found: Vec<(usize, usize, Mention)> = Vec::new();
    for (term, start, end) in terms {
        let state = match term.says {
            Says::Nothing => continue,
            Says::Absent => LabelState::Negative,
            Says::Possible if denied(clause, &cues, start, end) => LabelState::Negative,
            Says::Possible => LabelState::Uncertain,
            Says::Present if denied(clause, &cues, start, end) => LabelState::Negative,
            Says::Present if doubted(clause, &cues, start, end) => LabelState::Uncertain,
            Says::Present => LabelState::Positive,
        };
        found.push((start, end, Mention { labels: term.labels, class: term.class, state }));
    }
    doubt_alternatives(clause, &mut found);
    found.into_iter().map(|(_, _, mention)| mention).collect()
}

static ALTERNATIVE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^ ?(?:or|versus|vs\.?|and/or)(?: [a-z-]+){0,3} ?$"));

/// "atelectasis or pneumonia" states neither.
fn doubt_alternatives(clause: &str, found: &mut [(usize, usize, Mention)]) {
    for i in 1..found.len() {
        let between = clause.get(found[i - 1].1..found[i].0).unwrap_or_default();
        let both_positive =
            [i - 1, i].iter().all(|&k| matches!(found[k].2.state, LabelState::Positive | LabelState::Uncertain));
        if both_positive && ALTERNATIVE.is_match(between) {
            found[i - 1].2.state = LabelState::Uncertain;
            found[i].2.state = LabelState::Uncertain;
        }
    }
}

fn denied(clause: &str, cues: &[(Cue, usize, usize)], start: usize, end: usize) -> bool {
    reached(clause, cues, (start, end), Cue::DeniesAfter, Cue::DeniesBefore)
}

fn doubted(clause: &str, cues: &[(Cue, usize, usize)], start: usize, end: usize) -> bool {
    reached(clause, cues, (start, end), Cue::DoubtsAfter, Cue::DoubtsBefore)
}

fn reached(clause: &str, cues: &[(Cue, usize, usize)], (start, end): (usize, usize), after: Cue, before: Cue) -> bool {
    cues.iter().any(|&(cue, cue_start, cue_end)| {
        let inside = start <= cue_start && cue_end <= end;
        if cue == after {
            inside || (cue_end <= start && reaches_forward(&clause[cue_end..start], &clause[start..]))
        } else if cue == before {
            inside || (end <= cue_start && reaches_backward(&clause[end..cue_start], &clause[cue_start..cue_end]))
        } else {
            false
        }
    })
}

/// A new statement inside a clause: "no pneumothorax, the heart is enlarged".
static NEW_SUBJECT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:,(?: and)?|\band|\bwith) (?:the|there|heart|cardiac|this|these|it)\b"));
/// May open a new statement after a comma, or an item of the list: "no pneumothorax, small effusion".
static NEW_ITEM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:,|\band|\bwith),? ?(?:an?|small|large|moderate|mild|minimal|trace|tiny|stable|persistent|unchanged|left|right|bilateral|bibasilar|patchy|new|interval|known)\b",
    )
});
static OR: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(?:or|nor)\b"));
static PREDICATE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b(?:is|are|was|were|has|have|remains?|appears?|represents?)\b"));

/// Whether a cue reaches over `gap` to the term at the start of `rest`.
fn reaches_forward(gap: &str, rest: &str) -> bool {
    // The term's own first words can be the new subject: "no pneumothorax, heart is enlarged".
    let near = format!("{gap}{}", rest.split(' ').next().unwrap_or_default());
    if NEW_SUBJECT.is_match(&near) {
        return false;
    }
    let Some(item) = NEW_ITEM.find(gap) else { return true };
    // An "or" further on closes a list, which the cue governs as a whole.
    OR.is_match(&gap[item.start()..]) || OR.is_match(rest)
}

/// Whether a cue after `gap` reaches back to the term before it.
fn reaches_backward(gap: &str, cue: &str) -> bool {
    let singular = ["is ", "was ", "has "].iter().any(|verb| cue.starts_with(verb));
    let list = OR.is_match(gap) || gap.contains(" and ");
    !(PREDICATE.is_match(gap) || (gap.contains(',') && !list) || (singular && gap.contains(" and ")))
}

#[cfg(test)]
mod tests;
