//! Label sets: the 22 lesion classes of VinDr-CXR (its local labels) and the 14 CheXpert labels of MIMIC-CXR.
//!
//! Class names are the only safe key between files: two orders of the VinDr labels circulate. Ids here are
//! the column order of the PhysioNet csv files.

pub mod label_set;

use serde::{Deserialize, Serialize};

/// The 22 local labels of VinDr-CXR; the index is the class id.
pub const LESION_CLASSES: [&str; 22] = [
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Clavicle fracture",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Enlarged PA",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Lung cavity",
    "Lung cyst",
    "Mediastinal shift",
    "Nodule/Mass",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
    "Rib fracture",
    "Other lesion",
];

/// The six global labels of VinDr-CXR.
pub const GLOBAL_LABELS: [&str; 6] =
    ["COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding"];

/// The name both VinDr layouts use for an image without lesions.
pub const NO_FINDING: &str = "No finding";

/// Kaggle (VinBigData) class ids 0 to 13 as class names; id 14 is "No finding".
pub const KAGGLE_CLASSES: [&str; 14] = [
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Consolidation",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Nodule/Mass",
    "Other lesion",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
];

/// The 14 CheXpert labels, in CheXbert's order.
pub const CHEXPERT_LABELS: [&str; 14] = [
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "No Finding",
];

/// The class id of a VinDr label, whatever its case; `None` for an unknown name.
pub fn lesion_class_id(name: &str) -> Option<i32> {
    let name = name.trim();
    LESION_CLASSES.iter().position(|c| c.eq_ignore_ascii_case(name)).map(|i| i as i32)
}

/// The class name of a class id; `None` outside 0..22.
pub fn lesion_class_name(id: i32) -> Option<&'static str> {
    usize::try_from(id).ok().and_then(|i| LESION_CLASSES.get(i)).copied()
}

/// The CheXpert label of a lesion class.
///
/// The correspondence is our own: the two sets were defined independently. A class without a counterpart gives `None`.
pub fn label_of_lesion(class_id: i32) -> Option<&'static str> {
    Some(match lesion_class_name(class_id)? {
        "Aortic enlargement" | "Enlarged PA" | "Mediastinal shift" => "Enlarged Cardiomediastinum",
        "Cardiomegaly" => "Cardiomegaly",
        "Atelectasis" => "Atelectasis",
        "Consolidation" => "Consolidation",
        "Edema" => "Edema",
        "Infiltration" | "Lung Opacity" | "ILD" | "Pulmonary fibrosis" => "Lung Opacity",
        "Nodule/Mass" | "Calcification" | "Lung cavity" | "Lung cyst" => "Lung Lesion",
        "Pleural effusion" => "Pleural Effusion",
        "Pleural thickening" => "Pleural Other",
        "Pneumothorax" => "Pneumothorax",
        "Clavicle fracture" | "Rib fracture" => "Fracture",
        _ => return None,
    })
}

/// State of one label in a report (CheXpert's four states).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelState {
    /// Not mentioned.
    Blank,
    /// Stated as present.
    Positive,
    /// Stated as absent.
    Negative,
    /// Stated as possible.
    Uncertain,
}

impl LabelState {
    /// The value in the `findings` table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Uncertain => "uncertain",
        }
    }

    /// The state of a value of the `findings` table.
    pub fn parse(value: &str) -> Option<Self> {
        [Self::Blank, Self::Positive, Self::Negative, Self::Uncertain].into_iter().find(|s| s.as_str() == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kaggle_names_are_vindr_names() {
        for name in KAGGLE_CLASSES {
            assert!(lesion_class_id(name).is_some(), "{name}");
        }
    }

    #[test]
    fn labels_of_lesions_are_chexpert_labels() {
        for id in 0..22 {
            if let Some(label) = label_of_lesion(id) {
                assert!(CHEXPERT_LABELS.contains(&label), "{label}");
            }
        }
        assert_eq!(label_of_lesion(22), None);
        assert_eq!(label_of_lesion(-1), None);
    }
}
