//! What real reports write beside the names of the classes: descriptions, synonyms and short forms, hedges, alternatives,
//! mentions of earlier examinations, misspellings. Placeholders are those of [`super::present`].
//!
//! Each phrase states the labels that a radiologist reads in it, whether or not the rule labeler knows its words.

use d2r_contracts::labels::LabelState;

use LabelState::{Positive, Uncertain};

/// A label and what is stated of it.
pub(super) type States = &'static [(&'static str, LabelState)];

const MEDIASTINUM: States = &[("Enlarged Cardiomediastinum", Positive)];
const HEART: States = &[("Cardiomegaly", Positive)];
const OPACITY: States = &[("Lung Opacity", Positive)];
const LESION: States = &[("Lung Lesion", Positive)];
const ATELECTASIS: States = &[("Atelectasis", Positive)];
const CONSOLIDATION: States = &[("Consolidation", Positive)];
const EDEMA: States = &[("Edema", Positive)];
const EFFUSION: States = &[("Pleural Effusion", Positive)];
const BLUNTED: States = &[("Pleural Effusion", Uncertain)];
const PLEURA: States = &[("Pleural Other", Positive)];
const PNEUMOTHORAX: States = &[("Pneumothorax", Positive)];
const FRACTURE: States = &[("Fracture", Positive)];
const NO_LABEL: States = &[];

/// A wording, in lower case with a full stop, and what it states.
pub(super) type Phrase = (&'static str, States);

/// Wordings that describe a lesion and do not name its class.
pub(super) fn descriptions(class: &str) -> &'static [Phrase] {
    match class {
        "Aortic enlargement" => &[
            ("the arch protrudes to the left of the midline.", MEDIASTINUM),
            ("the left upper mediastinal border is convex.", MEDIASTINUM),
        ],
        "Atelectasis" => &[
            ("there is volume loss {lobe}.", ATELECTASIS),
            ("there are linear bands {lobe} with elevation of the hemidiaphragm.", ATELECTASIS),
        ],
        "Calcification" => &[
            ("a tiny dense focus is seen {zone}.", LESION),
            ("there is sequela of old granulomatous disease {zone}.", LESION),
        ],
        "Cardiomegaly" => &[
            ("the cardiothoracic ratio is above one half.", HEART),
            ("the transverse diameter of the heart exceeds half of the thorax.", HEART),
        ],
        "Clavicle fracture" => &[("there is a step-off in the cortex of {clavicle}.", FRACTURE)],
        "Consolidation" => &[
            ("there is airspace disease {lobe} with air bronchograms.", OPACITY),
            ("confluent density {lobe} obscures the vessels.", OPACITY),
        ],
        "Edema" => &[
            ("Kerley lines and perihilar blurring are present.", EDEMA),
            ("there is fluid overload with indistinct vessels.", EDEMA),
        ],
        "Emphysema" => &[("the lungs are hyperinflated with flattened hemidiaphragms.", NO_LABEL)],
        "Enlarged PA" => &[("the left hilar contour is convex.", MEDIASTINUM)],
        "ILD" => &[
            ("a fine net-like pattern is seen {zone}.", OPACITY),
            ("there is diffuse prominence of the markings {zone}.", OPACITY),
        ],
        "Infiltration" | "Lung Opacity" => {
            &[("there is increased density {lobe}.", OPACITY), ("there is patchy haze {lobe}.", OPACITY)]
        }
        "Lung cavity" => &[("a ring shadow with central lucency is seen {zone}.", LESION)],
        "Lung cyst" => &[("a thin-walled lucency is seen {zone}.", LESION)],
        "Mediastinal shift" => &[("the trachea and heart are displaced{toward}.", MEDIASTINUM)],
        "Nodule/Mass" => &[
            ("a rounded density is seen {zone}.", LESION),
            ("there is a coin-shaped shadow {zone}, follow-up is advised.", LESION),
        ],
        "Pleural effusion" => &[
            ("there is blunting of the {laterality} costophrenic {angle}.", BLUNTED),
            ("a meniscus is seen {on} at the base.", EFFUSION),
        ],
        "Pleural thickening" => &[("there is a pleural-based rind along the {laterality} chest wall.", PLEURA)],
        "Pneumothorax" => &[
            ("a visceral pleural line is seen {on}.", PNEUMOTHORAX),
            ("lung markings do not reach the chest wall {on}.", PNEUMOTHORAX),
        ],
        "Pulmonary fibrosis" => &[
            ("there is architectural distortion {lobe} with traction on the hilum.", OPACITY),
            ("coarse linear bands are seen {lobe}.", OPACITY),
        ],
        "Rib fracture" => &[("there is cortical irregularity of the {laterality} ribs.", FRACTURE)],
        _ => &[("an abnormality is seen {zone}.", NO_LABEL)],
    }
}

/// Wordings with a synonym or a short form of the class.
pub(super) fn synonyms(class: &str) -> &'static [Phrase] {
    match class {
        "Aortic enlargement" => {
            &[("the aorta is unfolded and ectatic.", MEDIASTINUM), ("there is a prominent aortic knob.", MEDIASTINUM)]
        }
        "Atelectasis" => &[
            ("there is subsegmental collapse {lobe}.", ATELECTASIS),
            ("{short} atx.", ATELECTASIS),
            ("{short} atelectatic changes.", ATELECTASIS),
        ],
        "Calcification" => {
            &[("there is an old calcified focus {zone}.", LESION), ("there is a Ghon lesion {zone}.", LESION)]
        }
        "Cardiomegaly" => &[
            ("the cor is enlarged.", HEART),
            ("there is {degree} cardiac enlargement.", HEART),
            ("the heart shadow is big.", HEART),
        ],
        "Clavicle fracture" => &[("{laterality} clavicle fx.", FRACTURE)],
        "Consolidation" => &[
            ("{short} consolidation.", CONSOLIDATION),
            ("there is consolidative change {lobe}.", CONSOLIDATION),
            ("there is lobar hepatisation {lobe}.", CONSOLIDATION),
        ],
        "Edema" => &[("there is {degree} CHF.", EDEMA), ("there is {degree} oedema.", EDEMA)],
        "Emphysema" => &[("there is evidence of COPD.", NO_LABEL)],
        "Enlarged PA" => &[("the pulmonary trunk is dilated.", MEDIASTINUM)],
        "ILD" => &[
            ("there are reticular changes {zone}.", OPACITY),
            ("there is a reticulonodular pattern {zone}.", OPACITY),
            ("findings are in keeping with known ILD.", OPACITY),
        ],
        "Infiltration" => &[("{short} infiltrative change.", OPACITY), ("{short} ASD.", OPACITY)],
        "Lung Opacity" => &[("{short} opacification.", OPACITY), ("{short} haziness.", OPACITY)],
        "Lung cavity" => &[("there is a cavitary lesion {zone}.", LESION)],
        "Lung cyst" => &[("there is a bulla {zone}.", LESION)],
        "Mediastinal shift" => &[("the mediastinum is displaced{toward}.", MEDIASTINUM)],
        "Nodule/Mass" => &[
            ("there is a nodular density {zone}.", LESION),
            ("{short} SPN.", LESION),
            ("there is an SOL {zone}.", LESION),
        ],
        "Pleural effusion" => &[
            ("there is {laterality} pleural fluid.", EFFUSION),
            ("{size} {laterality} eff.", EFFUSION),
            ("there is a {size} {laterality} hydrothorax.", EFFUSION),
        ],
        "Pleural thickening" => {
            &[("there is {laterality} pleural scarring.", PLEURA), ("{laterality} pleural peel.", PLEURA)]
        }
        "Pneumothorax" => {
            &[("{size} {laterality} PTX.", PNEUMOTHORAX), ("there is {laterality} pleural air.", PNEUMOTHORAX)]
        }
        "Pulmonary fibrosis" => &[
            ("there is scarring {lobe}.", OPACITY),
            ("{short} fibrotic change.", OPACITY),
            ("there is parenchymal scar {lobe}.", OPACITY),
        ],
        "Rib fracture" => {
            &[("{laterality} rib fx.", FRACTURE), ("there is an old {laterality} rib deformity.", FRACTURE)]
        }
        _ => &[("there is a nonspecific finding {zone}.", NO_LABEL)],
    }
}

/// What a hedged finding is weighed against, and that one's label.
pub(super) fn alternative(class: &str) -> Option<(&'static str, Option<&'static str>)> {
    Some(match class {
        "Atelectasis" => ("pneumonia", Some("Pneumonia")),
        "Consolidation" | "Pulmonary fibrosis" => ("atelectasis", Some("Atelectasis")),
        "Infiltration" | "Lung Opacity" => ("asymmetric edema", Some("Edema")),
        "ILD" => ("interstitial edema", Some("Edema")),
        "Nodule/Mass" => ("nipple shadow", None),
        "Calcification" => ("vessel on end", None),
        "Pleural effusion" => ("pleural thickening", Some("Pleural Other")),
        "Pleural thickening" => ("small pleural effusion", Some("Pleural Effusion")),
        "Pneumothorax" => ("skin fold", None),
        "Rib fracture" | "Clavicle fracture" => ("artifact", None),
        "Edema" => ("atypical infection", Some("Pneumonia")),
        _ => return None,
    })
}

/// Classes whose report may name pneumonia as their cause.
pub(super) const MAY_BE_PNEUMONIA: [&str; 4] = ["Consolidation", "Infiltration", "Lung Opacity", "Atelectasis"];

/// Pneumonia as a possible cause.
pub(super) const PNEUMONIA: [&str; 4] = [
    "Superimposed pneumonia cannot be excluded.",
    "In the appropriate clinical setting, this may represent pneumonia.",
    "Pneumonia is possible.",
    "Cannot exclude early infection.",
];

/// Hedges around a noun phrase.
pub(super) const HEDGES: [&str; 8] = [
    "possible {thing}.",
    "{thing} cannot be excluded.",
    "findings may represent {thing}.",
    "cannot exclude {thing}.",
    "there may be {thing}.",
    "questionable {thing}.",
    "findings are concerning for {thing}.",
    "probable {thing}.",
];

/// A hedge with an alternative.
pub(super) const VERSUS: [&str; 3] =
    ["{thing} versus {other}.", "findings may reflect {thing} or {other}.", "{thing} vs {other}."];

/// Comparisons at the beginning of the findings. `___` is a date that de-identification took out.
pub(super) const COMPARISONS: [&str; 4] = [
    "Comparison is made with the prior radiograph of ___.",
    "As compared to the previous radiograph, there is no relevant change.",
    "In comparison with the study of ___, there is little change.",
    "Compared with ___, lung volumes are lower.",
];

/// Comparisons at the end of a finding, in place of its full stop.
pub(super) const CHANGES: [&str; 6] = [
    ", unchanged since ___.",
    ", stable since the prior study.",
    ", similar to the prior radiograph of ___.",
    ", increased since the previous study.",
    ", slightly improved from ___.",
    ", not significantly changed.",
];

/// Remarks at the end of a report.
pub(super) const NOTICES: [&str; 2] = [
    "Findings were discussed with ___ by telephone at ___ on ___.",
    "These findings were communicated to ___ by ___ at the time of review.",
];

/// Words and how they are misspelt; the first that a sentence holds is replaced.
pub(super) const MISSPELLINGS: [(&str, &str); 14] = [
    ("effusion", "effusoin"),
    ("atelectasis", "atelectesis"),
    ("pneumothorax", "pneumothorx"),
    ("cardiomegaly", "cardiomegally"),
    ("consolidation", "consolidaton"),
    ("opacity", "opactiy"),
    ("infiltrate", "infitrate"),
    ("nodule", "nodlue"),
    ("pleural", "plueral"),
    ("fracture", "fractrue"),
    ("interstitial", "intersitial"),
    ("mediastinal", "medisatinal"),
    ("granuloma", "granlouma"),
    ("enlarged", "enlarge"),
];
