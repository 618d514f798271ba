//! Rule-based report labeler: the 14 CheXpert labels, and VinDr-CXR classes of a sentence. It is neither CheXbert nor
//! the CheXpert labeler; its scores compare only with its own. Raw or cleaned text -> label states. Terms and cues are
//! in `terms`; a cue's scope is its clause.

mod terms;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::labels::{CHEXPERT_LABELS, LabelState, lesion_class_id};

use terms::{Assertion, Cue, cues_in, terms_in};

/// Index of "No Finding" in the labels.
const NO_FINDING: usize = CHEXPERT_LABELS.len() - 1;

/// Labels of one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceLabels {
    /// States of the 14 labels; "No Finding" is always blank here.
    pub states: [LabelState; 14],
    /// VinDr-CXR classes named as present, ascending.
    pub lesion_classes: Vec<i32>,
    /// An abnormality is positive or uncertain, also one without a label (emphysema).
    pub abnormal: bool,
}

/// The states of the 14 labels in a report. Of several mentions of a label, positive has precedence over uncertain,
/// uncertain over negative. "No Finding" is positive when the text has words and no abnormality (devices do not count)
/// is positive or uncertain, else blank. All labels of an empty text are blank.
pub fn label(text: &str) -> [LabelState; 14] {
    let labels = label_sentence(text);
    let mut states = labels.states;
    if !labels.abnormal && text.chars().any(char::is_alphabetic) {
        states[NO_FINDING] = LabelState::Positive;
    }
    states
}

/// Labels of a sentence, or of several.
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

/// VinDr-CXR classes named as present, ascending.
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

/// Clause boundaries: ends of sentences (a point between digits is a decimal point) and conjunctions that end a cue's
/// scope.
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
    // A cue inside a term ("heart is not enlarged") is part of that term.
    let cues: Vec<(Cue, usize, usize)> = cues_in(clause)
        .into_iter()
        .filter(|&(_, start, end)| {
            !terms.iter().any(|&(t, s, e)| {
                matches!(t.assertion, Assertion::Absent | Assertion::Possible) && s <= start && end <= e
            })
        })
        .collect();
    let mut found: Vec<(usize, usize, Mention)> = Vec::new();
    for (term, start, end) in terms {
        let state = match term.assertion {
            Assertion::None => continue,
            Assertion::Absent => LabelState::Negative,
            Assertion::Possible if is_negated(clause, &cues, start, end) => LabelState::Negative,
            Assertion::Possible => LabelState::Uncertain,
            Assertion::Present if is_negated(clause, &cues, start, end) => LabelState::Negative,
            Assertion::Present if is_uncertain(clause, &cues, start, end) => LabelState::Uncertain,
            Assertion::Present => LabelState::Positive,
        };
        found.push((start, end, Mention { labels: term.labels, class: term.class, state }));
    }
    mark_alternatives(clause, &mut found);
    found.into_iter().map(|(_, _, mention)| mention).collect()
}

static ALTERNATIVE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^ ?(?:or|versus|vs\.?|and/or)(?: [a-z-]+){0,3} ?$"));

/// Both parts of "atelectasis or pneumonia" are uncertain.
fn mark_alternatives(clause: &str, found: &mut [(usize, usize, Mention)]) {
    for i in 1..found.len() {
        let between = clause.get(found[i - 1].1..found[i].0).unwrap_or_default();
        let both_stated =
            [i - 1, i].iter().all(|&k| matches!(found[k].2.state, LabelState::Positive | LabelState::Uncertain));
        if both_stated && ALTERNATIVE.is_match(between) {
            found[i - 1].2.state = LabelState::Uncertain;
            found[i].2.state = LabelState::Uncertain;
        }
    }
}

fn is_negated(clause: &str, cues: &[(Cue, usize, usize)], start: usize, end: usize) -> bool {
    is_in_scope(clause, cues, start..end, Cue::NegationForward, Cue::NegationBackward)
}

fn is_uncertain(clause: &str, cues: &[(Cue, usize, usize)], start: usize, end: usize) -> bool {
    is_in_scope(clause, cues, start..end, Cue::UncertaintyForward, Cue::UncertaintyBackward)
}

/// Whether the term at these bytes is in the scope of a cue of kind `forward` or `backward`.
fn is_in_scope(clause: &str, cues: &[(Cue, usize, usize)], term: Range<usize>, forward: Cue, backward: Cue) -> bool {
    cues.iter().any(|&(cue, cue_start, cue_end)| {
        let inside = term.start <= cue_start && cue_end <= term.end;
        if cue == forward {
            inside || (cue_end <= term.start && reaches_forward(&clause[cue_end..term.start], &clause[term.start..]))
        } else if cue == backward {
            let (gap, cue) = (term.end..cue_start, cue_start..cue_end);
            inside || (term.end <= cue_start && reaches_backward(&clause[gap], &clause[cue]))
        } else {
            false
        }
    })
}

/// A new subject inside a clause: "no pneumothorax, the heart is enlarged".
static NEW_SUBJECT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:,(?: and)?|\band|\bwith) (?:the|there|heart|cardiac|this|these|it)\b"));
/// Opens a new statement or the next item of a list: "no pneumothorax, small effusion".
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
    // An "or" further on closes a list; the cue's scope is the whole list.
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
