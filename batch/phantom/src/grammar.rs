//! Reports of phantoms: FINDINGS and IMPRESSION text from what was drawn, as a radiologist dictates it (lungs,
//! pleura, heart and mediastinum, bones). Each sentence holds the lesions that it names and the labels that it
//! negates. Nothing undrawn is named as present, nothing drawn is negated; nothing is uncertain and no earlier
//! examination is mentioned. Wording follows severity and place more than chance, so that a film predicts it.

mod absent;
mod group;
mod impression;
mod present;
pub mod terms;

use d2r_contracts::labels::{CHEXPERT_LABELS, LabelState, label_of_lesion};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

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

/// One sentence of the findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// Capitalised, ending in a full stop, with no full stop inside: cleaning keeps it one sentence.
    pub text: String,
    /// Indices of the facts that it states, ascending; empty for a normal statement.
    pub facts: Vec<usize>,
    /// CheXpert labels that it negates.
    pub denies: &'static [&'static str],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The findings, in order; a sentence's index is its sentence id.
    pub findings: Vec<Sentence>,
    /// The impression's items, each ending in a full stop.
    pub impression: Vec<String>,
}

impl Report {
    /// The findings as one line of text.
    pub fn findings_text(&self) -> String {
        let sentences: Vec<&str> = self.findings.iter().map(|s| s.text.as_str()).collect();
        sentences.join(" ")
    }

    /// The impression as one line of text, numbered when it has several items.
    pub fn impression_text(&self) -> String {
        match self.impression.as_slice() {
            [only] => only.clone(),
            items => {
                let numbered: Vec<String> = items.iter().enumerate().map(|(i, t)| format!("{}. {t}", i + 1)).collect();
                numbered.join(" ")
            }
        }
    }

    /// The state of the 14 CheXpert labels, in their order: positive when a lesion of that label is drawn,
    /// negative when a sentence negates it, else blank. "No Finding" is positive when nothing is drawn.
    pub fn labels(&self, facts: &[Fact]) -> [LabelState; 14] {
        let mut states = [LabelState::Blank; 14];
        for (state, label) in states.iter_mut().zip(CHEXPERT_LABELS) {
            if facts.iter().any(|f| label_of_lesion(f.class_id) == Some(label)) {
                *state = LabelState::Positive;
            } else if self.findings.iter().any(|s| s.denies.contains(&label)) {
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
        stated.push(Stated { region: group.region(), keep: ALWAYS, sentence });
    }
    stated.extend(absent::statements(facts, rng));
    stated.sort_by_key(|s| s.region); // stable: the order within a region is the order of dictation
    trim(&mut stated);
    Report {
        findings: stated.into_iter().map(|s| s.sentence).collect(),
        impression: impression::items(&groups, pick(rng)),
    }
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
    sentence: Sentence,
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
