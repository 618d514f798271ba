//! Rule-based report labeler: the 14 CheXpert labels, and VinDr-CXR classes of a sentence. It is neither CheXbert nor
//! the CheXpert labeler; its scores compare only with its own. Raw or cleaned text -> label states. Terms and cues are
//! in `terms`; a cue's scope is its clause.

mod clauses;
mod structured;
mod terms;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::labels::{CHEXPERT_LABELS, LabelState, lesion_class_id};

use clauses::{IS, clauses};
use structured::{structured_mentions, without_colon};
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

impl Mention {
    /// Whether two mentions have a label or a class in common.
    fn shares_subject(&self, other: &Self) -> bool {
        self.labels.iter().any(|label| other.labels.contains(label))
            || (self.class.is_some() && self.class == other.class)
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of these files are constants and tested")
}

fn mentions(clause: &str) -> Vec<Mention> {
    match clause.split_once(IS).or_else(|| without_colon(clause)) {
        Some((subject, value)) => structured_mentions(subject, value),
        None => plain_mentions(clause),
    }
}

/// The mentions of a clause without subject and value.
fn plain_mentions(clause: &str) -> Vec<Mention> {
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
        .map(|(cue, start, end)| match cue {
            // "pneumonia is difficult to exclude", not "difficult to exclude pneumonia"
            Cue::NotExcluded if !has_object(&clause[end..]) => (Cue::NotExcludedBackward, start, end),
            other => (other, start, end),
        })
        .collect();
    let mut found: Vec<(usize, usize, Mention)> = Vec::new();
    for (term, start, end) in terms {
        let state = match term.assertion {
            Assertion::None => continue,
            Assertion::Absent => LabelState::Negative,
            Assertion::Possible if is_negated(clause, &cues, start, end) => LabelState::Negative,
            Assertion::Possible => LabelState::Uncertain,
            Assertion::Present if is_not_excluded(clause, &cues, start, end) => LabelState::Uncertain,
            Assertion::Present if is_negated(clause, &cues, start, end) => LabelState::Negative,
            Assertion::Present if is_uncertain(clause, &cues, start, end) => LabelState::Uncertain,
            Assertion::Present => LabelState::Positive,
        };
        found.push((start, end, Mention { labels: term.labels, class: term.class, state }));
    }
    mark_alternatives(clause, &mut found);
    found.into_iter().map(|(_, _, mention)| mention).collect()
}

/// Whether an object follows "exclude", and no place, means or conjunction.
fn has_object(rest: &str) -> bool {
    let word = rest.trim_start().split(' ').next().unwrap_or_default();
    let other = ["on", "in", "at", "with", "by", "given", "due", "because", "from", "and", "or", "without", "as"];
    rest.starts_with(' ') && word.starts_with(char::is_alphanumeric) && !other.contains(&word)
}

/// Between two terms of which one is true.
static ALTERNATIVE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?: (?:in|at|of|within|on|with)(?: [a-z-]+){1,4})?(?:, [a-z-]+){0,2},? ?\(?(?:or|vs|and/?or)(?: [a-z0-9-]+){0,5} ?\(?$",
    )
});
/// "vs" with what stands between it and the term before.
static VERSUS: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?: [a-z-]+){0,4},? ?\(?vs\b"));

/// Both parts of "atelectasis or pneumonia" are uncertain, also where the labeler knows only one ("scar vs. artifact").
fn mark_alternatives(clause: &str, found: &mut [(usize, usize, Mention)]) {
    let stated = |mention: &Mention| matches!(mention.state, LabelState::Positive | LabelState::Uncertain);
    for i in 0..found.len() {
        let next = found.get(i + 1).map_or(clause.len(), |next| next.0);
        let between = clause.get(found[i].1..next).unwrap_or_default();
        let alternative = i + 1 < found.len() && ALTERNATIVE.is_match(between) && stated(&found[i + 1].2);
        if stated(&found[i].2) && (alternative || VERSUS.is_match(between)) {
            found[i].2.state = LabelState::Uncertain;
            if alternative {
                found[i + 1].2.state = LabelState::Uncertain;
            }
        }
    }
}

/// Whether "cannot exclude" or "cannot be excluded" is the nearest cue.
fn is_not_excluded(clause: &str, cues: &[(Cue, usize, usize)], start: usize, end: usize) -> bool {
    if !is_in_scope(clause, cues, start..end, Cue::NotExcluded, Cue::NotExcludedBackward) {
        return false;
    }
    // "no effusion and pneumonia cannot be excluded": only the pneumonia
    let between = |at: usize, cue_start: usize| clause.get(at..cue_start).unwrap_or_default();
    let direct = |gap: &str| !gap.contains(',') && !gap.contains(" and ");
    let last_forward =
        cues.iter().rfind(|&&(cue, _, e)| e <= start && matches!(cue, Cue::NotExcluded | Cue::NegationForward));
    !is_negated(clause, cues, start, end)
        || last_forward.is_some_and(|&(cue, _, _)| cue == Cue::NotExcluded)
        || cues.iter().any(|&(cue, s, _)| cue == Cue::NotExcludedBackward && s >= end && direct(between(end, s)))
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
    // "pneumonia, in particular at the base, cannot be excluded"
    let aside = gap.matches(',').count() == 2 && gap.trim_end().ends_with(',');
    !(PREDICATE.is_match(gap) || (gap.contains(',') && !list && !aside) || (singular && gap.contains(" and ")))
}

#[cfg(test)]
mod tests;
