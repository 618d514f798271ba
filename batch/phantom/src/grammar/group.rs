//! Lesions of one class, described in one sentence: laterality, place, count and degree as words.

use d2r_contracts::labels::{LabelState, label_of_lesion, lesion_class_name};

use super::{Fact, Laterality, Region, Sentence, Severity, Zone};

/// The facts of one class.
#[derive(Debug)]
pub(super) struct Group {
    /// Index in the 22 labels.
    pub class_id: i32,
    /// Indices of the facts, ascending.
    pub facts: Vec<usize>,
    /// Bilateral, left, right or midline.
    pub laterality: GroupLaterality,
    /// The zone, when all share it.
    pub zone: Option<Zone>,
    /// The highest severity.
    pub severity: Severity,
    /// Lesions, or their parts where one consists of several.
    pub count: u32,
    /// All are small.
    pub small: bool,
}

/// Where a group lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupLaterality {
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
        let (Some(&first), Some(severity)) = (members.first(), members.iter().map(|&i| facts[i].severity).max()) else {
            continue;
        };
        let has = |laterality| members.iter().any(|&i| facts[i].laterality == laterality);
        let zone = facts[first].zone;
        groups.push(Group {
            class_id: facts[first].class_id,
            laterality: match (has(Laterality::Right), has(Laterality::Left)) {
                (true, true) => GroupLaterality::Both,
                (true, false) => GroupLaterality::Right,
                (false, true) => GroupLaterality::Left,
                (false, false) => GroupLaterality::Midline,
            },
            zone: members.iter().all(|&i| facts[i].zone == zone).then_some(zone),
            severity,
            count: members.iter().map(|&i| facts[i].multiplicity.max(1)).sum(),
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

    /// A sentence that names the group's class.
    pub fn stated(&self, text: String) -> Sentence {
        let asserts = label_of_lesion(self.class_id).map(|label| (label, LabelState::Positive));
        Sentence { text, facts: self.facts.clone(), asserts: asserts.into_iter().collect(), ..Sentence::default() }
    }

    /// More than one lesion, or one of several parts.
    pub fn several(&self) -> bool {
        self.count > 1
    }

    /// `left`, `right`, `bilateral`, or nothing for the midline.
    pub fn side_word(&self) -> &'static str {
        match self.laterality {
            GroupLaterality::Right => "right",
            GroupLaterality::Left => "left",
            GroupLaterality::Both => "bilateral",
            GroupLaterality::Midline => "",
        }
    }

    /// `on the left`, `on both sides`.
    pub fn on_side(&self) -> &'static str {
        match self.laterality {
            GroupLaterality::Right => "on the right",
            GroupLaterality::Left => "on the left",
            GroupLaterality::Both => "on both sides",
            GroupLaterality::Midline => "in the midline",
        }
    }

    /// `in the right lower lobe`, `at the left base`, `in both lungs`.
    pub fn in_lobe(&self) -> String {
        match (self.laterality, self.zone) {
            (GroupLaterality::Left, Some(Zone::Mid)) => "in the lingula".into(),
            (_, Some(Zone::Upper)) => self.within("upper lobe", "upper lobes"),
            (_, Some(Zone::Mid)) if self.laterality != GroupLaterality::Both => {
                self.within("middle lobe", "middle lobes")
            }
            (_, Some(Zone::Lower)) => self.within("lower lobe", "lower lobes"),
            _ => self.in_zone(),
        }
    }

    /// `in the right upper lung zone`, `throughout the left lung`, `in both lungs`.
    pub fn in_zone(&self) -> String {
        match self.zone {
            Some(Zone::Apical) => self.within("apex", "apices").replacen("in", "at", 1),
            Some(Zone::Upper) => self.within("upper lung zone", "upper lung zones"),
            Some(Zone::Mid) => self.within("mid lung zone", "mid lung zones"),
            Some(Zone::Perihilar) => self.within("perihilar region", "perihilar regions"),
            Some(Zone::Lower) => self.within("lower lung zone", "lower lung zones"),
            Some(Zone::Basal) => self.within("lung base", "lung bases").replacen("in", "at", 1),
            Some(Zone::Retrocardiac) => "in the retrocardiac region".into(),
            Some(Zone::Diffuse) => self.within("lung", "lungs").replacen("in", "throughout", 1),
            Some(Zone::Mediastinal) | None => self.within("lung", "lungs"),
        }
    }

    fn within(&self, one: &str, two: &str) -> String {
        match self.laterality {
            GroupLaterality::Both => format!("in both {two}"),
            GroupLaterality::Midline => "in the midline".into(),
            GroupLaterality::Left | GroupLaterality::Right => format!("in the {} {one}", self.side_word()),
        }
    }

    /// The place before a noun: `right lower lobe`, `left basilar`, `bilateral`. What lies low in a lung is `basilar`
    /// where the class is spoken of so.
    pub fn place_word(&self, low_is_basilar: bool) -> String {
        let laterality = self.side_word();
        match (self.laterality, self.zone) {
            (GroupLaterality::Midline, _) => "midline".into(),
            (GroupLaterality::Both, Some(Zone::Basal)) => "bibasilar".into(),
            (GroupLaterality::Both, Some(Zone::Lower)) if low_is_basilar => "bibasilar".into(),
            (_, Some(Zone::Basal)) => format!("{laterality} basilar"),
            (_, Some(Zone::Lower)) if low_is_basilar => format!("{laterality} basilar"),
            (_, Some(Zone::Apical)) => format!("{laterality} apical"),
            (_, Some(Zone::Perihilar)) => format!("{laterality} perihilar"),
            (_, Some(Zone::Retrocardiac)) => "retrocardiac".into(),
            (_, Some(Zone::Diffuse)) => format!("diffuse {laterality} lung"),
            (GroupLaterality::Left, Some(Zone::Mid)) => "lingular".into(),
            (GroupLaterality::Both, Some(Zone::Mid)) => "bilateral mid lung".into(),
            (_, Some(Zone::Upper)) => format!("{laterality} upper lobe"),
            (_, Some(Zone::Mid)) => format!("{laterality} middle lobe"),
            (_, Some(Zone::Lower)) => format!("{laterality} lower lobe"),
            (GroupLaterality::Both, _) => "bilateral".into(),
            (_, Some(Zone::Mediastinal) | None) => format!("{laterality} lung"),
        }
    }

    /// The place before a noun, in short forms: `RUL`, `left base`.
    pub fn short_place(&self) -> String {
        let short = match (self.laterality, self.zone) {
            (GroupLaterality::Right, Some(Zone::Upper | Zone::Apical)) => "RUL",
            (GroupLaterality::Right, Some(Zone::Mid)) => "RML",
            (GroupLaterality::Right, Some(Zone::Lower)) => "RLL",
            (GroupLaterality::Left, Some(Zone::Upper | Zone::Apical)) => "LUL",
            (GroupLaterality::Left, Some(Zone::Lower)) => "LLL",
            _ => return self.place_word(true),
        };
        short.to_owned()
    }

    /// In the upper part of a lung.
    pub fn apical(&self) -> bool {
        matches!(self.zone, Some(Zone::Apical | Zone::Upper))
    }

    /// In the lower part of a lung.
    pub fn basal(&self) -> bool {
        matches!(self.zone, Some(Zone::Lower | Zone::Basal))
    }

    /// `mild`, `moderate`, `severe`.
    pub fn degree_word(&self) -> &'static str {
        match self.severity {
            Severity::Small => "mild",
            Severity::Moderate => "moderate",
            Severity::Large => "severe",
        }
    }

    /// `mildly`, `moderately`, `markedly`.
    pub fn adverb(&self) -> &'static str {
        match self.severity {
            Severity::Small => "mildly",
            Severity::Moderate => "moderately",
            Severity::Large => "markedly",
        }
    }

    /// `small`, `moderate`, `large`.
    pub fn size_word(&self) -> &'static str {
        match self.severity {
            Severity::Small => "small",
            Severity::Moderate => "moderate",
            Severity::Large => "large",
        }
    }
}
