//! Which lesions a study has and where they go: kinds by weight with plausible companions, then a shape for each,
//! tried again where it would hide another lesion or could not be seen.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Original;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::shapes;
use super::{LesionKind, PlacedLesion, Severity, Shape, Zone};
use crate::body::anatomy::Anatomy;
use crate::body::chest::Chest;
use crate::study::Laterality;

/// Most boxes of one study.
pub const MOST_LESIONS: usize = 4;
/// Tries at a place for one lesion.
const TRIES: usize = 14;
/// Least side of a lesion's box, as a share of the image's size.
const LEAST_SIDE: f32 = 0.009;

/// A shape before it is known to fit.
pub(super) struct Proposal {
    pub shape: Shape,
    pub laterality: Laterality,
    pub severity: Severity,
    pub small: bool,
    pub multiplicity: u32,
    /// `None`: by the place of the box.
    pub zone: Option<Zone>,
}

impl LesionKind {
    /// How often the kind is chosen, relative to the others.
    fn weight(self) -> f32 {
        match self {
            Self::AorticEnlargement | Self::Cardiomegaly => 13.0,
            Self::PleuralEffusion | Self::PleuralThickening => 12.0,
            Self::NoduleMass => 15.0,
            Self::Infiltration | Self::PulmonaryFibrosis => 7.5,
            Self::Consolidation | Self::Atelectasis | Self::Calcification => 7.0,
            Self::Ild => 8.0,
            Self::LungCavity | Self::RibFracture => 5.0,
            Self::Pneumothorax | Self::ClavicleFracture => 4.0,
        }
    }

    /// How much likelier `other` becomes beside this kind; 0 when the two are never drawn together.
    fn affinity(self, other: LesionKind) -> f32 {
        use LesionKind::*;
        match (self.min(other), self.max(other)) {
            (AorticEnlargement, Cardiomegaly) | (Cardiomegaly, PleuralEffusion) => 2.0,
            (Pneumothorax, RibFracture) | (ClavicleFracture, RibFracture) => 3.0,
            (Consolidation, PleuralEffusion)
            | (Calcification, PleuralThickening)
            | (AorticEnlargement, Calcification) => 1.5,
            (PleuralThickening, PulmonaryFibrosis) | (Infiltration, LungCavity) => 1.6,
            // A reticular pattern over both lungs hides these.
            (Ild, AorticEnlargement | Cardiomegaly | ClavicleFracture)
            | (AorticEnlargement | Cardiomegaly | ClavicleFracture, Ild) => 1.0,
            (Ild, _) | (_, Ild) => 0.0,
            _ => 1.0,
        }
    }

    /// Large things are placed first.
    fn order(self) -> u32 {
        match self {
            Self::Cardiomegaly | Self::AorticEnlargement => 0,
            Self::Ild => 1,
            Self::PleuralEffusion | Self::Pneumothorax => 2,
            Self::PleuralThickening | Self::PulmonaryFibrosis | Self::Consolidation => 3,
            Self::Infiltration | Self::Atelectasis | Self::LungCavity => 4,
            Self::ClavicleFracture | Self::RibFracture => 5,
            Self::NoduleMass | Self::Calcification => 6,
        }
    }
}

/// The lesions of an abnormal study with `anatomy`, one to [`MOST_LESIONS`], and the anatomy with the heart and the
/// knob that they make.
pub fn place(anatomy: &Anatomy, size: usize, rng: &mut ChaCha8Rng) -> Vec<PlacedLesion> {
    let mut kinds = choose(rng);
    kinds.sort_by_key(|k| k.order());
    let mut placed: Vec<PlacedLesion> = Vec::new();
    for kind in kinds {
        let copies = copies(kind, rng);
        for copy in 0..copies {
            if placed.len() < MOST_LESIONS {
                placed.extend(place_one(kind, copy, anatomy, &placed, size, rng));
            }
        }
    }
    while placed.is_empty() {
        // Enlarged hearts always find their place.
        placed.extend(place_one(LesionKind::Cardiomegaly, 0, anatomy, &placed, size, rng));
    }
    placed
}

/// Distinct kinds for one study.
fn choose(rng: &mut ChaCha8Rng) -> Vec<LesionKind> {
    let count = match rng.random_range(0..10u32) {
        0..3 => 1,
        3..7 => 2,
        7..9 => 3,
        _ => 4,
    };
    let mut kinds: Vec<LesionKind> = Vec::new();
    while kinds.len() < count {
        let weight = |k: &LesionKind| {
            let company: f32 = kinds.iter().map(|other| k.affinity(*other)).product();
            if kinds.contains(k) { 0.0 } else { k.weight() * company }
        };
        let weights: Vec<f32> = LesionKind::ALL.iter().map(weight).collect();
        let total: f32 = weights.iter().sum();
        if total <= 0.0 {
            break;
        }
        let mut left = rng.random_range(0.0..total);
        let chosen = weights.iter().position(|w| {
            left -= w;
            left < 0.0
        });
        kinds.push(LesionKind::ALL[chosen.unwrap_or(LesionKind::Cardiomegaly as usize)]);
    }
    kinds
}

/// How many boxes of one kind a study gets.
fn copies(kind: LesionKind, rng: &mut ChaCha8Rng) -> usize {
    let second = match kind {
        LesionKind::Ild => 1.0,
        LesionKind::PulmonaryFibrosis => 0.35,
        LesionKind::PleuralEffusion | LesionKind::NoduleMass => 0.25,
        LesionKind::PleuralThickening | LesionKind::RibFracture | LesionKind::Infiltration => 0.2,
        LesionKind::Calcification => 0.15,
        _ => 0.0,
    };
    1 + usize::from(rng.random_bool(second))
}

fn place_one(
    kind: LesionKind,
    copy: usize,
    anatomy: &Anatomy,
    placed: &[PlacedLesion],
    size: usize,
    rng: &mut ChaCha8Rng,
) -> Option<PlacedLesion> {
    let opposite = placed.iter().rev().find(|l| copy > 0 && l.lesion == kind).map(|l| l.laterality.opposite());
    let chest = Chest::new(with_lesions(anatomy, placed));
    for _ in 0..TRIES {
        let Some(proposal) = shapes::propose(kind, &chest, opposite, rng) else { continue };
        // Heart and knob are part of the chest; everything else is seen against it.
        let own = match proposal.shape {
            Shape::Heart { .. } | Shape::Knob { .. } => {
                Some(Chest::new(with_shape(chest.anatomy.clone(), &proposal.shape)))
            }
            _ => None,
        };
        let seen_on = own.as_ref().unwrap_or(&chest);
        let Some(box_) = proposal.shape.visible_box(seen_on, size) else { continue };
        let least = LEAST_SIDE * size as f32;
        if box_.width() < least || box_.height() < least || placed.iter().any(|other| hides(kind, &box_, other)) {
            continue;
        }
        let zone = proposal.zone.unwrap_or_else(|| zone_of(&chest, &box_, size));
        return Some(PlacedLesion {
            lesion: kind,
            class_id: kind.class_id(),
            box_,
            laterality: proposal.laterality,
            zone,
            severity: proposal.severity,
            small: proposal.small,
            multiplicity: proposal.multiplicity,
            shape: proposal.shape,
        });
    }
    None
}

/// `anatomy` with the heart and the knob of `lesions`.
pub fn with_lesions(anatomy: &Anatomy, lesions: &[PlacedLesion]) -> Anatomy {
    lesions.iter().fold(anatomy.clone(), |a, lesion| with_shape(a, &lesion.shape))
}

fn with_shape(mut anatomy: Anatomy, shape: &Shape) -> Anatomy {
    match shape {
        Shape::Heart { ctr } => anatomy.heart_ctr = *ctr,
        Shape::Knob { reach } => anatomy.knob_reach = *reach,
        _ => {}
    }
    anatomy
}

/// Whether the new box and a placed one would hide each other.
fn hides(kind: LesionKind, box_: &BoxXyxy<Original>, other: &PlacedLesion) -> bool {
    let great = |k: LesionKind| matches!(k, LesionKind::Cardiomegaly | LesionKind::AorticEnlargement);
    // The heart's box is mostly heart: what can be seen in its corners is seen well.
    let most = if great(kind) || great(other.lesion) { 0.7 } else { 0.12 };
    let smaller = box_.area().min(other.box_.area());
    let grown = box_.with_margin(if great(other.lesion) || great(kind) { 0.0 } else { 0.06 });
    smaller <= 0.0 || grown.intersection(&other.box_) / smaller > most
}

/// The zone of a box by its centre.
fn zone_of(chest: &Chest, box_: &BoxXyxy<Original>, size: usize) -> Zone {
    let (x, y) = box_.centre();
    let centre = crate::drawing::canvas::at(x / size as f32, y / size as f32);
    let a = &chest.anatomy;
    let half = chest.side_of(centre);
    let t = (centre.y - a.apex_y) / (chest.dome_y(half) - a.apex_y);
    let from_hilum = centre.distance(chest.hilum(half));
    match t {
        t if t < 0.17 => Zone::Apical,
        _ if from_hilum < 0.075 => Zone::Perihilar,
        t if t < 0.40 => Zone::Upper,
        t if t < 0.68 => Zone::Mid,
        t if t < 0.93 => Zone::Lower,
        _ => Zone::Basal,
    }
}
