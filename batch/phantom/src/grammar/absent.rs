//! Normal statements and pertinent negatives. A statement names the lesion classes that would make it untrue and
//! is made only when none of them is drawn; the wording follows what else is drawn.

use d2r_contracts::labels::lesion_class_name;
use rand_chacha::ChaCha8Rng;

use super::{FILLER, Fact, Laterality, Region, Sentence, Stated, Untrue, pick, wording};

/// One statement that something is not there.
struct Statement {
    region: Region,
    keep: u8,
    /// Its absence is stated where one of these is drawn; otherwise in short reports only.
    prompted_by: Option<&'static [&'static str]>,
    /// The statement is not made where any of these is reported: it would be untrue, or odd beside it.
    untrue_with: &'static [&'static str],
    /// Those of them that it says are not there.
    excludes: &'static [&'static str],
    denies: &'static [&'static str],
    wordings: [&'static str; 4],
}

/// The rank of a statement that something drawn calls for.
const PROMPTED: u8 = 8;

/// Every class seen in lungs and pleura: first the lungs', then what fills the pleural space, then what lines it.
const CHEST: &[&str] = &[
    "Consolidation",
    "Infiltration",
    "Lung Opacity",
    "Atelectasis",
    "Edema",
    "Nodule/Mass",
    "Lung cavity",
    "Lung cyst",
    "Calcification",
    "ILD",
    "Pulmonary fibrosis",
    "Emphysema",
    "Other lesion",
    "Pleural effusion",
    "Pneumothorax",
    "Pleural thickening",
];
/// The lungs' classes in [`CHEST`].
const LUNG_CLASSES: usize = 13;

const HEART_AND_MEDIASTINUM: &[&str] = &["Cardiomegaly", "Aortic enlargement", "Enlarged PA", "Mediastinal shift"];

/// The first true statement of each run is written: a broad statement makes the narrow ones unnecessary.
const RUNS: [&[Statement]; 10] =
    [LUNGS, PNEUMOTHORAX_AND_EFFUSION, HEART, MEDIASTINUM, BONES, NODULE, EDEMA, ATELECTASIS, THICKENING, TRACHEA];

const LUNGS: &[Statement] = &[
    Statement {
        region: Region::Lungs,
        keep: 2,
        prompted_by: None,
        untrue_with: CHEST.split_at(LUNG_CLASSES + 2).0,
        excludes: CHEST.split_at(LUNG_CLASSES).0,
        denies: &["Lung Opacity"],
        wordings: [
            "The lungs are clear.",
            "Both lungs are clear.",
            "The lungs are well expanded and clear.",
            "The lungs are clear bilaterally.",
        ],
    },
    Statement {
        region: Region::Lungs,
        keep: 3,
        prompted_by: None,
        untrue_with: &["Consolidation", "Infiltration", "Lung Opacity", "Atelectasis", "Edema", "Lung cavity"],
        excludes: &["Consolidation"],
        denies: &["Consolidation"],
        wordings: [
            "There is no focal consolidation.",
            "No focal consolidation is seen.",
            "No consolidation is present.",
            "There is no evidence of consolidation.",
        ],
    },
];

const PNEUMOTHORAX_AND_EFFUSION: &[Statement] = &[
    Statement {
        region: Region::Pleura,
        keep: 1,
        prompted_by: None,
        untrue_with: &["Pleural effusion", "Pneumothorax"],
        excludes: &["Pleural effusion", "Pneumothorax"],
        denies: &["Pleural Effusion", "Pneumothorax"],
        wordings: [
            "There is no pleural effusion or pneumothorax.",
            "No pleural effusion or pneumothorax is seen.",
            "There is no pneumothorax or pleural effusion.",
            "There is no evidence of pleural effusion or pneumothorax.",
        ],
    },
    Statement {
        region: Region::Pleura,
        keep: 1,
        prompted_by: None,
        untrue_with: &["Pneumothorax"],
        excludes: &["Pneumothorax"],
        denies: &["Pneumothorax"],
        wordings: [
            "There is no pneumothorax.",
            "No pneumothorax is seen.",
            "No pneumothorax is present.",
            "There is no evidence of pneumothorax.",
        ],
    },
    Statement {
        region: Region::Pleura,
        keep: 1,
        prompted_by: None,
        untrue_with: &["Pleural effusion"],
        excludes: &["Pleural effusion"],
        denies: &["Pleural Effusion"],
        wordings: [
            "There is no pleural effusion.",
            "No pleural effusion is seen.",
            "No pleural effusion is present.",
            "There is no evidence of pleural effusion.",
        ],
    },
];

const HEART: &[Statement] = &[Statement {
    region: Region::Heart,
    keep: 4,
    prompted_by: None,
    untrue_with: &["Cardiomegaly"],
    excludes: &["Cardiomegaly"],
    denies: &["Cardiomegaly"],
    wordings: [
        "The heart size is normal.",
        "The heart is normal in size.",
        "The cardiac silhouette is normal in size.",
        "There is no cardiomegaly.",
    ],
}];

const MEDIASTINUM: &[Statement] = &[Statement {
    region: Region::Mediastinum,
    keep: 5,
    prompted_by: None,
    untrue_with: &["Aortic enlargement", "Enlarged PA", "Mediastinal shift"],
    excludes: HEART_AND_MEDIASTINUM.split_at(1).1,
    denies: &["Enlarged Cardiomediastinum"],
    wordings: [
        "The mediastinal contours are normal.",
        "The mediastinal contours are unremarkable.",
        "The mediastinum is normal.",
        "The mediastinum is within normal limits.",
    ],
}];

const BONES: &[Statement] = &[
    Statement {
        region: Region::Bones,
        keep: 6,
        prompted_by: None,
        untrue_with: &["Rib fracture", "Clavicle fracture"],
        excludes: &["Rib fracture", "Clavicle fracture"],
        denies: &["Fracture"],
        wordings: [
            "No acute fracture is seen.",
            "There is no acute fracture.",
            "No rib fracture is seen.",
            "There is no evidence of fracture.",
        ],
    },
    Statement {
        region: Region::Bones,
        keep: 6,
        prompted_by: None,
        untrue_with: &["Rib fracture"],
        excludes: &["Rib fracture"],
        denies: &[],
        wordings: [
            "The ribs are intact.",
            "No rib fracture is seen.",
            "There is no rib fracture.",
            "The ribs are unremarkable.",
        ],
    },
];

const NODULE: &[Statement] = &[Statement {
    region: Region::Lungs,
    keep: FILLER,
    prompted_by: Some(&["Pulmonary fibrosis", "Emphysema", "Rib fracture", "Pleural thickening"]),
    untrue_with: &["Nodule/Mass", "Calcification", "Lung cavity", "Lung cyst", "Other lesion"],
    excludes: &["Nodule/Mass"],
    denies: &["Lung Lesion"],
    wordings: [
        "There is no nodule or mass.",
        "No nodule or mass is seen.",
        "No suspicious nodule is seen.",
        "There is no suspicious nodule or mass.",
    ],
}];

const EDEMA: &[Statement] = &[Statement {
    region: Region::Lungs,
    keep: FILLER + 1,
    prompted_by: Some(&["Cardiomegaly"]),
    untrue_with: &["Edema"],
    excludes: &["Edema"],
    denies: &["Edema"],
    wordings: [
        "There is no pulmonary edema.",
        "No pulmonary edema is seen.",
        "There is no evidence of pulmonary edema.",
        "No edema is present.",
    ],
}];

const ATELECTASIS: &[Statement] = &[Statement {
    region: Region::Lungs,
    keep: FILLER + 4,
    prompted_by: Some(&["Pleural effusion"]),
    untrue_with: &["Atelectasis"],
    excludes: &["Atelectasis"],
    denies: &["Atelectasis"],
    wordings: [
        "There is no atelectasis.",
        "No atelectasis is seen.",
        "No atelectasis is present.",
        "There is no evidence of atelectasis.",
    ],
}];

const THICKENING: &[Statement] = &[Statement {
    region: Region::Pleura,
    keep: FILLER + 2,
    prompted_by: Some(&["Calcification", "Lung cavity"]),
    untrue_with: &["Pleural thickening"],
    excludes: &["Pleural thickening"],
    denies: &["Pleural Other"],
    wordings: [
        "There is no pleural thickening.",
        "No pleural thickening is seen.",
        "No pleural thickening is present.",
        "There is no evidence of pleural thickening.",
    ],
}];

const TRACHEA: &[Statement] = &[Statement {
    region: Region::Mediastinum,
    keep: FILLER + 3,
    prompted_by: Some(&["Pneumothorax", "Atelectasis", "Nodule/Mass"]),
    untrue_with: &["Mediastinal shift"],
    excludes: &["Mediastinal shift"],
    denies: &[],
    wordings: [
        "The trachea is midline.",
        "The trachea is in the midline.",
        "The trachea is central.",
        "The trachea is normal in position.",
    ],
}];

/// The statements that are true of a study, unordered.
pub(super) fn statements(facts: &[Fact], rng: &mut ChaCha8Rng) -> Vec<Stated> {
    let drawn =
        |names: &[&str]| facts.iter().any(|f| lesion_class_name(f.class_id).is_some_and(|n| names.contains(&n)));
    // The wording depends on the lesions: the shortest for a normal film, others where heart or mediastinum are
    // abnormal, others again for lungs.
    let preferred = match facts {
        [] => 0,
        _ if drawn(HEART_AND_MEDIASTINUM) => 2,
        _ => 1,
    };
    let mut stated = Vec::new();
    for run in RUNS {
        let offset = pick(rng);
        let Some(said) = run.iter().find(|s| !drawn(s.untrue_with)) else { continue };
        stated.push(Stated {
            region: said.region,
            keep: if said.prompted_by.is_some_and(drawn) { PROMPTED } else { said.keep },
            untrue: Untrue { classes: said.excludes, side: None },
            sentence: Sentence { denies: said.denies, ..Sentence::plain(wording(said.wordings, preferred, offset)) },
        });
    }
    stated.extend(clear_side(facts));
    stated
}

/// `The left lung is clear.`, when what is drawn in lungs and pleura is all on the right.
fn clear_side(facts: &[Fact]) -> Option<Stated> {
    let is_of = |f: &Fact, classes: &[&str]| lesion_class_name(f.class_id).is_some_and(|n| classes.contains(&n));
    let lung = |f: &&Fact| is_of(f, CHEST.split_at(LUNG_CLASSES).0);
    let chest = |f: &&Fact| is_of(f, CHEST);
    // Edema and emphysema are stated without laterality.
    let diffuse = |f: &Fact| is_of(f, &["Edema", "Emphysema"]);
    let all_on = |laterality| facts.iter().filter(chest).all(|f| f.laterality == laterality && !diffuse(f));
    if facts.iter().filter(lung).count() == 0 {
        return None;
    }
    let (text, side) = match (all_on(Laterality::Right), all_on(Laterality::Left)) {
        (true, false) => ("The left lung is clear.", Laterality::Left),
        (false, true) => ("The right lung is clear.", Laterality::Right),
        _ => return None,
    };
    let untrue = Untrue { classes: CHEST.split_at(LUNG_CLASSES).0, side: Some(side) };
    Some(Stated { region: Region::Lungs, keep: 7, untrue, sentence: Sentence::plain(text) })
}
