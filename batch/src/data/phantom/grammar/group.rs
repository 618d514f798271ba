//! Lesions of one class, spoken of together: side, place, count and degree as words.

use d2r_contracts::labels::lesion_class_name;

use super::{Degree, Fact, Region, Side, Zone};

/// The facts of one class.
#[derive(Debug)]
pub(super) struct Group {
    /// Index in the 22 labels.
    pub class_id: i32,
    /// Indices of the facts, ascending.
    pub facts: Vec<usize>,
    /// Both sides, one, or the midline.
    pub side: GroupSide,
    /// The zone, when all share it.
    pub zone: Option<Zone>,
    /// The highest degree.
    pub degree: Degree,
    /// All are small.
    pub small: bool,
}

/// Where a group lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupSide {
    Right,
    Left,
    Both,
    Midline,
}

/// Classes in the order of dictation, with their region.
const DICTATION: [(&str, Region); 22] = [
    ("Consolidation", Region::Lungs),
    ("Infiltration", Region::Lungs),
    ("Lung Opacity", Region::Lungs),
    ("Atelectasis", Region::Lungs),
    ("Edema", Region::Lungs),
    ("Nodule/Mass", Region::Lungs),
    ("Lung cavity", Region::Lungs),
    ("Lung cyst", Region::Lungs),
    ("Calcification", Region::Lungs),
    ("ILD", Region::Lungs),
    ("Pulmonary fibrosis", Region::Lungs),
    ("Emphysema", Region::Lungs),
    ("Other lesion", Region::Lungs),
    ("Pneumothorax", Region::Pleura),
    ("Pleural effusion", Region::Pleura),
    ("Pleural thickening", Region::Pleura),
    ("Cardiomegaly", Region::Heart),
    ("Aortic enlargement", Region::Mediastinum),
    ("Enlarged PA", Region::Mediastinum),
    ("Mediastinal shift", Region::Mediastinum),
    ("Rib fracture", Region::Bones),
    ("Clavicle fracture", Region::Bones),
];

/// The facts by class, in the order of dictation. Facts with an unknown class id are left out.
pub(super) fn groups(facts: &[Fact]) -> Vec<Group> {
    let mut groups = Vec::new();
    for (name, _) in DICTATION {
        let members: Vec<usize> =
            (0..facts.len()).filter(|&i| lesion_class_name(facts[i].class_id) == Some(name)).collect();
        let (Some(&first), Some(degree)) = (members.first(), members.iter().map(|&i| facts[i].degree).max()) else {
            continue;
        };
        let has = |side| members.iter().any(|&i| facts[i].side == side);
        let zone = facts[first].zone;
        groups.push(Group {
            class_id: facts[first].class_id,
            side: match (has(Side::Right), has(Side::Left)) {
                (true, true) => GroupSide::Both,
                (true, false) => GroupSide::Right,
                (false, true) => GroupSide::Left,
                (false, false) => GroupSide::Midline,
            },
            zone: members.iter().all(|&i| facts[i].zone == zone).then_some(zone),
            degree,
            small: members.iter().all(|&i| facts[i].small),
            facts: members,
        });
    }
    groups
}

impl Group {
    /// The class name.
    pub fn name(&self) -> &'static str {
        lesion_class_name(self.class_id).unwrap_or("Other lesion")
    }

    pub fn region(&self) -> Region {
        DICTATION.iter().find(|(name, _)| *name == self.name()).map_or(Region::Lungs, |(_, region)| *region)
    }

    /// More than one lesion.
    pub fn several(&self) -> bool {
        self.facts.len() > 1
    }

    /// `left`, `right`, `bilateral`, or nothing for the midline.
    pub fn side_word(&self) -> &'static str {
        match self.side {
            GroupSide::Right => "right",
            GroupSide::Left => "left",
            GroupSide::Both => "bilateral",
            GroupSide::Midline => "",
        }
    }

    /// `on the left`, `on both sides`.
    pub fn on_side(&self) -> &'static str {
        match self.side {
            GroupSide::Right => "on the right",
            GroupSide::Left => "on the left",
            GroupSide::Both => "on both sides",
            GroupSide::Midline => "in the midline",
        }
    }

    /// `in the right lower lobe`, `in both lungs`.
    pub fn in_lobe(&self) -> String {
        let lobe = match (self.side, self.zone) {
            (GroupSide::Left, Some(Zone::Middle)) => return "in the lingula".into(),
            (GroupSide::Both, Some(Zone::Middle)) => return "in both mid lungs".into(),
            (_, zone) => zone.map(lobe_word),
        };
        match (self.side, lobe) {
            (GroupSide::Both, Some(lobe)) => format!("in both {lobe} lobes"),
            (GroupSide::Both, None) => "in both lungs".into(),
            (GroupSide::Midline, _) => "in the midline".into(),
            (_, Some(lobe)) => format!("in the {} {lobe} lobe", self.side_word()),
            (_, None) => format!("in the {} lung", self.side_word()),
        }
    }

    /// `in the right upper lung zone`, `in both lungs`.
    pub fn in_zone(&self) -> String {
        let zone = self.zone.map(zone_word);
        match (self.side, zone) {
            (GroupSide::Both, Some(zone)) => format!("in both {zone} lung zones"),
            (GroupSide::Both, None) => "in both lungs".into(),
            (GroupSide::Midline, _) => "in the midline".into(),
            (_, Some(zone)) => format!("in the {} {zone} lung zone", self.side_word()),
            (_, None) => format!("in the {} lung", self.side_word()),
        }
    }

    /// The place before a noun: `right lower lobe`, `left basilar`, `bilateral`.
    pub fn place_word(&self, base: &'static str) -> String {
        match (self.side, self.zone) {
            (GroupSide::Midline, _) => "midline".into(),
            (side, Some(Zone::Lower)) if side == GroupSide::Both && base == "basilar" => "bibasilar".into(),
            (_, Some(Zone::Lower)) if base == "basilar" => format!("{} basilar", self.side_word()),
            (GroupSide::Left, Some(Zone::Middle)) => "lingular".into(),
            (GroupSide::Both, Some(Zone::Middle)) => "bilateral mid lung".into(),
            (_, Some(zone)) => format!("{} {} lobe", self.side_word(), lobe_word(zone)),
            (GroupSide::Both, None) => "bilateral".into(),
            (_, None) => format!("{} lung", self.side_word()),
        }
    }

    /// `mild`, `moderate`, `severe`.
    pub fn degree_word(&self) -> &'static str {
        match self.degree {
            Degree::Mild => "mild",
            Degree::Moderate => "moderate",
            Degree::Severe => "severe",
        }
    }

    /// `mildly`, `moderately`, `markedly`.
    pub fn adverb(&self) -> &'static str {
        match self.degree {
            Degree::Mild => "mildly",
            Degree::Moderate => "moderately",
            Degree::Severe => "markedly",
        }
    }

    /// `small`, `moderate`, `large`.
    pub fn size_word(&self) -> &'static str {
        match self.degree {
            Degree::Mild => "small",
            Degree::Moderate => "moderate",
            Degree::Severe => "large",
        }
    }
}

fn lobe_word(zone: Zone) -> &'static str {
    match zone {
        Zone::Upper => "upper",
        Zone::Middle => "middle",
        Zone::Lower => "lower",
    }
}

fn zone_word(zone: Zone) -> &'static str {
    match zone {
        Zone::Upper => "upper",
        Zone::Middle => "mid",
        Zone::Lower => "lower",
    }
}
