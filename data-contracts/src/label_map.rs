//! Names that other datasets use for findings, with the VinDr-CXR class of a box and the CheXpert label of a report
//! that they stand for. Names are compared without regard to case, underscores and hyphens.
//!
//! The correspondence is our own: the label sets were defined independently. Where a set is coarser than VinDr's the
//! least specific class that fits is taken.

use crate::labels::{lesion_class_id, lesion_class_name};

/// A name of one or more datasets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedLabel {
    /// As the dataset writes it.
    pub name: &'static str,
    /// VinDr-CXR class; `None` where a box of that name has none.
    pub lesion: Option<&'static str>,
    /// CheXpert label; `None` where no label of a report corresponds.
    pub label: Option<&'static str>,
    /// The datasets that use the name.
    pub sources: &'static str,
}

const fn map(
    name: &'static str,
    lesion: Option<&'static str>,
    label: Option<&'static str>,
    sources: &'static str,
) -> MappedLabel {
    MappedLabel { name, lesion, label, sources }
}

const NIH: &str = "NIH ChestX-ray14 (Wang et al. 2017)";
const NIH_BOXES: &str = "NIH ChestX-ray14, BBox_List_2017.csv";
const CHESTX_DET: &str = "ChestX-Det (Liu et al. 2020, Lian et al. 2021)";
const NIH_AND_DET: &str = "NIH ChestX-ray14; ChestX-Det";
const RSNA: &str = "RSNA Pneumonia Detection Challenge (Shih et al. 2019), class of stage_2_detailed_class_info.csv";
const TBX11K: &str = "TBX11K (Liu et al. 2020)";
const OPENI: &str = "Open-i Indiana University (Demner-Fushman et al. 2016), beginning of a MeSH term";
const CHEXPERT: &str = "CheXpert, MIMIC-CXR (Irvin et al. 2019)";

/// All names that are not VinDr-CXR's own.
pub const LABEL_MAP: &[MappedLabel] = &[
    map("Atelectasis", Some("Atelectasis"), Some("Atelectasis"), NIH_AND_DET),
    map("Cardiomegaly", Some("Cardiomegaly"), Some("Cardiomegaly"), NIH_AND_DET),
    map("Consolidation", Some("Consolidation"), Some("Consolidation"), NIH_AND_DET),
    map("Edema", Some("Edema"), Some("Edema"), NIH),
    map("Effusion", Some("Pleural effusion"), Some("Pleural Effusion"), NIH_AND_DET),
    map("Emphysema", Some("Emphysema"), None, NIH_AND_DET),
    map("Fibrosis", Some("Pulmonary fibrosis"), Some("Lung Opacity"), NIH_AND_DET),
    map("Hernia", Some("Other lesion"), None, NIH),
    map("Infiltration", Some("Infiltration"), Some("Lung Opacity"), NIH),
    map("Infiltrate", Some("Infiltration"), Some("Lung Opacity"), NIH_BOXES),
    map("Mass", Some("Nodule/Mass"), Some("Lung Lesion"), NIH_AND_DET),
    map("Nodule", Some("Nodule/Mass"), Some("Lung Lesion"), NIH_AND_DET),
    map("Pleural_Thickening", Some("Pleural thickening"), Some("Pleural Other"), NIH_AND_DET),
    // Boxes of pneumonia mark the opacity (as RSNA's annotators named the same images' boxes).
    map("Pneumonia", Some("Lung Opacity"), Some("Pneumonia"), NIH_BOXES),
    map("Pneumothorax", Some("Pneumothorax"), Some("Pneumothorax"), NIH_AND_DET),
    map("Calcification", Some("Calcification"), Some("Lung Lesion"), CHESTX_DET),
    map("Diffuse Nodule", Some("Nodule/Mass"), Some("Lung Lesion"), CHESTX_DET),
    // ChestX-Det does not name the bone; most fractures in a chest radiograph's field are of ribs.
    map("Fracture", Some("Rib fracture"), Some("Fracture"), CHESTX_DET),
    map("Lung Opacity", Some("Lung Opacity"), Some("Lung Opacity"), RSNA),
    map("Normal", None, Some("No Finding"), RSNA),
    map("No Lung Opacity / Not Normal", None, None, RSNA),
    map("No Finding", None, Some("No Finding"), NIH),
    map("ActiveTuberculosis", Some("Other lesion"), None, TBX11K),
    map("ObsoletePulmonaryTuberculosis", Some("Other lesion"), None, TBX11K),
    map("PulmonaryTuberculosis", Some("Other lesion"), None, TBX11K),
    map("Enlarged Cardiomediastinum", None, Some("Enlarged Cardiomediastinum"), CHEXPERT),
    map("Lung Lesion", Some("Nodule/Mass"), Some("Lung Lesion"), CHEXPERT),
    map("Pleural Effusion", Some("Pleural effusion"), Some("Pleural Effusion"), CHEXPERT),
    map("Pleural Other", None, Some("Pleural Other"), CHEXPERT),
    map("Support Devices", None, Some("Support Devices"), CHEXPERT),
    map("Pulmonary Atelectasis", Some("Atelectasis"), Some("Atelectasis"), OPENI),
    map("Pulmonary Edema", Some("Edema"), Some("Edema"), OPENI),
    map("Pulmonary Congestion", None, Some("Edema"), OPENI),
    map("Pulmonary Emphysema", Some("Emphysema"), None, OPENI),
    map("Pulmonary Fibrosis", Some("Pulmonary fibrosis"), Some("Lung Opacity"), OPENI),
    map("Opacity", Some("Lung Opacity"), Some("Lung Opacity"), OPENI),
    map("Density", Some("Lung Opacity"), Some("Lung Opacity"), OPENI),
    map("Cicatrix", Some("Pulmonary fibrosis"), Some("Lung Opacity"), OPENI),
    map("Lung Diseases, Interstitial", Some("ILD"), Some("Lung Opacity"), OPENI),
    map("Granuloma", Some("Calcification"), Some("Lung Lesion"), OPENI),
    map("Calcified Granuloma", Some("Calcification"), Some("Lung Lesion"), OPENI),
    map("Granulomatous Disease", Some("Calcification"), Some("Lung Lesion"), OPENI),
    map("Calcinosis", Some("Calcification"), Some("Lung Lesion"), OPENI),
    map("Cysts", Some("Lung cyst"), Some("Lung Lesion"), OPENI),
    map("Thickening/pleura", Some("Pleural thickening"), Some("Pleural Other"), OPENI),
    map("Fractures, Bone", Some("Rib fracture"), Some("Fracture"), OPENI),
    map("Implanted Medical Device", None, Some("Support Devices"), OPENI),
    map("Medical Device", None, Some("Support Devices"), OPENI),
    map("Catheters, Indwelling", None, Some("Support Devices"), OPENI),
    map("Tube, Inserted", None, Some("Support Devices"), OPENI),
    map("Surgical Instruments", None, Some("Support Devices"), OPENI),
];

/// A name as it is compared: lower case, words separated by one blank.
pub(crate) fn normal_form(name: &str) -> String {
    let words = name.split(|c: char| c.is_whitespace() || c == '_' || c == '-').filter(|w| !w.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// The entry of a name.
fn entry(name: &str) -> Option<&'static MappedLabel> {
    let name = normal_form(name);
    LABEL_MAP.iter().find(|m| normal_form(m.name) == name)
}

/// The VinDr-CXR class of a name of any dataset, VinDr's own names first; `None` for an unknown name.
pub fn lesion_class_of(name: &str) -> Option<i32> {
    let own = || {
        let name = normal_form(name);
        (0..).map_while(lesion_class_name).find(|c| normal_form(c) == name).and_then(lesion_class_id)
    };
    lesion_class_id(name).or_else(own).or_else(|| entry(name)?.lesion.and_then(lesion_class_id))
}

/// The CheXpert label of a name of any dataset; `Err` for an unknown name, `Ok(None)` where no label corresponds.
///
/// # Errors
/// When the name is in no table.
pub fn chexpert_label_of(name: &str) -> Result<Option<&'static str>, UnknownLabel> {
    entry(name).map(|m| m.label).ok_or(UnknownLabel)
}

/// A name that is in no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownLabel;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{CHEXPERT_LABELS, LESION_CLASSES, label_of_lesion};

    #[test]
    fn every_entry_leads_to_names_that_exist_and_is_there_once() {
        for (k, m) in LABEL_MAP.iter().enumerate() {
            assert!(m.lesion.is_none_or(|l| LESION_CLASSES.contains(&l)), "{}: {:?}", m.name, m.lesion);
            assert!(m.label.is_none_or(|l| CHEXPERT_LABELS.contains(&l)), "{}: {:?}", m.name, m.label);
            assert!(!m.sources.is_empty());
            let again = LABEL_MAP.iter().skip(k + 1).find(|o| normal_form(o.name) == normal_form(m.name));
            assert!(again.is_none(), "{} is there twice", m.name);
        }
    }

    #[test]
    fn a_box_and_a_report_of_one_name_agree() {
        // Pneumonia is a label of reports; a box of it marks its opacity.
        for m in LABEL_MAP.iter().filter(|m| m.name != "Pneumonia") {
            let (Some(lesion), Some(label)) = (m.lesion, m.label) else { continue };
            let of_lesion = lesion_class_id(lesion).and_then(label_of_lesion);
            assert_eq!(of_lesion, Some(label), "{}", m.name);
        }
    }

    #[test]
    fn all_names_of_the_datasets_are_known() {
        let nih = [
            "Atelectasis",
            "Cardiomegaly",
            "Effusion",
            "Infiltration",
            "Mass",
            "Nodule",
            "Pneumonia",
            "Pneumothorax",
            "Consolidation",
            "Edema",
            "Emphysema",
            "Fibrosis",
            "Pleural_Thickening",
            "Hernia",
        ];
        let chestx_det = [
            "Atelectasis",
            "Calcification",
            "Cardiomegaly",
            "Consolidation",
            "Diffuse Nodule",
            "Effusion",
            "Emphysema",
            "Fibrosis",
            "Fracture",
            "Mass",
            "Nodule",
            "Pleural Thickening",
            "Pneumothorax",
        ];
        let others = ["Infiltrate", "Lung Opacity", "ActiveTuberculosis", "ObsoletePulmonaryTuberculosis"];
        for name in nih.iter().chain(&chestx_det).chain(&others) {
            assert!(lesion_class_of(name).is_some(), "{name}");
        }
        for name in nih.iter().chain(&["No Finding", "Normal", "No Lung Opacity / Not Normal"]) {
            assert!(chexpert_label_of(name).is_ok(), "{name}");
        }
        for (id, class) in (0..).zip(LESION_CLASSES) {
            assert_eq!(lesion_class_of(class), Some(id), "VinDr's own names come first");
        }
        for label in CHEXPERT_LABELS {
            assert_eq!(chexpert_label_of(label), Ok(Some(label)));
        }
    }

    #[test]
    fn spelling_and_unknown_names() {
        assert_eq!(lesion_class_of(" pleural_thickening"), lesion_class_id("Pleural thickening"));
        assert_eq!(lesion_class_of("lung-opacity"), lesion_class_id("Lung Opacity"));
        assert_eq!(lesion_class_of("Infiltrate"), lesion_class_of("Infiltration"));
        assert_eq!(lesion_class_of("Martian"), None);
        assert_eq!(lesion_class_of(""), None);
        assert_eq!(chexpert_label_of("Martian"), Err(UnknownLabel));
        assert_eq!(chexpert_label_of("Hernia"), Ok(None));
    }
}
