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

#[test]
fn sentences_get_the_expected_labels() {
    let wrong: Vec<String> = SENTENCES
        .iter()
        .filter(|(sentence, labels)| stated(label_sentence(sentence).states) != expected(labels))
        .map(|(sentence, labels)| {
            format!("{sentence}\n  expected {labels}\n  found    {:?}", stated(label_sentence(sentence).states))
        })
        .collect();
    assert!(SENTENCES.len() >= 60);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), SENTENCES.len(), wrong.join("\n"));
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
