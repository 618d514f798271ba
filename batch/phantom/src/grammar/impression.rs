//! The impression: what was drawn, as short noun phrases in order of weight, or that nothing was.

use super::{Sentence, capitalised, wording};
use crate::grammar::group::{Group, GroupLaterality};
use crate::grammar::present::noun_phrase;

/// At most this many items.
const ITEMS_MAX: usize = 3;

/// Classes in order of weight; those not named come after, in the order of dictation.
const WEIGHT: [&str; 10] = [
    "Pneumothorax",
    "Nodule/Mass",
    "Lung cavity",
    "Consolidation",
    "Pleural effusion",
    "Edema",
    "Infiltration",
    "Cardiomegaly",
    "Rib fracture",
    "Clavicle fracture",
];

const NORMAL: [&str; 4] = [
    "No acute cardiopulmonary abnormality.",
    "No acute cardiopulmonary process.",
    "Normal chest radiograph.",
    "No acute intrathoracic abnormality.",
];

/// The items, each ending in a full stop.
pub(super) fn items(groups: &[Group], offset: usize) -> Vec<Sentence> {
    if groups.is_empty() {
        return vec![Sentence::plain(wording(NORMAL, 0, offset))];
    }
    in_order(groups).into_iter().map(|at| item(&groups[at])).collect()
}

/// The indices of the groups that the impression holds, in order of weight.
pub(super) fn in_order(groups: &[Group]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&g| WEIGHT.iter().position(|name| *name == groups[g].name()).unwrap_or(WEIGHT.len()));
    order.truncate(ITEMS_MAX);
    order
}

/// A group as an item.
pub(super) fn item(group: &Group) -> Sentence {
    group.stated(capitalised(&phrase(group)))
}

/// A group as a noun phrase with a full stop, without an article.
pub(super) fn phrase(group: &Group) -> String {
    let (degree, laterality, place) = (group.degree_word(), group.side_word(), group.place_word(false));
    let text = match group.name() {
        "Aortic enlargement" => format!("{degree} aortic enlargement."),
        "Atelectasis" => format!("{} atelectasis.", group.place_word(true)),
        "Cardiomegaly" => format!("{degree} cardiomegaly."),
        "Clavicle fracture" if group.laterality == GroupLaterality::Both => "fractures of both clavicles.".into(),
        "Clavicle fracture" => format!("{laterality} clavicle fracture."),
        "Consolidation" => format!("{place} consolidation."),
        "Edema" => format!("{degree} pulmonary edema."),
        "Emphysema" => format!("{degree} emphysema."),
        "Enlarged PA" => "enlarged pulmonary artery.".into(),
        "ILD" => format!("{degree} interstitial lung disease."),
        "Infiltration" => format!("{place} infiltrate."),
        "Mediastinal shift" => "mediastinal shift.".into(),
        "Pleural thickening" => format!("{laterality} pleural thickening."),
        "Pulmonary fibrosis" => format!("{place} fibrosis."),
        "Pleural effusion" | "Pneumothorax" | "Rib fracture" => {
            let (phrase, _) = noun_phrase(group);
            format!("{}.", phrase.strip_prefix("a ").unwrap_or(&phrase))
        }
        _ => {
            let (phrase, _) = noun_phrase(group);
            let bare = phrase.strip_prefix("a ").or_else(|| phrase.strip_prefix("an ")).unwrap_or(&phrase);
            format!("{bare} {}.", group.in_zone())
        }
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
