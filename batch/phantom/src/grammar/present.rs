//! Sentences that state a lesion: four wordings a class, the preferred one chosen by degree, place and count, so
//! that it can be read off the film. Every wording holds a term of its class from [`crate::grammar::terms`] and none of
//! another label's.

use super::{Sentence, Severity, Zone, capitalised, wording};
use crate::grammar::group::{Group, GroupLaterality};

/// The sentence of a group. `offset` counts wordings from the preferred one; `brief` selects the shortest.
pub(super) fn sentence(group: &Group, offset: usize, brief: bool) -> Sentence {
    let (wordings, preferred) = wordings(group);
    let template = if brief {
        // Ties go to the first wording, which is every class's plainest.
        wordings.into_iter().min_by_key(|w| super::words(&fill(w, group))).unwrap_or_default()
    } else {
        wording(wordings, preferred, offset)
    };
    group.stated(capitalised(&fill(template, group)))
}

/// A mild group prefers the first wording, a severe one the third.
fn by_degree(group: &Group) -> usize {
    match group.severity {
        Severity::Small => 0,
        Severity::Moderate => 1,
        Severity::Large => 2,
    }
}

/// A group in the lower zone prefers the second wording.
fn by_base(group: &Group) -> usize {
    usize::from(group.basal())
}

/// A group on both sides prefers the second wording, one in the upper zone the fourth.
fn by_extent(group: &Group) -> usize {
    match (group.laterality, group.zone) {
        (GroupLaterality::Both, _) => 1,
        _ if group.apical() => 3,
        _ => 0,
    }
}

/// The four wordings of a group's class, and the preferred one's index.
fn wordings(group: &Group) -> ([&'static str; 4], usize) {
    match group.name() {
        "Aortic enlargement" => (
            [
                "the thoracic aorta is tortuous.",
                "there is {degree} enlargement of the aortic arch.",
                "the aortic arch is {adverb} widened.",
                "the thoracic aorta is {adverb} dilated.",
            ],
            by_degree(group),
        ),
        "Atelectasis" => (
            [
                "there is {degree} atelectasis {lobe}.",
                "there is {degree} {basilar} atelectasis.",
                "{basilar} atelectasis is present with volume loss.",
                "linear atelectasis is seen {lobe}.",
            ],
            match group.severity {
                _ if group.several() => 3,
                Severity::Large => 2,
                _ => by_base(group),
            },
        ),
        "Cardiomegaly" => (
            [
                "there is {degree} cardiomegaly.",
                "the heart is {adverb} enlarged.",
                "the cardiac silhouette is {adverb} enlarged.",
                "{degree} cardiomegaly is present.",
            ],
            by_degree(group),
        ),
        "Clavicle fracture" => (
            [
                "there is a fracture of {clavicle}.",
                "{clavicle} {is} fractured.",
                "there is a displaced fracture of {clavicle}.",
                "a fracture of {clavicle} is noted.",
            ],
            by_degree(group),
        ),
        "Consolidation" => (
            [
                "there is focal consolidation {lobe}.",
                "{place} consolidation is present.",
                "there is dense consolidation {lobe}.",
                "consolidation is seen {lobe}.",
            ],
            by_degree(group),
        ),
        "Edema" => (
            [
                "there is {degree} pulmonary edema.",
                "findings of {degree} pulmonary edema are present.",
                "the pulmonary vessels are indistinct from {degree} edema.",
                "{degree} pulmonary edema is seen.",
            ],
            by_degree(group),
        ),
        "Emphysema" => (
            [
                "there is {degree} emphysema {zone}.",
                "{degree} emphysematous change is seen {zone}.",
                "the lungs are hyperinflated with {degree} emphysema.",
                "{place} emphysema is present.",
            ],
            by_degree(group),
        ),
        "Enlarged PA" => (
            [
                "the main pulmonary artery is enlarged.",
                "there is {degree} enlargement of the pulmonary artery.",
                "the main pulmonary artery is {adverb} enlarged.",
                "enlargement of the main pulmonary artery is noted.",
            ],
            by_degree(group),
        ),
        "ILD" => (
            [
                "increased interstitial markings are seen {zone}.",
                "reticular interstitial markings are present {zone}.",
                "there is {degree} interstitial lung disease {zone}.",
                "there is interstitial thickening {zone}.",
            ],
            by_degree(group),
        ),
        "Infiltration" => (
            [
                "there is an infiltrate {lobe}.",
                "patchy infiltrate is seen {lobe}.",
                "there is {degree} infiltration {lobe}.",
                "{place} infiltrate is present.",
            ],
            by_degree(group),
        ),
        "Lung Opacity" => (
            [
                "there {be} {np} {zone}.",
                "{np} {be} seen {zone}.",
                "{np} {be} present {zone}.",
                "{np} {be} noted {zone}.",
            ],
            by_degree(group),
        ),
        "Calcification" | "Lung cavity" | "Lung cyst" => (
            [
                "there {be} {np} {zone}.",
                "{np} {be} seen {zone}.",
                "{np} {be} noted {zone}.",
                "{np} {be} present {zone}.",
            ],
            by_extent(group),
        ),
        "Mediastinal shift" => (
            [
                "there is {degree} mediastinal shift{toward}.",
                "the mediastinum is shifted{toward}.",
                "{degree} mediastinal shift is present{toward}.",
                "mediastinal shift is noted{toward}.",
            ],
            by_degree(group),
        ),
        "Nodule/Mass" => (
            [
                "there {be} {np} {zone}.",
                "{np} {be} seen {zone}.",
                "{np} {be} present {zone}.",
                "{np} {be} noted {zone}.",
            ],
            by_degree(group),
        ),
        "Pleural effusion" => (
            [
                "there {be} {np}.",
                "{np} {be} present.",
                "{np} {be} seen.",
                "blunting of the {laterality} costophrenic {angle} is due to {np}.",
            ],
            by_degree(group),
        ),
        "Pleural thickening" => (
            [
                "there is {degree} {laterality} pleural thickening.",
                "{degree} pleural thickening is present {on}.",
                "{laterality} pleural thickening is noted.",
                "there is {laterality} {apical}pleural thickening.",
            ],
            by_extent(group),
        ),
        "Pneumothorax" => {
            (["there {be} {np}.", "{np} {be} present.", "{np} {be} identified.", "{np} {be} seen."], by_degree(group))
        }
        "Pulmonary fibrosis" => (
            [
                "there is {degree} fibrosis {lobe}.",
                "fibrotic change is seen {lobe}.",
                "there is {place} fibrosis with volume loss.",
                "fibrotic bands are present {lobe}.",
            ],
            by_degree(group),
        ),
        "Rib fracture" => {
            (["there {be} {np}.", "{np} {be} seen.", "there {be} {displaced}.", "{np} {be} noted."], by_degree(group))
        }
        _ => (
            [
                "there {be} {np} {zone}.",
                "{np} {be} seen {zone}.",
                "{np} {be} noted {zone}.",
                "{np} {be} present {zone}.",
            ],
            by_extent(group),
        ),
    }
}

/// Puts the group's words into a wording.
pub(super) fn fill(template: &str, group: &Group) -> String {
    let both = group.laterality == GroupLaterality::Both;
    let (np, plural) = noun_phrase(group);
    let text = template
        .replace("{np}", &np)
        .replace("{be}", if plural { "are" } else { "is" })
        .replace("{degree}", group.degree_word())
        .replace("{adverb}", group.adverb())
        .replace("{lobe}", &group.in_lobe())
        .replace("{zone}", &group.in_zone())
        .replace("{place}", &group.place_word(false))
        .replace("{basilar}", &group.place_word(true))
        .replace("{laterality}", group.side_word())
        .replace("{on}", group.on_side())
        .replace("{angle}", if both { "angles" } else { "angle" })
        .replace("{clavicle}", &clavicle(group))
        .replace("{is}", if both { "are" } else { "is" })
        .replace("{apical}", if group.apical() { "apical " } else { "" })
        .replace("{displaced}", &displaced_ribs(group))
        .replace("{toward}", &toward(group))
        .replace("{size}", group.size_word())
        .replace("{short}", &group.short_place());
    // A midline group leaves its side's place empty.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is seen, with its article or number, and whether it is plural.
pub(super) fn noun_phrase(group: &Group) -> (String, bool) {
    let (laterality, several, both) = (group.side_word(), group.several(), group.laterality == GroupLaterality::Both);
    let adjective = |words: [&'static str; 3]| words[by_degree(group)];
    let counted = |adjective: &str, one: &str, many: &str| {
        let number = match group.count {
            0 | 1 if adjective.starts_with(['a', 'e', 'i', 'o', 'u']) => "an",
            0 | 1 => "a",
            2 => "two",
            _ => "several",
        };
        (format!("{number} {adjective} {}", if several { many } else { one }), several)
    };
    let sided = |size: &str, one: &str, many: &str| {
        // A pair of effusions is one statement about both sides.
        if both { (format!("{size} bilateral {many}"), true) } else { (format!("a {size} {laterality} {one}"), false) }
    };
    match group.name() {
        "Calcification" => {
            counted(if group.small { "small" } else { "dense" }, "calcified granuloma", "calcified granulomas")
        }
        "Lung cavity" => counted(adjective(["thin-walled", "thick-walled", "large"]), "cavity", "cavities"),
        "Lung cyst" => counted(adjective(["small", "thin-walled", "large"]), "cyst", "cysts"),
        "Lung Opacity" => counted(adjective(["hazy", "patchy", "dense"]), "opacity", "opacities"),
        "Nodule/Mass" => match (group.small, group.severity) {
            (true, _) => counted("small", "nodule", "nodules"),
            (false, Severity::Large) => counted("large", "mass", "masses"),
            (false, _) => counted("rounded", "nodule", "nodules"),
        },
        "Pleural effusion" => sided(group.size_word(), "pleural effusion", "pleural effusions"),
        "Pneumothorax" => match (group.zone, group.severity) {
            (Some(Zone::Apical | Zone::Upper), Severity::Small) => {
                sided("small", "apical pneumothorax", "apical pneumothoraces")
            }
            _ => sided(group.size_word(), "pneumothorax", "pneumothoraces"),
        },
        "Rib fracture" if several || both => (format!("{laterality} rib fractures"), true),
        "Rib fracture" => (format!("a {laterality} rib fracture"), false),
        _ => counted("nonspecific", "lesion", "lesions"),
    }
}

fn displaced_ribs(group: &Group) -> String {
    if group.several() {
        format!("displaced {} rib fractures", group.side_word())
    } else {
        format!("a displaced {} rib fracture", group.side_word())
    }
}

fn clavicle(group: &Group) -> String {
    match group.laterality {
        GroupLaterality::Both => "both clavicles".into(),
        _ => format!("the {} clavicle", group.side_word()),
    }
}

fn toward(group: &Group) -> String {
    match group.laterality {
        GroupLaterality::Left | GroupLaterality::Right => format!(" to the {}", group.side_word()),
        GroupLaterality::Both | GroupLaterality::Midline => String::new(),
    }
}
