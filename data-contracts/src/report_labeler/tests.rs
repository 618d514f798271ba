use std::collections::BTreeMap;

use crate::labels::lesion_class_name;

use super::*;

/// A sentence and its labels: `+` positive, `-` negative, `?` uncertain; all others are blank.
const SENTENCES: &[(&str, &str)] = &[
    (
        "no focal consolidation, pleural effusion or pneumothorax is seen .",
        "-Consolidation -Pleural Effusion -Pneumothorax",
    ),
    ("No focal consolidation, pleural effusion, or pneumothorax.", "-Consolidation -Pleural Effusion -Pneumothorax"),
    ("heart size is normal .", "-Cardiomegaly"),
    ("The heart is normal in size.", "-Cardiomegaly"),
    ("The heart is not enlarged.", "-Cardiomegaly"),
    ("the heart is mildly enlarged .", "+Cardiomegaly"),
    ("The cardiac silhouette is moderately enlarged.", "+Cardiomegaly"),
    ("There is enlargement of the cardiac silhouette.", "+Cardiomegaly"),
    ("Enlarged heart.", "+Cardiomegaly"),
    ("No cardiomegaly.", "-Cardiomegaly"),
    ("Borderline cardiomegaly.", "?Cardiomegaly"),
    ("The heart size is borderline.", "?Cardiomegaly"),
    ("the lungs are clear .", "-Lung Opacity"),
    ("The lungs are well expanded and clear.", "-Lung Opacity"),
    ("Both lungs are clear bilaterally.", "-Lung Opacity"),
    ("The left lung is clear.", ""),
    ("The lung fields are clear.", "-Lung Opacity"),
    ("The lungs are clear of focal consolidation.", "-Lung Opacity -Consolidation"),
    ("no evidence of pneumothorax; small left effusion", "-Pneumothorax +Pleural Effusion"),
    ("No pneumothorax, small left pleural effusion.", "-Pneumothorax +Pleural Effusion"),
    ("No pneumothorax, large effusion or consolidation.", "-Pneumothorax -Pleural Effusion -Consolidation"),
    ("There is no pneumothorax, but a small left effusion is seen.", "-Pneumothorax +Pleural Effusion"),
    ("Small left pleural effusion without pneumothorax.", "+Pleural Effusion -Pneumothorax"),
    ("Small effusion is present, pneumothorax is not seen.", "+Pleural Effusion -Pneumothorax"),
    ("Pleural effusion or pneumothorax is not seen.", "-Pleural Effusion -Pneumothorax"),
    ("Pleural effusion and pneumothorax are not identified.", "-Pleural Effusion -Pneumothorax"),
    ("There is effusion and pneumothorax is not seen.", "+Pleural Effusion -Pneumothorax"),
    ("Without pleural effusion, the heart is enlarged.", "-Pleural Effusion +Cardiomegaly"),
    ("No effusion, heart is enlarged.", "-Pleural Effusion +Cardiomegaly"),
    ("No effusion and the aorta is tortuous.", "-Pleural Effusion +Enlarged Cardiomediastinum"),
    ("The heart is normal in size and the aorta is dilated.", "-Cardiomegaly +Enlarged Cardiomediastinum"),
    ("The lungs are clear except for a nodule in the left lower lobe.", "-Lung Opacity +Lung Lesion"),
    ("The right pleural effusion has resolved.", "-Pleural Effusion"),
    ("Interval resolution of the left pneumothorax.", "-Pneumothorax"),
    ("Free of infiltrates and effusions.", "-Lung Opacity -Pleural Effusion"),
    ("Negative for pneumonia.", "-Pneumonia"),
    ("No radiographic evidence of pneumonia or edema.", "-Pneumonia -Edema"),
    ("Pneumonia cannot be excluded.", "?Pneumonia"),
    ("Cannot exclude pneumonia.", "?Pneumonia"),
    ("An early pneumonia can not be entirely excluded.", "?Pneumonia"),
    ("Opacity in the right base may represent pneumonia.", "+Lung Opacity ?Pneumonia"),
    ("Findings suspicious for pneumonia.", "?Pneumonia"),
    ("Opacities concerning for pneumonia.", "+Lung Opacity ?Pneumonia"),
    ("Possible small left pleural effusion.", "?Pleural Effusion"),
    ("There may be a trace effusion.", "?Pleural Effusion"),
    ("A small effusion is possible.", "?Pleural Effusion"),
    ("Likely bibasilar atelectasis.", "?Atelectasis"),
    ("Atelectasis or pneumonia at the left base.", "?Atelectasis ?Pneumonia"),
    ("Atelectasis versus early consolidation.", "?Atelectasis ?Consolidation"),
    ("No significant interval change in the small left effusion.", "+Pleural Effusion"),
    ("Unchanged cardiomegaly without change in the nodule.", "+Cardiomegaly +Lung Lesion"),
    ("Pneumothorax is unlikely.", "-Pneumothorax"),
    ("A calcified granuloma is seen in the right upper lobe.", "+Lung Lesion"),
    ("No suspicious nodule or mass.", "-Lung Lesion"),
    ("Aortic calcifications are noted.", ""),
    ("No pericardial effusion.", ""),
    ("Mass effect on the trachea.", ""),
    ("A 1.5 cm nodule is seen in the left lung.", "+Lung Lesion"),
    ("There is a thick-walled cavity and a cyst.", "+Lung Lesion"),
    ("The mediastinal contours are unremarkable.", "-Enlarged Cardiomediastinum"),
    ("The cardiomediastinal silhouette is within normal limits.", "-Cardiomegaly -Enlarged Cardiomediastinum"),
    ("The aortic knob is prominent.", "+Enlarged Cardiomediastinum"),
    ("Tortuous thoracic aorta.", "+Enlarged Cardiomediastinum"),
    ("The mediastinum is shifted to the left.", "+Enlarged Cardiomediastinum"),
    ("Widened mediastinum.", "+Enlarged Cardiomediastinum"),
    ("The main pulmonary artery is enlarged.", "+Enlarged Cardiomediastinum"),
    ("There is mild interstitial lung disease.", "+Lung Opacity"),
    ("Mild interstitial pulmonary edema.", "+Edema"),
    ("Fibrotic change is seen in the left apex.", "+Lung Opacity"),
    ("Reticular opacities are present bilaterally.", "+Lung Opacity"),
    ("Moderate bilateral pleural effusions with bibasilar atelectasis.", "+Pleural Effusion +Atelectasis"),
    ("There is left apical pleural thickening.", "+Pleural Other"),
    ("There is a fracture of the left clavicle.", "+Fracture"),
    ("The right sixth rib is fractured.", "+Fracture"),
    ("No acute fracture.", "-Fracture"),
    ("A left chest tube is in place.", "+Support Devices"),
    ("The endotracheal tube has been removed.", "-Support Devices"),
    ("Dual lead pacemaker in unchanged position; no pneumothorax.", "+Support Devices -Pneumothorax"),
    ("The costophrenic angles are sharp.", "-Pleural Effusion"),
    ("Blunting of the left costophrenic angle.", "?Pleural Effusion"),
    ("Blunting of the left costophrenic angle is due to a small left pleural effusion.", "+Pleural Effusion"),
    ("Neither effusion nor pneumothorax is present.", "-Pleural Effusion -Pneumothorax"),
    ("The trachea is midline.", ""),
    ("", ""),
    (" . , ;", ""),
];

fn stated(states: [LabelState; 14]) -> BTreeMap<&'static str, LabelState> {
    CHEXPERT_LABELS.into_iter().zip(states).filter(|(_, s)| *s != LabelState::Blank).collect()
}

fn expected(text: &str) -> BTreeMap<&'static str, LabelState> {
    let mut out = BTreeMap::new();
    for part in text.split_inclusive(['+', '-', '?']).collect::<Vec<_>>().windows(2) {
        let state = match part[0].chars().last() {
            Some('+') => LabelState::Positive,
            Some('-') => LabelState::Negative,
            _ => LabelState::Uncertain,
        };
        let name = part[1].trim_end_matches(['+', '-', '?']).trim();
        let label = CHEXPERT_LABELS.into_iter().find(|l| *l == name).unwrap_or_else(|| panic!("no label {name}"));
        out.insert(label, state);
    }
    out
}

#[track_caller]
fn assert_labels(sentences: &[(&str, &str)]) {
    let wrong: Vec<String> = sentences
        .iter()
        .filter(|(sentence, labels)| stated(label_sentence(sentence).states) != expected(labels))
        .map(|(sentence, labels)| {
            format!("{sentence}\n  expected {labels}\n  found    {:?}", stated(label_sentence(sentence).states))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), sentences.len(), wrong.join("\n"));
}

#[test]
fn sentences_get_the_expected_labels() {
    assert_labels(SENTENCES);
}

#[test]
fn words_joined_by_a_slash_are_words() {
    assert_labels(&[
        ("Bibasilar opacities/atelectasis.", "+Lung Opacity +Atelectasis"),
        ("No effusion/pneumothorax.", "-Pleural Effusion -Pneumothorax"),
        ("Consolidation/collapse at the left base.", "+Consolidation +Atelectasis"),
        ("Left lung atelectasis / pneumonia.", "+Atelectasis +Pneumonia"),
    ]);
}

#[test]
fn subject_and_value() {
    assert_labels(&[
        (
            "Pneumothorax: None. Pleural effusion: No. Consolidation: absent.",
            "-Pneumothorax -Pleural Effusion -Consolidation",
        ),
        ("Effusion - none", "-Pleural Effusion"),
        ("Effusion \u{2013} none", "-Pleural Effusion"),
        ("Effusion\u{2014}none.", "-Pleural Effusion"),
        ("Pleural effusion (none), pneumothorax (none).", "-Pleural Effusion -Pneumothorax"),
        ("Nodules: not seen", "-Lung Lesion"),
        ("Nodules or masses: not identified.", "-Lung Lesion"),
        ("Pneumothorax: negative", "-Pneumothorax"),
        ("PNEUMOTHORAX: NIL.", "-Pneumothorax"),
        ("Pneumothorax = no", "-Pneumothorax"),
        ("Pneumothorax: Yes", "+Pneumothorax"),
        ("Pneumothorax: present.", "+Pneumothorax"),
        ("Effusion: small", "+Pleural Effusion"),
        ("Effusion: left, moderate. Edema: none.", "+Pleural Effusion -Edema"),
        ("Pleural effusion? no", "-Pleural Effusion"),
        ("Pleural effusion? Yes. Pneumothorax? No.", "+Pleural Effusion -Pneumothorax"),
        (
            "Pneumothorax: No\nPleural effusion: Yes\nConsolidation: No\n",
            "-Pneumothorax +Pleural Effusion -Consolidation",
        ),
        ("Pneumothorax: none, effusion: small, edema: no.", "-Pneumothorax +Pleural Effusion -Edema"),
        ("Pneumothorax: none. The heart is enlarged.", "-Pneumothorax +Cardiomegaly"),
        ("Pneumothorax: none, the heart is enlarged.", "-Pneumothorax +Cardiomegaly"),
        ("Pneumothorax: no\nThe heart is enlarged.", "-Pneumothorax +Cardiomegaly"),
        ("- Pneumothorax: none\n- Small effusion\n- Heart: normal", "-Pneumothorax +Pleural Effusion -Cardiomegaly"),
        ("FINDINGS: Pneumothorax: none. Effusion: none.", "-Pneumothorax -Pleural Effusion"),
        ("Pneumothorax: No pneumothorax.", "-Pneumothorax"),
        ("PLEURA: No effusion or pneumothorax.", "-Pleural Effusion -Pneumothorax"),
        ("PLEURAL EFFUSION: There is a small left effusion.", "+Pleural Effusion"),
        ("Pleural effusion: there is none.", "-Pleural Effusion"),
        ("Pleural effusion: No change.", "+Pleural Effusion"),
        ("Effusion: none on the right, small on the left.", "+Pleural Effusion"),
        ("Pneumonia: possible.", "?Pneumonia"),
        ("Pneumonia: cannot be excluded.", "?Pneumonia"),
        ("Pneumonia: unlikely.", "-Pneumonia"),
        ("Pneumothorax: not assessed.", ""),
        ("Opacity at the right base: likely atelectasis.", "+Lung Opacity ?Atelectasis"),
        ("Left basilar opacity - likely atelectasis.", "+Lung Opacity ?Atelectasis"),
        (
            "Lungs: Clear. Heart: Normal. Mediastinum: unremarkable.",
            "-Lung Opacity -Cardiomegaly -Enlarged Cardiomediastinum",
        ),
        ("Heart: mildly enlarged.", "+Cardiomegaly"),
        ("LUNGS: No consolidation.", "-Consolidation"),
        ("No evidence of: pneumothorax, effusion.", "-Pneumothorax -Pleural Effusion"),
        ("Fracture: the bones are intact.", "-Fracture"),
        ("Support devices: none", "-Support Devices"),
        ("Lines and tubes: Endotracheal tube in place.", "+Support Devices"),
        ("Radiograph at 8:15: small effusion.", "+Pleural Effusion"),
        // As text cleaning leaves them.
        (
            "pneumothorax none . pleural effusion no . consolidation absent .",
            "-Pneumothorax -Pleural Effusion -Consolidation",
        ),
        ("effusion none, pneumothorax absent", "-Pleural Effusion -Pneumothorax"),
    ]);
}

#[test]
fn alternatives_are_uncertain() {
    assert_labels(&[
        ("Left basilar opacity, atelectasis vs. pneumonia.", "+Lung Opacity ?Atelectasis ?Pneumonia"),
        ("left basilar opacity, atelectasis vs . pneumonia .", "+Lung Opacity ?Atelectasis ?Pneumonia"),
        ("Atelectasis vs pneumonia.", "?Atelectasis ?Pneumonia"),
        ("Atelectasis versus pneumonia.", "?Atelectasis ?Pneumonia"),
        ("Atelectasis, versus early developing pneumonia.", "?Atelectasis ?Pneumonia"),
        ("Atelectasis or pneumonia.", "?Atelectasis ?Pneumonia"),
        ("Atelectasis in the left lower lobe or pneumonia.", "?Atelectasis ?Pneumonia"),
        ("Atelectasis and/or pneumonia.", "?Atelectasis ?Pneumonia"),
        ("Edema vs. infection vs. atelectasis.", "?Edema ?Pneumonia ?Atelectasis"),
        ("Atelectasis vs. artifact.", "?Atelectasis"),
        ("Atelectasis, aspiration, or pneumonia.", "?Atelectasis ?Pneumonia"),
        ("No atelectasis or pneumonia.", "-Atelectasis -Pneumonia"),
        ("Effusion is larger vs. prior, pneumothorax is new.", "+Pleural Effusion +Pneumothorax"),
    ]);
}

#[test]
fn what_cannot_be_excluded_is_uncertain() {
    assert_labels(&[
        ("Opacity at the right base, cannot r/o pneumonia.", "+Lung Opacity ?Pneumonia"),
        ("Can't exclude pneumonia.", "?Pneumonia"),
        ("Can\u{2019}t exclude pneumonia.", "?Pneumonia"),
        ("cant exclude pneumonia .", "?Pneumonia"),
        ("cannot ro pneumonia .", "?Pneumonia"),
        ("Can not exclude pneumonia.", "?Pneumonia"),
        ("Could not entirely exclude a small effusion or pneumothorax.", "?Pleural Effusion ?Pneumothorax"),
        ("Pneumonia not entirely excluded.", "?Pneumonia"),
        ("Pneumonia is not completely excluded.", "?Pneumonia"),
        ("Pneumonia isn't excluded.", "?Pneumonia"),
        ("Pneumonia cannot be ruled out.", "?Pneumonia"),
        ("Pneumonia can't be completely ruled out.", "?Pneumonia"),
        ("Pneumonia has not been excluded.", "?Pneumonia"),
        ("Pneumonia can not, however, be excluded.", "?Pneumonia"),
        ("Pneumonia, in particular at the left base, cannot be excluded.", "?Pneumonia"),
        ("Difficult to exclude pneumonia.", "?Pneumonia"),
        ("It is difficult to exclude pneumonia.", "?Pneumonia"),
        ("Pneumonia is difficult to exclude.", "?Pneumonia"),
        ("Pneumonia is difficult to exclude on this study.", "?Pneumonia"),
        ("Unable to exclude underlying pneumonia.", "?Pneumonia"),
        ("R/O pneumonia.", "?Pneumonia"),
        ("CT to exclude pneumonia.", "?Pneumonia"),
        ("Pneumonia should be excluded.", "?Pneumonia"),
        ("?pneumonia", "?Pneumonia"),
        ("Opacity (? pneumonia).", "+Lung Opacity ?Pneumonia"),
        ("Pneumonia?", "?Pneumonia"),
        ("No consolidation, but pneumonia cannot be excluded.", "-Consolidation ?Pneumonia"),
        ("No consolidation, pneumonia cannot be excluded.", "-Consolidation ?Pneumonia"),
        ("No pneumothorax, cannot exclude small effusion.", "-Pneumothorax ?Pleural Effusion"),
        ("Pneumonia has been excluded.", "-Pneumonia"),
        ("Pneumonia is ruled out.", "-Pneumonia"),
    ]);
}

#[test]
fn heart_and_mediastinum_share_a_predicate() {
    let both = "-Cardiomegaly -Enlarged Cardiomediastinum";
    for text in [
        "The cardiac and mediastinal contours are within normal limits.",
        "Cardiac and mediastinal contours are normal.",
        "cardiomediastinal silhouette is within normal limits",
        "Cardiomediastinal and hilar contours are unremarkable.",
        "Heart size and mediastinal contours are unremarkable.",
        "The heart size and the mediastinal contours are grossly normal.",
        "Heart and mediastinum normal.",
        "Heart and mediastinum are not enlarged.",
        "The mediastinal and cardiac silhouettes are unremarkable.",
        "Cardiac, mediastinal, and hilar contours are normal.",
        "The heart, mediastinum and hila are all normal.",
        "Normal heart and mediastinum.",
        "Normal heart, lungs, hila, mediastinum and pleural surfaces.",
        "Normal heart size and mediastinal contours.",
        "Unremarkable cardiomediastinal silhouette.",
        "Heart size is normal and the mediastinal contours are unremarkable.",
        "Heart/mediastinum: normal.",
        "Cardiac and mediastinal contours: Within normal limits.",
    ] {
        assert_labels(&[(text, both)]);
    }
    assert_labels(&[
        ("The heart and hila are normal.", "-Cardiomegaly"),
        ("The mediastinal and hilar contours are normal.", "-Enlarged Cardiomediastinum"),
        ("The heart and mediastinum are enlarged.", "+Cardiomegaly +Enlarged Cardiomediastinum"),
        ("The heart is enlarged and the mediastinum is normal.", "+Cardiomegaly -Enlarged Cardiomediastinum"),
    ]);
    let text = "The lungs are clear without evidence of focal airspace disease. There is no evidence of pneumothorax or \
        large pleural effusion. The cardiac and mediastinal contours are within normal limits.";
    let states = stated(label(text));
    assert_eq!(states.get("No Finding"), Some(&LabelState::Positive));
    for name in ["Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Pneumothorax", "Pleural Effusion"] {
        assert_eq!(states.get(name), Some(&LabelState::Negative), "{name}");
    }
}

#[test]
fn collapse_of_lung_is_atelectasis() {
    assert_labels(&[
        ("Near complete collapse of the left lower lobe.", "+Atelectasis"),
        ("Left lower lobe collapse.", "+Atelectasis"),
        ("Collapsed right upper lobe.", "+Atelectasis"),
        ("The right middle lobe has collapsed.", "+Atelectasis"),
        ("RUL collapse.", "+Atelectasis"),
        ("Large pneumothorax with collapse of the left lung.", "+Pneumothorax +Atelectasis"),
        ("No collapse.", "-Atelectasis"),
        ("No lobar collapse or consolidation.", "-Atelectasis -Consolidation"),
        ("Possible collapse of the lingula.", "?Atelectasis"),
        ("Vertebral collapse.", ""),
        ("Collapse of T8.", ""),
        ("Collapse of the T8 vertebral body.", ""),
        ("Several vertebral bodies are partially collapsed.", ""),
        ("Collapse of a mid thoracic vertebra.", ""),
        ("L1 collapse.", ""),
        ("Expiratory collapse of the trachea.", ""),
    ]);
}

#[test]
fn paragraphs_and_items_of_lists_are_statements() {
    assert_labels(&[
        ("No effusion\n\nPneumothorax on the left", "-Pleural Effusion +Pneumothorax"),
        ("1. No effusion\n2. Pneumothorax", "-Pleural Effusion +Pneumothorax"),
        ("* no effusion\n* pneumothorax", "-Pleural Effusion +Pneumothorax"),
        ("No pleural\n effusion or\n pneumothorax", "-Pleural Effusion -Pneumothorax"),
    ]);
}

#[test]
fn classes_are_those_named_as_present() {
    let cases: &[(&str, &[&str])] = &[
        ("there is a small nodule in the right upper lung zone .", &["Nodule/Mass"]),
        ("no nodule or mass is seen .", &[]),
        ("a dense calcified granuloma is seen .", &["Calcification"]),
        ("two cavities are noted in both upper zones .", &["Lung cavity"]),
        ("there is a possible nodule .", &[]),
        ("the heart is enlarged and the aorta is tortuous .", &["Aortic enlargement", "Cardiomegaly"]),
        ("the main pulmonary artery is moderately enlarged .", &["Enlarged PA"]),
        ("there is left fibrosis with volume loss .", &["Pulmonary fibrosis"]),
        ("the lungs are hyperinflated with mild emphysema .", &["Emphysema"]),
        ("displaced left rib fractures are seen .", &["Rib fracture"]),
        ("both clavicles are fractured .", &["Clavicle fracture"]),
        ("a nonspecific lesion is seen in the left lower zone .", &["Other lesion"]),
        ("increased interstitial markings are seen bilaterally .", &["ILD"]),
        ("", &[]),
    ];
    for (sentence, classes) in cases {
        let found: Vec<&str> = lesion_classes_in(sentence).into_iter().filter_map(lesion_class_name).collect();
        assert_eq!(&found, classes, "{sentence}");
    }
}

#[test]
fn positive_wins_over_uncertain_over_negative() {
    let states = stated(label("No effusion on the right. Possible effusion on the left. Effusion is small."));
    assert_eq!(states, BTreeMap::from([("Pleural Effusion", LabelState::Positive)]));
    let states = stated(label("No effusion on the right. Possible effusion on the left."));
    assert_eq!(states, BTreeMap::from([("Pleural Effusion", LabelState::Uncertain)]));
}

#[test]
fn no_finding_needs_words_and_no_abnormality() {
    let no_finding = |text: &str| label(text)[NO_FINDING];
    assert_eq!(no_finding("The lungs are clear. No effusion."), LabelState::Positive);
    assert_eq!(no_finding("A left chest tube is in place. The lungs are clear."), LabelState::Positive);
    assert_eq!(no_finding("Normal chest radiograph."), LabelState::Positive);
    assert_eq!(no_finding("Possible pneumonia."), LabelState::Blank);
    assert_eq!(no_finding("There is mild emphysema."), LabelState::Blank, "an abnormality without a label counts");
    assert_eq!(label(""), [LabelState::Blank; 14]);
    assert_eq!(label(" \n . "), [LabelState::Blank; 14]);
}

#[test]
fn line_breaks_and_case_do_not_matter() {
    assert_eq!(label("NO PLEURAL\n EFFUSION."), label("no pleural effusion ."));
}

#[test]
fn odd_text_does_not_panic() {
    for text in [
        "\u{130}no e\u{301}ffusion, caf\u{e9} nodule",
        "nononono",
        "or or or",
        "\u{2028}mass\u{0}",
        "no",
        "not",
        "İ̇ no pneumothorax, İ small effusion",
    ] {
        label(text);
    }
}
