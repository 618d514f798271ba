//! The words by which a report names a lesion class, and the phrases by which it negates a label.
//!
//! For rule-based labelers. In a sentence without `no` or `without`, a term below means that its class is
//! present; the CheXpert label follows from [`label_of_lesion`](d2r_contracts::labels::finding_of_lesion). In a
//! sentence with `no`, it means that the label is negative. Matching is on lower-case text, by substring.
//!
//! | CheXpert label | lesion classes | terms |
//! |---|---|---|
//! | Enlarged Cardiomediastinum | Aortic enlargement | `tortuous`, `aortic arch`, `aortic enlargement`, `aorta is ... dilated` |
//! | | Enlarged PA | `pulmonary artery` |
//! | | Mediastinal shift | `mediastinal shift`, `mediastinum is shifted` |
//! | Cardiomegaly | Cardiomegaly | `cardiomegaly`, `heart is ... enlarged`, `cardiac silhouette is ... enlarged` |
//! | Lung Opacity | Infiltration | `infiltrate`, `infiltration` |
//! | | Lung Opacity | `opacity`, `opacities` |
//! | | ILD | `interstitial` |
//! | | Pulmonary fibrosis | `fibrosis`, `fibrotic` |
//! | Lung Lesion | Nodule/Mass | `nodule`, `mass` |
//! | | Calcification | `granuloma` (always `calcified`) |
//! | | Lung cavity | `cavity`, `cavities` |
//! | | Lung cyst | `cyst` |
//! | Edema | Edema | `edema` |
//! | Consolidation | Consolidation | `consolidation` |
//! | Atelectasis | Atelectasis | `atelectasis` |
//! | Pneumothorax | Pneumothorax | `pneumothorax`, `pneumothoraces` |
//! | Pleural Effusion | Pleural effusion | `pleural effusion` |
//! | Pleural Other | Pleural thickening | `pleural thickening` |
//! | Fracture | Rib fracture | `rib fracture` |
//! | | Clavicle fracture | `clavicle` (always with `fracture` or `fractured`) |
//! | none | Emphysema | `emphysema`, `emphysematous` |
//! | none | Other lesion | `nonspecific lesion` |
//!
//! Normal statements deny without `no`: `lungs are ... clear` (Lung Opacity), `heart size is normal`, `heart is normal
//! in size`, `cardiac silhouette is normal` (Cardiomegaly), `mediastinal contours are normal` or `unremarkable`,
//! `mediastinum is normal` or `within normal limits` (Enlarged Cardiomediastinum). `The left lung is clear`, `the ribs
//! are intact` or `unremarkable`, and the statements about the trachea negate no label. `no fracture` negates Fracture,
//! `no nodule` or `no mass` Lung Lesion. An impression of `no acute ... abnormality`, `no acute cardiopulmonary
//! process` or `normal chest radiograph` means No Finding. `costophrenic angle`, `volume loss` and
//! `hyperinflated` occur beside a class name and name no class.

/// Class name and the terms that name it, lower case.
pub const TERMS: [(&str, &[&str]); 22] = [
    ("Aortic enlargement", &["tortuous", "aortic arch", "aortic enlargement", "thoracic aorta is"]),
    ("Atelectasis", &["atelectasis"]),
    ("Calcification", &["granuloma"]),
    (
        "Cardiomegaly",
        &[
            "cardiomegaly",
            "heart is mildly",
            "heart is moderately",
            "heart is markedly",
            "silhouette is mildly",
            "silhouette is moderately",
            "silhouette is markedly",
        ],
    ),
    ("Clavicle fracture", &["clavicle"]),
    ("Consolidation", &["consolidation"]),
    ("Edema", &["edema"]),
    ("Emphysema", &["emphysema"]),
    ("Enlarged PA", &["pulmonary artery"]),
    ("ILD", &["interstitial"]),
    ("Infiltration", &["infiltrat"]),
    ("Lung Opacity", &["opacity", "opacities"]),
    ("Lung cavity", &["cavity", "cavities"]),
    ("Lung cyst", &["cyst"]),
    ("Mediastinal shift", &["mediastinal shift", "mediastinum is shifted"]),
    ("Nodule/Mass", &["nodule", " mass"]),
    ("Pleural effusion", &["pleural effusion"]),
    ("Pleural thickening", &["pleural thickening"]),
    ("Pneumothorax", &["pneumothora"]),
    ("Pulmonary fibrosis", &["fibrosis", "fibrotic"]),
    ("Rib fracture", &["rib fracture"]),
    ("Other lesion", &["nonspecific lesion"]),
];

/// Classes that a lower-case sentence names, present or negated.
pub fn named_classes(sentence: &str) -> Vec<&'static str> {
    TERMS.iter().filter(|(_, terms)| terms.iter().any(|t| sentence.contains(t))).map(|(class, _)| *class).collect()
}
