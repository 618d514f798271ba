//! Texts of reports.

use d2r_batch::datasets::report_sections::{Section, section, text_of};
use d2r_contracts::report_labeler::{label, label_sentence, lesion_classes_in};
use d2r_contracts::report_text::{
    CleaningRules, clean, lateralities, mentions_prior, readable, readable_sentences, sentences, sentences_with_source,
    swap_laterality, tokens,
};

use crate::Target;

pub const SECTIONS: Target = Target { name: "sections", read: sections, seeds: reports, size_max: 2048 };
pub const LABELER: Target = Target { name: "labeler", read: labels, seeds: reports, size_max: 1024 };
pub const CLEANING: Target = Target { name: "cleaning", read: cleaned, seeds: reports, size_max: 1024 };

fn sections(bytes: &[u8]) -> String {
    let Ok(report) = text_of(bytes) else { return "no text".into() };
    let parts = [Section::Findings, Section::Impression, Section::Both].map(|wanted| section(&report, wanted));
    if let Ok(part) = &parts[0] {
        assert!(part.text.len() <= report.len(), "a section is a part of its report");
    }
    format!("{parts:?}")
}

fn labels(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    format!("{:?} {:?} {:?}", label(&text), label_sentence(&text), lesion_classes_in(&text))
}

fn cleaned(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    for rules in [CleaningRules::IuXray, CleaningRules::MimicCxr] {
        let clean = clean(&text, rules);
        let spans = sentences(&clean);
        for span in &spans {
            let whole: String = clean.chars().skip(span.char_start).take(span.char_end - span.char_start).collect();
            assert_eq!(span.text, whole, "a sentence is the text between its characters");
            assert_eq!(tokens(&span.text).len(), span.tokens.len());
        }
        let sources = sentences_with_source(&clean, &text);
        assert_eq!(sources.len(), spans.len());
        out += &format!("{clean} {sources:?} {} {:?}", readable(&clean), readable_sentences(&clean));
    }
    assert_eq!(swap_laterality(&swap_laterality("Left RIGHT leftward")), "Left RIGHT leftward");
    format!("{out} {:?} {} {}", lateralities(&text), mentions_prior(&text), swap_laterality(&text))
}

fn reports() -> Vec<Vec<u8>> {
    [
        "FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n FINDINGS:\n 1. The heart is enlarged.\n No pleural effusion or pneumothorax.\n\n IMPRESSION:\n Possible pneumonia; cannot exclude atelectasis vs. scar.\n",
        "CHEST, TWO VIEWS: There is a 2.5 cm nodule in the left upper lobe, unchanged since ___.\n\nADDENDUM: Effusion - none. Heart: normal.\n",
        "Pneumothorax: none, effusion: small (right). Rule out consolidation? no.",
        "findings and impression : rib fracture , no edema .",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
