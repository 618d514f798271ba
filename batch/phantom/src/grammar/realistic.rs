//! Reports that treat what was drawn as real ones do: they leave lesions out, deny some of them in copied normal
//! statements, hedge, use other words than the class names, mention earlier examinations that there are not, and vary in
//! style and sections. What each sentence says is kept beside its text. Probabilities are those of [`crate::rates`].

use d2r_contracts::labels::{LabelState, label_of_lesion};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::group::{Group, groups};
use super::style::{Sections, Style, with_headings};
use super::{CROWDED, FILLER, Fact, Mention, Region, Report, Sentence, Stated, absent, capitalised, impression, pick};
use super::{phrases, present};
use crate::lesions::Severity;
use crate::rates;

/// Writes a report as a radiologist might who saw some of `facts`, with one of the `allowed` sections.
///
/// The same facts and the same state of `rng` give the same report.
pub fn write(facts: &[Fact], allowed: &[Sections], rng: &mut ChaCha8Rng) -> Report {
    let (style, sections) = (Style::draw(rng), Sections::draw(allowed, rng));
    let template = !facts.is_empty() && facts.iter().all(is_minor) && rng.random_bool(rates::NORMAL_TEMPLATE);
    let reported: Vec<usize> =
        (0..facts.len()).filter(|&i| !rng.random_bool(omission(&facts[i])) && !template).collect();
    let seen: Vec<Fact> = reported.iter().map(|&i| facts[i]).collect();
    let mut groups = groups(&seen);
    for fact in groups.iter_mut().flat_map(|group| &mut group.facts) {
        *fact = reported[*fact];
    }
    let prior = rng.random_bool(rates::PRIOR);
    let spoken: Vec<Spoken> = groups.iter().map(|group| Spoken::of(group, groups.len() > CROWDED, rng)).collect();

    let mut findings: Vec<(Region, Sentence)> = Vec::new();
    for (group, spoken) in groups.iter().zip(&spoken) {
        let mut sentence = spoken.sentence.clone();
        sentence.text = style.of(&sentence.text);
        if prior && rng.random_bool(rates::PRIOR_FINDING) {
            sentence.text = sentence.text.trim_end_matches('.').to_owned() + one_of(&phrases::CHANGES, rng);
        }
        findings.push((group.region(), sentence));
    }
    findings.extend(pneumonia(&groups, style, rng));
    for stated in absent::statements(&seen, rng) {
        findings.extend(kept(stated, facts, template, style, rng));
    }
    findings.sort_by_key(|(region, _)| *region); // stable: as in exact reports
    let mut findings = match style {
        Style::Structured => with_headings(findings),
        Style::Prose | Style::Terse => findings.into_iter().map(|(_, sentence)| sentence).collect(),
    };
    if prior {
        findings.insert(0, Sentence::plain(one_of(&phrases::COMPARISONS, rng)));
    }
    let mut impression = conclusion(&groups, &spoken, facts, rng);
    if rng.random_bool(rates::NOTIFIED) {
        impression.push(Sentence::plain(one_of(&phrases::NOTICES, rng)));
    }
    match sections {
        Sections::Separate => {}
        Sections::ImpressionOnly => impression = std::mem::take(&mut findings),
        Sections::Joint | Sections::FindingsOnly => impression.clear(),
    }
    let mut report = Report { findings, impression, sections };
    misspell(&mut report, rng);
    report
}

/// Small or mild.
fn is_minor(fact: &Fact) -> bool {
    fact.small || fact.severity == Severity::Small
}

/// The probability that a report leaves a lesion out.
pub(super) fn omission(fact: &Fact) -> f64 {
    let factor = match fact.severity {
        _ if fact.small => rates::SMALL_FACTOR,
        Severity::Small => rates::MILD_FACTOR,
        Severity::Moderate => 1.0,
        Severity::Large => rates::SEVERE_FACTOR,
    };
    (rates::of_class(fact.class_id).omitted * factor).min(rates::MOST)
}

fn one_of<const N: usize>(wordings: &[&'static str; N], rng: &mut ChaCha8Rng) -> &'static str {
    wordings[rng.random_range(0..N)]
}

/// What a report says about the lesions of one class.
struct Spoken {
    /// For the findings.
    sentence: Sentence,
    /// The same for the impression, shorter.
    item: Sentence,
}

impl Spoken {
    fn of(group: &Group, brief: bool, rng: &mut ChaCha8Rng) -> Self {
        let phrase = |&(template, states): &phrases::Phrase, mention| {
            let text = capitalised(&present::fill(template, group));
            Sentence { text, facts: group.facts.clone(), asserts: states.to_vec(), mention, ..Sentence::default() }
        };
        let class = group.name();
        if rng.random_bool(rates::of_class(group.class_id).hedged) {
            return Self::same(hedged(group, rng));
        }
        if rng.random_bool(rates::DESCRIBED) {
            let all = phrases::descriptions(class);
            return Self::same(phrase(&all[rng.random_range(0..all.len())], Mention::Described));
        }
        if rng.random_bool(rates::SYNONYM) {
            let all = phrases::synonyms(class);
            return Self::same(phrase(&all[rng.random_range(0..all.len())], Mention::Named));
        }
        Self { sentence: present::sentence(group, pick(rng), brief), item: impression::item(group) }
    }

    fn same(sentence: Sentence) -> Self {
        let text = super::style::terse(&sentence.text);
        Self { item: Sentence { text, ..sentence.clone() }, sentence }
    }
}

/// A finding that may be there, alone or beside an alternative.
fn hedged(group: &Group, rng: &mut ChaCha8Rng) -> Sentence {
    let thing = impression::phrase(group);
    let thing = thing.trim_end_matches('.');
    let mut asserts: Vec<_> =
        label_of_lesion(group.class_id).map(|label| (label, LabelState::Uncertain)).into_iter().collect();
    let alternative = phrases::alternative(group.name()).filter(|_| rng.random_bool(rates::VERSUS));
    let text = match alternative {
        Some((other, label)) => {
            asserts.extend(label.map(|label| (label, LabelState::Uncertain)));
            one_of(&phrases::VERSUS, rng).replace("{other}", other)
        }
        None => one_of(&phrases::HEDGES, rng).to_owned(),
    };
    Sentence {
        text: capitalised(&text.replace("{thing}", thing)),
        facts: group.facts.clone(),
        asserts,
        mention: Mention::Hedged,
        ..Sentence::default()
    }
}

/// Pneumonia as a possible cause of what is reported in the lungs.
fn pneumonia(groups: &[Group], style: Style, rng: &mut ChaCha8Rng) -> Option<(Region, Sentence)> {
    let cause = groups.iter().any(|group| phrases::MAY_BE_PNEUMONIA.contains(&group.name()));
    (cause && rng.random_bool(rates::PNEUMONIA)).then(|| {
        let text = style.of(one_of(&phrases::PNEUMONIA, rng));
        (Region::Lungs, Sentence { asserts: vec![("Pneumonia", LabelState::Uncertain)], ..Sentence::plain(&text) })
    })
}

/// A normal statement, if it is written, with the drawn lesions that it denies.
fn kept(
    stated: Stated,
    facts: &[Fact],
    template: bool,
    style: Style,
    rng: &mut ChaCha8Rng,
) -> Option<(Region, Sentence)> {
    let contradicts: Vec<usize> = (0..facts.len()).filter(|&i| stated.untrue.is_of(&facts[i])).collect();
    let share = match (contradicts.is_empty(), stated.keep >= FILLER) {
        (false, _) => rates::UNTRUE_KEPT,
        (true, false) => rates::NORMAL_KEPT,
        (true, true) => rates::FILLER_KEPT,
    };
    // Drawn even for a template, so that both take the same draws.
    let written = rng.random_bool(share);
    (if template { stated.keep < FILLER } else { written }).then(|| {
        let text = style.of(&stated.sentence.text);
        (stated.region, Sentence { text, contradicts, ..stated.sentence })
    })
}

/// The impression's items.
fn conclusion(groups: &[Group], spoken: &[Spoken], facts: &[Fact], rng: &mut ChaCha8Rng) -> Vec<Sentence> {
    if groups.is_empty() {
        let mut normal = impression::items(&[], pick(rng));
        for item in normal.iter_mut().filter(|item| item.text.starts_with("Normal")) {
            item.contradicts = (0..facts.len()).collect();
        }
        return normal;
    }
    if rng.random_bool(rates::NO_ACUTE) {
        return vec![Sentence::plain("No acute cardiopulmonary process.")];
    }
    let items = impression::in_order(groups).into_iter().map(|at| spoken[at].item.clone());
    items
        .enumerate()
        .filter(|(place, _)| *place == 0 || !rng.random_bool(rates::IMPRESSION_SHORTENED))
        .map(|(_, i)| i)
        .collect()
}

/// Misspells a word of one sentence, in some reports.
fn misspell(report: &mut Report, rng: &mut ChaCha8Rng) {
    if !rng.random_bool(rates::MISSPELT) {
        return;
    }
    let mut sentences: Vec<&mut Sentence> = report.findings.iter_mut().chain(&mut report.impression).collect();
    if sentences.is_empty() {
        return;
    }
    let first = rng.random_range(0..sentences.len());
    sentences.rotate_left(first);
    for sentence in sentences {
        let found = phrases::MISSPELLINGS.iter().find(|(word, _)| sentence.text.contains(word));
        if let Some((word, misspelt)) = found {
            sentence.text = sentence.text.replacen(word, misspelt, 1);
            return;
        }
    }
}

#[cfg(test)]
mod tests;
