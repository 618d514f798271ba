use std::collections::{BTreeMap, BTreeSet};

use d2r_contracts::labels::{CHEXPERT_LABELS, LESION_CLASSES, LabelState, lesion_class_id, lesion_class_name};
use d2r_contracts::report_labeler;
use d2r_contracts::report_text::{CleaningRules, clean, mentions_prior, sentences};

use super::*;
use crate::grammar::tests::{random_facts, rng};
use crate::lesions::Zone;
use crate::study::Laterality;

/// Reports of every measurement below; a share of a tenth of them has a standard deviation of 0.5 percent points.
const REPORTS: u64 = 4000;

fn reports(n: u64) -> impl Iterator<Item = (Vec<Fact>, Report)> {
    (0..n).map(|seed| {
        let mut rng = rng(seed);
        let facts = random_facts(&mut rng);
        let report = write(&facts, &Sections::ALL, &mut rng);
        (facts, report)
    })
}

fn fact(class: &str) -> Fact {
    let class_id = lesion_class_id(class).unwrap();
    let (laterality, zone, severity) = (Laterality::Right, Zone::Lower, Severity::Moderate);
    Fact { class_id, laterality, zone, severity, small: false, multiplicity: 1 }
}

fn text(report: &Report) -> String {
    format!("{}\n{}", report.findings_text(), report.impression_text())
}

/// Shares of the drawn lesions by their mention.
fn mentions(filter: impl Fn(&Fact) -> bool) -> BTreeMap<Mention, f64> {
    let mut counts: BTreeMap<Mention, f64> = BTreeMap::new();
    let mut all = 0.0;
    for (facts, report) in reports(REPORTS) {
        for (i, _) in facts.iter().enumerate().filter(|(_, fact)| filter(fact)) {
            *counts.entry(report.mention(i)).or_default() += 1.0;
            all += 1.0;
        }
    }
    counts.values_mut().for_each(|count| *count /= all);
    counts
}

#[test]
fn shares_of_omitted_hedged_and_denied_lesions_lie_in_their_ranges() {
    let shares = mentions(|_| true);
    assert!((0.11..0.17).contains(&shares[&Mention::Omitted]), "{shares:?}");
    assert!((0.09..0.14).contains(&shares[&Mention::Denied]), "{shares:?}");
    assert!((0.11..0.16).contains(&shares[&Mention::Hedged]), "{shares:?}");
    assert!((0.06..0.10).contains(&shares[&Mention::Described]), "{shares:?}");
    assert!((0.50..0.58).contains(&shares[&Mention::Named]), "{shares:?}");
}

#[test]
fn small_lesions_and_hard_classes_are_left_out_more_often() {
    let unreported = |filter: &dyn Fn(&Fact) -> bool| {
        let shares = mentions(filter);
        shares[&Mention::Omitted] + shares[&Mention::Denied]
    };
    let of = |class: &'static str| move |fact: &Fact| lesion_class_name(fact.class_id) == Some(class);
    let (small, large) =
        (unreported(&|fact| fact.small), unreported(&|fact| !fact.small && fact.severity == Severity::Large));
    assert!(small > 3.0 * large, "{small} {large}");
    let (thickening, effusion) = (unreported(&of("Pleural thickening")), unreported(&of("Pleural effusion")));
    assert!(thickening > 2.0 * effusion, "{thickening} {effusion}");
}

#[test]
fn lesions_are_left_out_with_the_probability_of_the_table() {
    let (mut expected, mut found) = (0.0, 0.0);
    for (facts, report) in reports(REPORTS) {
        // Of studies with a copied normal text nothing is reported.
        if facts.iter().all(is_minor) {
            continue;
        }
        expected += facts.iter().map(omission).sum::<f64>();
        found += (0..facts.len()).filter(|&i| report.mention(i) >= Mention::Denied).count() as f64;
    }
    // Impressions that call the radiograph normal add no omission, and sections none either.
    assert!((found / expected - 1.0).abs() < 0.04, "{found} of {expected}");
}

#[test]
fn some_studies_with_minor_lesions_have_the_copied_normal_text() {
    let minor = Fact { small: true, ..fact("Nodule/Mass") };
    let mut normal = 0;
    for seed in 0..2000 {
        let report = write(&[minor], &[Sections::Separate], &mut rng(seed));
        let nothing = report.mention(0) >= Mention::Denied;
        normal += usize::from(nothing && text(&report).to_lowercase().contains("lungs"));
        if nothing {
            assert_eq!(report.labels(&[minor])[13], LabelState::Blank, "the truth is what was drawn");
            assert_eq!(report.stated()[13], LabelState::Positive, "the text says that nothing is there");
        }
    }
    let expected = rates::NORMAL_TEMPLATE + (1.0 - rates::NORMAL_TEMPLATE) * omission(&minor);
    let share = normal as f64 / 2000.0;
    assert!(share > 0.6 * expected && share < 1.1 * expected, "{share} {expected}");
}

#[test]
fn a_denied_lesion_is_denied_by_a_sentence_and_stated_by_none() {
    let mut denied = 0;
    for (facts, report) in reports(1000) {
        for (i, fact) in facts.iter().enumerate() {
            let (mut stated, mut contradicted) = (false, false);
            for sentence in report.findings.iter().chain(&report.impression) {
                stated |= sentence.facts.contains(&i);
                contradicted |= sentence.contradicts.contains(&i);
                assert!(sentence.contradicts.is_empty() || sentence.facts.is_empty(), "{}", sentence.text);
            }
            assert!(!(stated && contradicted), "{fact:?}: {}", text(&report));
            assert_eq!(report.mention(i) == Mention::Denied, contradicted);
            assert_eq!(report.mention(i) == Mention::Omitted, !stated && !contradicted);
            denied += usize::from(contradicted);
        }
    }
    assert!(denied > 200, "{denied}");
}

#[test]
fn a_hedged_lesion_has_an_uncertain_label() {
    for (facts, report) in reports(1000) {
        for (i, fact) in facts.iter().enumerate().filter(|&(i, _)| report.mention(i) == Mention::Hedged) {
            let Some(label) = label_of_lesion(fact.class_id) else { continue };
            let sentences = report.findings.iter().chain(&report.impression).filter(|s| s.facts.contains(&i));
            for sentence in sentences {
                let states = sentence.states().find(|(other, _)| *other == label);
                assert_eq!(states, Some((label, LabelState::Uncertain)), "{}", sentence.text);
            }
        }
    }
}

/// The labeler reads 94.9 % of the labels as the reports mean them: it does not know all descriptions and short forms, and
/// no misspellings. The rate is measured, not sought; the bounds show when it changes.
#[test]
fn the_labeler_agrees_with_what_is_stated_at_a_measured_rate() {
    let (mut same, mut all) = (0.0, 0.0);
    let mut wrong: BTreeMap<String, usize> = BTreeMap::new();
    for (_, report) in reports(REPORTS) {
        let (stated, read) = (report.stated(), report_labeler::label(&text(&report)));
        for (label, (stated, read)) in CHEXPERT_LABELS.into_iter().zip(stated.into_iter().zip(read)) {
            if stated == LabelState::Blank && read == LabelState::Blank {
                continue;
            }
            all += 1.0;
            same += f64::from(u8::from(stated == read));
            if stated != read {
                *wrong.entry(format!("{label}: {} read as {}", stated.as_str(), read.as_str())).or_default() += 1;
            }
        }
    }
    let rate = same / all;
    assert!((0.93..0.97).contains(&rate), "{rate} {wrong:#?}");
}

#[test]
fn sentences_survive_cleaning_so_that_their_numbers_hold() {
    for (_, report) in reports(2000) {
        let text = report.findings_text();
        let split = sentences(&clean(&text, CleaningRules::MimicCxr));
        let own = if text.is_empty() { 0 } else { report.findings.len() };
        assert_eq!(split.len(), own, "{text}");
        for sentence in report.findings.iter().chain(&report.impression) {
            assert!(sentence.text.ends_with('.') && !sentence.text.contains("  "), "{}", sentence.text);
            assert!(!sentence.text.contains('{') && !sentence.text.contains(" ."), "{}", sentence.text);
            assert!(
                sentence.text.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit()),
                "{}",
                sentence.text
            );
        }
    }
}

#[test]
fn styles_sections_and_comparisons_have_their_shares() {
    let (mut sections, mut prior, mut headed, mut misspelt) = ([0usize; 4], 0, 0, 0);
    for (_, report) in reports(REPORTS) {
        sections[report.sections as usize] += 1;
        let text = text(&report);
        prior += usize::from(mentions_prior(&text) || text.contains("___"));
        headed += usize::from(report.findings.iter().any(|s| s.text.contains("LUNGS: ") || s.text.contains("HEART: ")));
        misspelt += usize::from(phrases::MISSPELLINGS[..13].iter().any(|(_, wrong)| text.contains(wrong)));
    }
    let n = REPORTS as f64;
    for (count, share) in sections.into_iter().zip(rates::SECTIONS) {
        assert!((count as f64 / n - share).abs() < 0.03, "{sections:?}");
    }
    assert!((prior as f64 / n - rates::PRIOR).abs() < 0.06, "{prior}");
    let structured = rates::STYLES[2] * (1.0 - rates::SECTIONS[1]);
    assert!((headed as f64 / n - structured).abs() < 0.03, "{headed}");
    // Some reports have no word that the list misspells.
    assert!((0.02..rates::MISSPELT).contains(&(misspelt as f64 / n)), "{misspelt}");
}

#[test]
fn only_allowed_sections_are_drawn() {
    for seed in 0..300 {
        let report = write(&[fact("Consolidation")], &[Sections::Separate], &mut rng(seed));
        assert_eq!(report.sections, Sections::Separate);
        assert!(!report.findings_text().is_empty() && !report.impression_text().is_empty());
    }
}

#[test]
fn every_class_has_wordings_that_the_exact_grammar_does_not_know() {
    for class in LESION_CLASSES {
        let mut wordings = BTreeSet::new();
        for seed in 0..600 {
            let report = write(&[fact(class)], &[Sections::FindingsOnly], &mut rng(seed));
            wordings.extend(report.findings.into_iter().filter(|s| !s.facts.is_empty()).map(|s| s.text));
        }
        assert!(wordings.len() > 25, "{class}: {wordings:?}");
    }
}

#[test]
fn the_same_facts_and_stream_give_the_same_report() {
    let facts = [fact("Nodule/Mass"), fact("Pleural effusion")];
    assert_eq!(write(&facts, &Sections::ALL, &mut rng(5)), write(&facts, &Sections::ALL, &mut rng(5)));
}
