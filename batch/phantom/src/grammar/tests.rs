use std::collections::BTreeSet;

use d2r_contracts::labels::{LESION_CLASSES, lesion_class_id, lesion_class_name};
use rand::SeedableRng;

use super::*;
use crate::grammar::terms::named_classes;

pub(super) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

const ZONES: [Zone; 8] = [
    Zone::Apical,
    Zone::Upper,
    Zone::Mid,
    Zone::Perihilar,
    Zone::Lower,
    Zone::Basal,
    Zone::Retrocardiac,
    Zone::Diffuse,
];

/// A plan without a film: up to six lesions of any class, anywhere it can be.
pub(super) fn random_facts(rng: &mut ChaCha8Rng) -> Vec<Fact> {
    let count = rng.random_range(0..=6usize);
    (0..count)
        .map(|_| {
            let class_id = rng.random_range(0..22);
            let midline =
                ["Cardiomegaly", "Aortic enlargement", "Enlarged PA"].contains(&lesion_class_name(class_id).unwrap());
            Fact {
                class_id,
                laterality: if midline {
                    Laterality::Midline
                } else {
                    [Laterality::Left, Laterality::Right][rng.random_range(0..2usize)]
                },
                zone: ZONES[rng.random_range(0..ZONES.len())],
                severity: [Severity::Small, Severity::Moderate, Severity::Large][rng.random_range(0..3usize)],
                small: rng.random_bool(0.3),
                multiplicity: if rng.random_bool(0.2) { 3 } else { 1 },
            }
        })
        .collect()
}

fn plans(n: u64) -> impl Iterator<Item = (Vec<Fact>, Report)> {
    (0..n).map(|seed| {
        let mut rng = rng(seed);
        let facts = random_facts(&mut rng);
        let report = write(&facts, &mut rng);
        (facts, report)
    })
}

fn fact(class: &str, laterality: Laterality) -> Fact {
    let class_id = lesion_class_id(class).unwrap();
    Fact { class_id, laterality, zone: Zone::Lower, severity: Severity::Moderate, small: false, multiplicity: 1 }
}

fn drawn(facts: &[Fact]) -> BTreeSet<&'static str> {
    facts.iter().filter_map(|f| lesion_class_name(f.class_id)).collect()
}

fn denies(text: &str) -> bool {
    let text = text.to_lowercase();
    text.starts_with("no ") || text.contains(" no ") || text.contains("without")
}

#[test]
fn a_sentence_names_just_the_classes_of_its_facts() {
    for (facts, report) in plans(500) {
        for sentence in &report.findings {
            let named: BTreeSet<_> = named_classes(&sentence.text.to_lowercase()).into_iter().collect();
            if denies(&sentence.text) {
                assert!(sentence.facts.is_empty(), "{}", sentence.text);
                assert!(named.is_disjoint(&drawn(&facts)), "{} beside {:?}", sentence.text, drawn(&facts));
            } else {
                let of_facts: BTreeSet<_> =
                    sentence.facts.iter().filter_map(|&i| lesion_class_name(facts[i].class_id)).collect();
                assert_eq!(named, of_facts, "{}", sentence.text);
            }
        }
        for item in &report.impression {
            let item = &item.text;
            let named: BTreeSet<_> = named_classes(&item.to_lowercase()).into_iter().collect();
            assert!(named.is_subset(&drawn(&facts)), "{item} beside {:?}", drawn(&facts));
            assert_eq!(denies(item) || item.starts_with("Normal"), facts.is_empty(), "{item}");
        }
    }
}

#[test]
fn every_fact_is_spoken_of_once() {
    for (facts, report) in plans(500) {
        let mut spoken: Vec<usize> = report.findings.iter().flat_map(|s| s.facts.clone()).collect();
        spoken.sort_unstable();
        assert_eq!(spoken, (0..facts.len()).collect::<Vec<_>>());
    }
}

#[test]
fn sides_agree_with_what_is_drawn() {
    for (facts, report) in plans(500) {
        for sentence in &report.findings {
            let text = format!(" {} ", sentence.text.to_lowercase().replace(['.', ','], " "));
            let both = ["bilateral", "bibasilar", " both "].iter().any(|w| text.contains(w));
            let (left, right) =
                (both || text.contains(" left ") || text.contains("ling"), both || text.contains(" right "));
            if sentence.facts.is_empty() {
                // A clear lung is a lung without anything drawn in it.
                if text.contains("lung is clear") {
                    let laterality = if left { Laterality::Left } else { Laterality::Right };
                    assert!(facts.iter().all(|f| f.laterality != laterality || !in_chest(f)), "{text}");
                }
                continue;
            }
            let has = |laterality| sentence.facts.iter().any(|&i| facts[i].laterality == laterality);
            assert!(!left || has(Laterality::Left), "{text} {facts:?}");
            assert!(!right || has(Laterality::Right), "{text} {facts:?}");
        }
    }
}

fn in_chest(fact: &Fact) -> bool {
    !["Rib fracture", "Clavicle fracture", "Mediastinal shift"].contains(&lesion_class_name(fact.class_id).unwrap())
}

#[test]
fn broad_denials_yield_to_any_member_of_their_group() {
    for class in LESION_CLASSES {
        for seed in 0..40 {
            let report = write(&[fact(class, Laterality::Right)], &mut rng(seed));
            let text = report.findings_text();
            let lung_or_pleura = in_chest(&fact(class, Laterality::Right))
                && !["Cardiomegaly", "Aortic enlargement", "Enlarged PA", "Pleural thickening"].contains(&class);
            assert!(!(lung_or_pleura && text.contains("ungs are") && text.contains("clear")), "{class}: {text}");
            if class == "Nodule/Mass" || class == "Calcification" {
                assert!(!text.contains("o nodule") && !text.contains("uspicious"), "{class}: {text}");
            }
            if class == "Clavicle fracture" {
                assert!(!text.contains("o acute fracture") && !text.contains("evidence of fracture"), "{text}");
            }
        }
    }
}

#[test]
fn sentences_survive_splitting_and_keep_the_length() {
    for (facts, report) in plans(500) {
        let text = report.findings_text();
        let split: Vec<&str> = text.split_inclusive(". ").map(str::trim).collect();
        let own: Vec<&str> = report.findings.iter().map(|s| s.text.as_str()).collect();
        assert_eq!(split, own);
        assert!(FINDINGS_WORDS.contains(&words(&text)), "{} words for {} facts: {text}", words(&text), facts.len());
        assert!(!text.contains("  ") && !text.contains('{'), "{text}");
    }
}

#[test]
fn labels_follow_facts_and_denials() {
    let at = |label: &str| CHEXPERT_LABELS.iter().position(|l| *l == label).unwrap();
    let facts = [fact("Pleural effusion", Laterality::Left)];
    let labels = write(&facts, &mut rng(1)).labels(&facts);
    assert_eq!(labels[at("Pleural Effusion")], LabelState::Positive);
    assert_eq!(labels[at("Pneumothorax")], LabelState::Negative);
    assert_eq!(labels[at("Support Devices")], LabelState::Blank);
    assert_eq!(labels[at("No Finding")], LabelState::Blank);
    let normal = write(&[], &mut rng(1)).labels(&[]);
    assert_eq!(normal[at("No Finding")], LabelState::Positive);
    assert_eq!(normal[at("Cardiomegaly")], LabelState::Negative);
    for (facts, report) in plans(200) {
        let labels = report.labels(&facts);
        let positive = labels[..13].iter().filter(|s| **s == LabelState::Positive).count();
        let of_lesions: BTreeSet<_> = facts.iter().filter_map(|f| label_of_lesion(f.class_id)).collect();
        assert_eq!(positive, of_lesions.len());
    }
}

#[test]
fn exact_reports_state_what_was_drawn_and_nothing_else() {
    for (facts, report) in plans(500) {
        assert_eq!(report.stated(), report.labels(&facts));
        assert!((0..facts.len()).all(|i| report.mention(i) == Mention::Named));
        assert!(report.findings.iter().all(|sentence| sentence.contradicts.is_empty()));
        assert_eq!(report.paragraphs(), [report.findings_text()]);
    }
}

#[test]
fn every_class_has_four_wordings_and_the_preferred_one_leads() {
    for class in LESION_CLASSES {
        let facts = [fact(class, Laterality::Right)];
        let mut seen = std::collections::BTreeMap::new();
        for seed in 0..400 {
            let report = write(&facts, &mut rng(seed));
            let stated = report.findings.iter().find(|s| !s.facts.is_empty()).unwrap();
            *seen.entry(stated.text.clone()).or_insert(0) += 1;
        }
        assert!(seen.len() >= 4, "{class}: {seen:?}");
        assert!(seen.values().any(|n| (200..=280).contains(n)), "{class}: {seen:?}");
    }
}

#[test]
fn the_vocabulary_is_moderate() {
    let mut vocabulary = BTreeSet::new();
    for (_, report) in plans(2000) {
        vocabulary.extend(report.findings_text().to_lowercase().replace('.', "").split(' ').map(str::to_owned));
    }
    assert!((110..=300).contains(&vocabulary.len()), "{} words", vocabulary.len());
}

#[test]
fn the_same_facts_and_stream_give_the_same_report() {
    let facts = [fact("Nodule/Mass", Laterality::Left), fact("Cardiomegaly", Laterality::Midline)];
    assert_eq!(write(&facts, &mut rng(5)), write(&facts, &mut rng(5)));
    assert_ne!(
        (0..20).map(|s| write(&facts, &mut rng(s)).findings_text()).collect::<BTreeSet<_>>().len(),
        1,
        "wordings vary with the stream"
    );
}

#[test]
fn a_single_impression_item_is_not_numbered() {
    let report = write(&[fact("Pneumothorax", Laterality::Left)], &mut rng(3));
    assert_eq!(report.impression_text(), "Moderate left pneumothorax.");
    let two = write(&[fact("Pneumothorax", Laterality::Left), fact("Cardiomegaly", Laterality::Midline)], &mut rng(3));
    assert_eq!(two.impression_text(), "1. Moderate left pneumothorax. 2. Moderate cardiomegaly.");
}

#[test]
fn every_label_that_can_be_denied_is_denied_somewhere() {
    let mut denied: BTreeSet<&str> = BTreeSet::new();
    for (_, report) in plans(500) {
        denied.extend(report.findings.iter().flat_map(|s| s.denies));
    }
    let never: Vec<&str> = CHEXPERT_LABELS.into_iter().filter(|label| !denied.contains(label)).collect();
    assert_eq!(never, ["Pneumonia", "Support Devices", "No Finding"]);
}

/// Published figures were measured on these texts.
#[test]
fn exact_reports_do_not_change() {
    let mut text = String::new();
    for (facts, report) in plans(2000) {
        let labels = report.labels(&facts).map(d2r_contracts::labels::LabelState::as_str).join(" ");
        text.push_str(&format!("{}\n{}\n{labels}\n", report.findings_text(), report.impression_text()));
    }
    assert_eq!(
        crate::layouts::output_folder::sha256_hex(text.as_bytes()),
        "b91d9b887b2952f68b239244b29080a2975e6595c195989557015ea573446da9"
    );
}
