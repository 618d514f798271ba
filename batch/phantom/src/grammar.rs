//! Reports of phantoms: FINDINGS and IMPRESSION text from what was drawn, as a radiologist dictates it (lungs,
//! pleura, heart and mediastinum, bones). Each sentence holds the lesions that it names and the labels that it
//! negates. Exact reports ([`write`]): nothing undrawn is named as present, nothing drawn is negated; nothing is uncertain
//! and no earlier examination is mentioned. Wording follows severity and place more than chance, so that a film predicts
//! it. Realistic reports ([`realistic::write`]) keep none of these promises and record what they break.

mod absent;
mod group;
mod impression;
mod phrases;
mod present;
pub mod realistic;
pub mod style;
pub mod terms;

use d2r_contracts::labels::{CHEXPERT_LABELS, LabelState, label_of_lesion, lesion_class_name};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use self::style::Sections;
use crate::lesions::{PlacedLesion, Severity, Zone};
use crate::study::Laterality;

/// What the grammar receives about one drawn lesion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// Index in the 22 labels.
    pub class_id: i32,
    /// The patient's side. For a mediastinal shift, the side that the mediastinum moves to.
    pub laterality: Laterality,
    /// Where it lies.
    pub zone: Zone,
    /// How much of it there is.
    pub severity: Severity,
    /// Drawn small.
    pub small: bool,
    /// Parts that it consists of, at least 1.
    pub multiplicity: u32,
}

impl From<&PlacedLesion> for Fact {
    fn from(placed: &PlacedLesion) -> Self {
        let PlacedLesion { class_id, laterality, zone, severity, small, multiplicity, .. } = *placed;
        Self { class_id, laterality, zone, severity, small, multiplicity }
    }
}

/// How a report treats a drawn lesion, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Mention {
    /// Stated by the name of its class or a synonym.
    #[default]
    Named,
    /// Stated without a name of its class.
    Described,
    /// Stated as possible.
    Hedged,
    /// A normal statement denies it.
    Denied,
    /// No sentence speaks of it.
    Omitted,
}

impl Mention {
    /// The word in the table `truth_mentions`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Described => "described",
            Self::Hedged => "hedged",
            Self::Denied => "denied",
            Self::Omitted => "omitted",
        }
    }
}

/// One sentence of the findings, or one item of the impression.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sentence {
    /// Capitalised, ending in a full stop, with no full stop inside: cleaning keeps it one sentence.
    pub text: String,
    /// Indices of the facts that it states, ascending; empty for a normal statement.
    pub facts: Vec<usize>,
    /// How it states them.
    pub mention: Mention,
    /// CheXpert labels that it states as positive or uncertain.
    pub asserts: Vec<(&'static str, LabelState)>,
    /// CheXpert labels that it negates.
    pub denies: &'static [&'static str],
    /// Indices of drawn facts that it says are not there, ascending; empty in exact reports.
    pub contradicts: Vec<usize>,
}

impl Sentence {
    /// A sentence that states nothing of any lesion or label.
    fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// What it states of the labels; of a label that it both asserts and negates, the assertion.
    pub fn states(&self) -> impl Iterator<Item = (&'static str, LabelState)> {
        let denied = self.denies.iter().filter(|label| self.asserts.iter().all(|(other, _)| other != *label));
        self.asserts.iter().copied().chain(denied.map(|label| (*label, LabelState::Negative)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The findings, in order; a sentence's index is its sentence id.
    pub findings: Vec<Sentence>,
    /// The impression's items.
    pub impression: Vec<Sentence>,
    /// The sections of its text as MIMIC-CXR files it.
    pub sections: Sections,
}

impl Report {
    /// The findings as one line of text.
    pub fn findings_text(&self) -> String {
        joined(&self.findings)
    }

    /// The findings, or the impression where it is all there is, as paragraphs: a heading of an organ begins one.
    pub fn paragraphs(&self) -> Vec<String> {
        let body = if self.findings.is_empty() { &self.impression } else { &self.findings };
        let headed = |_: &Sentence, next: &Sentence| !style::has_heading(&next.text);
        body.chunk_by(headed).map(joined).collect()
    }

    /// The impression as one line of text, numbered when it has several items; not where it is the only section.
    pub fn impression_text(&self) -> String {
        match self.impression.as_slice() {
            [only] => only.text.clone(),
            items if self.sections == Sections::ImpressionOnly => joined(items),
            items => {
                let numbered: Vec<String> =
                    items.iter().enumerate().map(|(i, item)| format!("{}. {}", i + 1, item.text)).collect();
                numbered.join(" ")
            }
        }
    }

    /// How the report treats a fact, over all its sentences.
    pub fn mention(&self, fact: usize) -> Mention {
        let of = |sentence: &Sentence| match () {
            () if sentence.facts.contains(&fact) => sentence.mention,
            () if sentence.contradicts.contains(&fact) => Mention::Denied,
            () => Mention::Omitted,
        };
        self.findings.iter().chain(&self.impression).map(of).min().unwrap_or(Mention::Omitted)
    }

    /// The state of the 14 CheXpert labels as the text has them, whatever was drawn: of several statements on a label,
    /// positive has precedence over uncertain, uncertain over negative. "No Finding" is positive when no sentence states
    /// an abnormality, also as possible.
    pub fn stated(&self) -> [LabelState; 14] {
        let sentences = || self.findings.iter().chain(&self.impression);
        let mut states = CHEXPERT_LABELS.map(|label| {
            let of_label = sentences().flat_map(Sentence::states).filter(|(other, _)| *other == label);
            let strongest = of_label.map(|(_, state)| state).max_by_key(|state| match state {
                LabelState::Blank => 0,
                LabelState::Negative => 1,
                LabelState::Uncertain => 2,
                LabelState::Positive => 3,
            });
            strongest.unwrap_or(LabelState::Blank)
        });
        let normal = sentences().all(|sentence| sentence.facts.is_empty() && sentence.asserts.is_empty());
        if let (true, Some(no_finding)) = (normal, states.last_mut()) {
            *no_finding = LabelState::Positive;
        }
        states
    }

    /// The state of the 14 CheXpert labels, in their order, of what was drawn: positive when a lesion of that label is
    /// drawn, negative when a sentence negates it and none is, else blank. "No Finding" is positive when nothing is drawn.
    pub fn labels(&self, facts: &[Fact]) -> [LabelState; 14] {
        let mut states = [LabelState::Blank; 14];
        for (state, label) in states.iter_mut().zip(CHEXPERT_LABELS) {
            if facts.iter().any(|f| label_of_lesion(f.class_id) == Some(label)) {
                *state = LabelState::Positive;
            } else if self.findings.iter().chain(&self.impression).any(|s| s.denies.contains(&label)) {
                *state = LabelState::Negative;
            }
        }
        if let (true, Some(no_finding)) = (facts.is_empty(), states.last_mut()) {
            *no_finding = LabelState::Positive;
        }
        states
    }
}

/// Fewest and most words of the findings.
pub const FINDINGS_WORDS: std::ops::RangeInclusive<usize> = 25..=60;

/// Writes the report of a study in which `facts` were drawn.
///
/// The same facts and the same state of `rng` give the same report. Facts of one class share a sentence.
pub fn write(facts: &[Fact], rng: &mut ChaCha8Rng) -> Report {
    let groups = group::groups(facts);
    let mut stated: Vec<Stated> = Vec::new();
    for group in &groups {
        // Drawn even where it is not used, so that a longer study takes the same draws as a shorter one.
        let sentence = present::sentence(group, pick(rng), groups.len() > CROWDED);
        stated.push(Stated { region: group.region(), keep: ALWAYS, untrue: Untrue::default(), sentence });
    }
    stated.extend(absent::statements(facts, rng));
    stated.sort_by_key(|s| s.region); // stable: the order within a region is the order of dictation
    trim(&mut stated);
    Report {
        findings: stated.into_iter().map(|s| s.sentence).collect(),
        impression: impression::items(&groups, pick(rng)),
        sections: Sections::Separate,
    }
}

/// The texts of sentences, one after the other.
fn joined(sentences: &[Sentence]) -> String {
    sentences.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// Studies with more classes than this are dictated in short sentences.
const CROWDED: usize = 4;
/// The rank of a sentence that is never left out.
const ALWAYS: u8 = 0;
/// Statements with this rank or a later one are written only when the report would be too short without them.
const FILLER: u8 = 10;

/// A sentence with its place in the dictation.
struct Stated {
    region: Region,
    /// Sentences with a high rank are left out first.
    keep: u8,
    /// What would make it untrue.
    untrue: Untrue,
    sentence: Sentence,
}

/// Lesions that make a normal statement untrue.
#[derive(Debug, Clone, Copy, Default)]
struct Untrue {
    classes: &'static [&'static str],
    /// On this side only; on any where absent.
    side: Option<Laterality>,
}

impl Untrue {
    fn is_of(&self, fact: &Fact) -> bool {
        lesion_class_name(fact.class_id).is_some_and(|name| self.classes.contains(&name))
            && self.side.is_none_or(|side| fact.laterality == side)
    }
}

/// The order of dictation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Region {
    Lungs,
    Pleura,
    Heart,
    Mediastinum,
    Bones,
}

/// Which of four wordings is used, counted from the preferred one: 60, 20, 10 and 10 of 100.
fn pick(rng: &mut ChaCha8Rng) -> usize {
    match rng.random_range(0..10u32) {
        0..6 => 0,
        6..8 => 1,
        8 => 2,
        _ => 3,
    }
}

/// The wording `offset` places after the preferred one, cyclically.
fn wording<const N: usize>(wordings: [&str; N], preferred: usize, offset: usize) -> &str {
    wordings[(preferred + offset) % N]
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Drops fillers that are not needed for the shortest length, then the least needed normal statements until the
/// longest length is kept.
fn trim(stated: &mut Vec<Stated>) {
    let length = |stated: &[Stated]| -> usize { stated.iter().map(|s| words(&s.sentence.text)).sum() };
    loop {
        let Some((last, keep)) = stated.iter().map(|s| s.keep).enumerate().max_by_key(|&(_, keep)| keep) else {
            return;
        };
        let without = length(stated) - words(&stated[last].sentence.text);
        let too_long = length(stated) > *FINDINGS_WORDS.end() && keep != ALWAYS;
        let surplus = keep >= FILLER && without >= *FINDINGS_WORDS.start();
        if !(too_long || surplus) {
            return;
        }
        stated.remove(last);
    }
}

/// The first letter in upper case.
fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests;
