//! The probabilities of realistic phantoms: what reports leave out, hedge and deny, how they are laid out, and how
//! annotators differ. All of them are here, each with its reason.
//!
//! Published figures behind them:
//!
//! - *Omission.* Radiographs that are read again show about 30 % errors among abnormal ones, 70 % of them not seen
//!   (Berlin, Diagnosis 2014, doi 10.1515/dx-2013-0012, after Garland). Of 259 lung cancers presenting as a nodule
//!   19 % were missed; the median diameter was 16 mm of missed and 40 mm of detected ones (Quekel et al., Chest 1999,
//!   doi 10.1378/chest.115.3.720). Radiologists who label reports and radiologists who label the same images agree with
//!   a kappa of 0.31 to 0.43 only (Jain et al., VisualCheXbert, arXiv 2102.11467).
//! - *Hedging.* Uncertain labels among positive and uncertain ones of the images of CheXpert's training split:
//!   consolidation 65 %, atelectasis 50 %, cardiomegaly 23 %, edema 20 %, pleural effusion 12 % (Irvin et al., arXiv
//!   1901.07031).
//! - *Annotators.* Two radiologists agreed on the presence of an infiltrate in 79 % of 282 patients of whom another had
//!   seen one (kappa 0.37), on an effusion with a kappa of 0.46 (Albaum et al., Chest 1996, doi 10.1378/chest.110.2.343);
//!   positive agreement on pneumonia was 59 % (Hopstaken et al., Clin Radiol 2004, doi 10.1016/j.crad.2004.01.011).
//!   VinDr-CXR publishes the boxes of three annotators and no agreement by class (Nguyen et al., doi
//!   10.1038/s41597-022-01498-w).
//! - *Errors of wording.* 9.7 % of 213,977 dictated reports had errors, most of them of spelling (Ringler et al., doi
//!   10.1177/1460458215613614).
//! - *Earlier examinations.* Reports of MIMIC-CXR refer to earlier ones so often that models invent them (Ramesh et al.,
//!   arXiv 2210.06340).
//!
//! Where nothing is published by class, the order of the classes is ours: what is large, dense or acute is missed least,
//! what is old, flat or at the edge of the lung is missed most.

use d2r_contracts::labels::lesion_class_name;

/// What is rare or hard about a lesion class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassRates {
    /// The class, as in VinDr-CXR.
    pub class: &'static str,
    /// Probability that a report leaves a lesion of moderate size out.
    pub omitted: f64,
    /// Probability that a report that mentions it does so with a hedge.
    pub hedged: f64,
    /// Probability that an annotator draws no box for it.
    pub missed: f64,
    /// Standard deviation of an edge that an annotator draws, as a share of the box's width or height: lesions without a
    /// sharp border are boxed less alike.
    pub jitter: f32,
    /// Probability that an annotator who boxes it names another class.
    pub confused: f64,
    /// Those classes, equally probable.
    pub confused_with: &'static [&'static str],
}

const fn rates(
    class: &'static str,
    (omitted, hedged): (f64, f64),
    (missed, jitter): (f64, f32),
    (confused, confused_with): (f64, &'static [&'static str]),
) -> ClassRates {
    ClassRates { class, omitted, hedged, missed, jitter, confused, confused_with }
}

/// By class: (omitted, hedged), (missed, jitter), (confused, with).
///
/// Hedging follows the shares of CheXpert, less for consolidation and atelectasis, whose uncertain labels often name one
/// cause of an opacity among several. Confusion joins classes that differ in degree (infiltration, consolidation,
/// opacity), in density (nodule, calcification) or in cause (interstitial disease, fibrosis).
pub const CLASS_RATES: [ClassRates; 22] = [
    rates("Aortic enlargement", (0.30, 0.10), (0.25, 0.06), (0.0, &[])),
    rates("Atelectasis", (0.15, 0.35), (0.25, 0.09), (0.20, &["Consolidation", "Lung Opacity", "Infiltration"])),
    rates("Calcification", (0.35, 0.10), (0.30, 0.08), (0.15, &["Nodule/Mass", "Other lesion"])),
    rates("Cardiomegaly", (0.12, 0.20), (0.10, 0.03), (0.0, &[])),
    rates("Clavicle fracture", (0.10, 0.08), (0.12, 0.08), (0.05, &["Other lesion"])),
    rates("Consolidation", (0.08, 0.40), (0.12, 0.08), (0.25, &["Infiltration", "Lung Opacity"])),
    rates("Edema", (0.12, 0.20), (0.25, 0.10), (0.20, &["ILD", "Infiltration"])),
    rates("Emphysema", (0.20, 0.15), (0.30, 0.08), (0.05, &["Other lesion"])),
    rates("Enlarged PA", (0.30, 0.20), (0.30, 0.08), (0.10, &["Other lesion"])),
    rates("ILD", (0.15, 0.25), (0.25, 0.09), (0.30, &["Pulmonary fibrosis", "Infiltration"])),
    rates("Infiltration", (0.15, 0.30), (0.21, 0.10), (0.35, &["Consolidation", "Lung Opacity"])),
    rates("Lung Opacity", (0.15, 0.10), (0.21, 0.10), (0.30, &["Infiltration", "Consolidation"])),
    rates("Lung cavity", (0.08, 0.20), (0.12, 0.06), (0.15, &["Nodule/Mass", "Other lesion"])),
    rates("Lung cyst", (0.20, 0.20), (0.25, 0.07), (0.15, &["Lung cavity", "Other lesion"])),
    rates("Mediastinal shift", (0.10, 0.10), (0.20, 0.08), (0.05, &["Other lesion"])),
    rates("Nodule/Mass", (0.12, 0.15), (0.18, 0.06), (0.12, &["Calcification", "Other lesion"])),
    rates("Pleural effusion", (0.08, 0.12), (0.12, 0.08), (0.06, &["Pleural thickening"])),
    rates("Pleural thickening", (0.30, 0.25), (0.30, 0.09), (0.15, &["Pleural effusion", "Pulmonary fibrosis"])),
    rates("Pneumothorax", (0.07, 0.12), (0.10, 0.07), (0.0, &[])),
    rates("Pulmonary fibrosis", (0.20, 0.20), (0.25, 0.09), (0.25, &["ILD", "Pleural thickening"])),
    rates("Rib fracture", (0.25, 0.08), (0.25, 0.09), (0.05, &["Other lesion"])),
    rates("Other lesion", (0.30, 0.20), (0.30, 0.08), (0.10, &["Lung Opacity"])),
];

/// The rates of a class; those of the last one for an unknown id.
pub fn of_class(class_id: i32) -> &'static ClassRates {
    let name = lesion_class_name(class_id);
    CLASS_RATES.iter().find(|rates| Some(rates.class) == name).unwrap_or(&CLASS_RATES[CLASS_RATES.len() - 1])
}

/// A lesion that is drawn small is omitted and missed this many times as often. Missed cancers had 0.4 times the diameter
/// of detected ones (Quekel); with a miss rate of 0.12 at ordinary size this gives one in four of the small ones.
pub const SMALL_FACTOR: f64 = 2.2;
/// The same of omission alone for a mild lesion of ordinary size.
pub const MILD_FACTOR: f64 = 1.5;
/// And for a severe one, which few reports leave out.
pub const SEVERE_FACTOR: f64 = 0.4;
/// No lesion is omitted or missed more often than this.
pub const MOST: f64 = 0.85;

/// Share of studies with nothing but small or mild lesions whose report is the copied normal text. Ours: of the errors of
/// abnormal radiographs (30 %) the larger part are whole studies read as normal.
pub const NORMAL_TEMPLATE: f64 = 0.15;
/// Share of the normal statements that an omitted lesion makes untrue that are written all the same. Templates are
/// complete by default, so that most of them stay; a radiologist who saw nothing of a region has no reason to erase one.
pub const UNTRUE_KEPT: f64 = 0.7;
/// Share of the usual normal statements of a report that are written, and of those that fill a short one.
pub const NORMAL_KEPT: f64 = 0.85;
/// See [`NORMAL_KEPT`].
pub const FILLER_KEPT: f64 = 0.12;

/// A hedged finding is given beside an alternative ("versus") in this share, where its class has one.
pub const VERSUS: f64 = 0.3;
/// Share of reports with an opacity, consolidation, infiltration or atelectasis that name pneumonia as possible.
/// CheXpert's labels of pneumonia are uncertain about three times as often as positive.
pub const PNEUMONIA: f64 = 0.25;
/// Share of findings that are described without a name of their class. Ours: one in eight.
pub const DESCRIBED: f64 = 0.12;
/// Share of findings under a synonym or an abbreviation. Ours: one in six.
pub const SYNONYM: f64 = 0.17;
/// Share of reports with one misspelt word: the errors of spelling among the 9.7 % with any error (Ringler).
pub const MISSPELT: f64 = 0.07;

/// Share of reports that compare with an earlier examination. Ours; most of the patients of MIMIC-CXR have several
/// studies.
pub const PRIOR: f64 = 0.4;
/// Of their findings, the share that is called unchanged, stable and the like.
pub const PRIOR_FINDING: f64 = 0.5;
/// Share of reports that end with a remark on a telephone call, with the names taken out.
pub const NOTIFIED: f64 = 0.05;
/// Share of abnormal reports whose impression is hedged as a whole or says "no acute" although something is reported.
pub const NO_ACUTE: f64 = 0.12;
/// Share of the impression's items beyond the first that are left out: impressions are shorter than findings.
pub const IMPRESSION_SHORTENED: f64 = 0.3;

/// Shares of the dictation styles: prose, terse list, headings of organs. Ours; structured reports are the fewest in
/// MIMIC-CXR.
pub const STYLES: [f64; 3] = [0.6, 0.25, 0.15];
/// Shares of the sections of a free-text report: FINDINGS and IMPRESSION, IMPRESSION alone, FINDINGS AND IMPRESSION in one,
/// FINDINGS alone. About a third of the reports of MIMIC-CXR have no FINDINGS of their own, the joint ones among them.
pub const SECTIONS: [f64; 4] = [0.58, 0.2, 0.12, 0.1];

/// Whether a lesion is hard is shared by the annotators of an image: in this share of the lesions it is.
pub const HARD: f64 = 0.25;
/// A hard lesion is missed this many times as often.
pub const HARD_FACTOR: f64 = 2.5;
/// The others this many times as often, so that the mean is the table's.
pub const EASY_FACTOR: f64 = 0.5;
/// Share of readings with a box where nothing is drawn.
pub const EXTRA_BOX: f64 = 0.08;
/// Five annotators who agree on a box miss, shift and confuse by this share of what one of them does.
pub const CONSENSUS_FACTOR: f64 = 0.25;

#[cfg(test)]
mod tests {
    use d2r_contracts::labels::{LESION_CLASSES, lesion_class_id};

    use super::*;

    #[test]
    fn every_class_has_rates_that_are_probabilities() {
        assert_eq!(CLASS_RATES.map(|rates| rates.class), LESION_CLASSES);
        for rates in &CLASS_RATES {
            for share in [rates.omitted, rates.hedged, rates.missed, rates.confused] {
                assert!((0.0..=MOST).contains(&share), "{rates:?}");
            }
            assert!(rates.confused_with.iter().all(|other| lesion_class_id(other).is_some() && *other != rates.class));
            assert_eq!(rates.confused > 0.0, !rates.confused_with.is_empty(), "{rates:?}");
        }
    }

    #[test]
    fn shares_of_alternatives_add_up() {
        for sum in [STYLES.iter().sum::<f64>(), SECTIONS.iter().sum()] {
            assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        }
        assert!((HARD * HARD_FACTOR + (1.0 - HARD) * EASY_FACTOR - 1.0).abs() < 1e-9);
    }

    #[test]
    fn an_unknown_class_has_the_rates_of_other_lesions() {
        assert_eq!(of_class(99).class, "Other lesion");
    }
}
