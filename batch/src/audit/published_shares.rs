//! How often the labels of well-known datasets are positive, as published or as counted in the published label files.
//!
//! `docs/audit.md` names the sources. A label is left out where the lake's label is not the published one: the lung
//! opacities and lesions of ChestX-ray14 (unions of labels whose overlap is not published), `Other lesion` of
//! VinDr-CXR (which stands for nine classes in the challenge's files).

/// The splits of a dataset that a published count can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparable {
    /// The training set was counted; the test set differs from it by design.
    Train,
    /// All splits together were counted.
    All,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Annotated images with at least one box of a class.
    ImagesWithBox,
    /// Studies whose label is positive.
    PositiveStudies,
}

/// The published counts of a dataset.
#[derive(Debug, Clone, Copy)]
pub struct PublishedShares {
    /// The dataset's layout, as `d2r ingest` names it.
    pub layout: &'static str,
    pub unit: Unit,
    pub comparable: Comparable,
    /// Where the numbers are from.
    pub source: &'static str,
    /// Images or studies that were counted.
    pub total: u32,
    /// Label, and how many have it.
    pub counts: &'static [(&'static str, u32)],
}

impl PublishedShares {
    /// The published share of a label.
    pub fn share(&self, label: &str) -> Option<f64> {
        let (_, count) = self.counts.iter().find(|(name, _)| *name == label)?;
        Some(f64::from(*count) / f64::from(self.total))
    }
}

pub const PUBLISHED: [PublishedShares; 4] = [
    PublishedShares {
        layout: "vindr",
        unit: Unit::ImagesWithBox,
        comparable: Comparable::Train,
        source: "train.csv of the VinBigData challenge (VinDr-CXR training set): images in which any of three \
                 radiologists drew a box of the class",
        total: 15_000,
        counts: &[
            ("Aortic enlargement", 3067),
            ("Atelectasis", 186),
            ("Calcification", 452),
            ("Cardiomegaly", 2300),
            ("Consolidation", 353),
            ("ILD", 386),
            ("Infiltration", 613),
            ("Lung Opacity", 1322),
            ("Nodule/Mass", 826),
            ("Pleural effusion", 1032),
            ("Pleural thickening", 1981),
            ("Pneumothorax", 96),
            ("Pulmonary fibrosis", 1617),
        ],
    },
    PublishedShares {
        layout: "mimic",
        unit: Unit::PositiveStudies,
        comparable: Comparable::Train,
        source: "MIMIC-CXR-JPG (Johnson et al. 2019), frequency of findings in the training set: positive by both \
                 CheXpert and NegBio",
        total: 222_750,
        counts: &[
            ("Atelectasis", 44_012),
            ("Cardiomegaly", 38_002),
            ("Consolidation", 10_199),
            ("Edema", 25_549),
            ("Enlarged Cardiomediastinum", 6798),
            ("Fracture", 3675),
            ("Lung Lesion", 5939),
            ("Lung Opacity", 49_512),
            ("No Finding", 74_019),
            ("Pleural Effusion", 51_680),
            ("Pleural Other", 1884),
            ("Pneumonia", 15_333),
            ("Pneumothorax", 9159),
            ("Support Devices", 63_971),
        ],
    },
    PublishedShares {
        layout: "nih",
        unit: Unit::PositiveStudies,
        comparable: Comparable::All,
        source: "ChestX-ray14, counted in its label file by doi:10.1007/s10278-023-00801-4, table 1",
        total: 112_120,
        counts: &[
            ("Atelectasis", 11_559),
            ("Cardiomegaly", 2776),
            ("Consolidation", 4667),
            ("Edema", 2303),
            ("No Finding", 60_361),
            ("Pleural Effusion", 13_317),
            ("Pleural Other", 3385),
            ("Pneumonia", 1431),
            ("Pneumothorax", 5302),
        ],
    },
    PublishedShares {
        layout: "rsna",
        unit: Unit::PositiveStudies,
        comparable: Comparable::All,
        source: "stage_2_detailed_class_info.csv of the RSNA Pneumonia Detection Challenge",
        total: 26_684,
        counts: &[("Lung Opacity", 6012), ("No Finding", 8851)],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use d2r_contracts::labels::{CHEXPERT_LABELS, LESION_CLASSES};

    #[test]
    fn labels_are_the_lakes_and_counts_are_parts_of_the_total() {
        for set in PUBLISHED {
            let known: &[&str] = if set.unit == Unit::ImagesWithBox { &LESION_CLASSES } else { &CHEXPERT_LABELS };
            for (label, count) in set.counts {
                assert!(known.contains(label), "{} {label}", set.layout);
                assert!(*count > 0 && *count < set.total, "{} {label}", set.layout);
            }
        }
        assert_eq!(PUBLISHED[1].share("No Finding").map(|s| (1000.0 * s).round()), Some(332.0));
        assert_eq!(PUBLISHED[0].share("Other lesion"), None);
    }
}
