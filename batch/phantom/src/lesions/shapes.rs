//! Random shapes of each kind of lesion. Sizes and densities are chosen so that a lesion is clearly seen on a film of
//! 512 pixels and never looks like normal anatomy.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{LesionKind, Severity, Shape, Zone};
use crate::body::chest::Chest;
use crate::drawing::canvas::{Point, at};
use crate::lesions::bone::Fracture;
use crate::lesions::focal::{Cavity, Nodule, Specks};
use crate::lesions::opacity::{Patch, Plates, Wedge};
use crate::lesions::placement::Proposal;
use crate::lesions::pleura::{Effusion, Pneumothorax, Rind};
use crate::lesions::reticular::Net;
use crate::study::Laterality;

/// Cardiothoracic ratios of enlarged hearts.
pub const ENLARGED_CTR: std::ops::Range<f32> = 0.56..0.67;
/// How far enlarged knobs reach from the midline.
pub const ENLARGED_KNOB: std::ops::Range<f32> = 0.098..0.125;

/// A random shape of `kind`, with `laterality` where it is given. `None` when this try found no place.
pub(super) fn propose(
    kind: LesionKind,
    chest: &Chest,
    laterality: Option<Laterality>,
    rng: &mut ChaCha8Rng,
) -> Option<Proposal> {
    let laterality = laterality.unwrap_or(if rng.random_bool(0.5) { Laterality::Right } else { Laterality::Left });
    match kind {
        LesionKind::Cardiomegaly => Some(heart(rng)),
        LesionKind::AorticEnlargement => Some(knob(rng)),
        LesionKind::PleuralEffusion => Some(effusion(laterality, rng)),
        LesionKind::Pneumothorax => Some(pneumothorax(chest, laterality, rng)),
        LesionKind::PleuralThickening => Some(rind(chest, laterality, rng)),
        LesionKind::NoduleMass => nodule(chest, laterality, rng),
        LesionKind::Consolidation => consolidation(chest, laterality, rng),
        LesionKind::Infiltration => infiltration(chest, laterality, rng),
        LesionKind::Atelectasis if rng.random_bool(0.7) => Some(plates(chest, laterality, rng)),
        LesionKind::Atelectasis => Some(wedge(chest, laterality, rng)),
        LesionKind::Calcification => calcification(chest, laterality, rng),
        LesionKind::LungCavity => cavity(chest, laterality, rng),
        LesionKind::PulmonaryFibrosis => Some(fibrosis(chest, laterality, rng)),
        LesionKind::Ild => Some(ild(chest, laterality, rng)),
        LesionKind::RibFracture => Some(rib_fracture(laterality, rng)),
        LesionKind::ClavicleFracture => Some(clavicle_fracture(laterality, rng)),
    }
}

fn proposal(shape: Shape, laterality: Laterality, severity: Severity) -> Proposal {
    Proposal { shape, laterality, severity, small: false, multiplicity: 1, zone: None }
}

/// A random place on the side `laterality` that is at least `inset` inside the lung's air, in the share `heights` of its height.
fn place(
    chest: &Chest,
    laterality: Laterality,
    inset: f32,
    heights: (f32, f32),
    rng: &mut ChaCha8Rng,
) -> Option<Point> {
    let (top, bottom) = (chest.anatomy.apex_y, chest.dome_y(laterality));
    for _ in 0..24 {
        let y = top + (bottom - top) * rng.random_range(heights.0..heights.1);
        let p = chest.place(laterality, rng.random_range(0.05..0.34f32), y);
        let clear = chest.lung(p).edge > inset && chest.mediastinum(p) < -inset;
        if clear && chest.side_of(p) == laterality {
            return Some(p);
        }
    }
    None
}

fn heart(rng: &mut ChaCha8Rng) -> Proposal {
    let ctr = rng.random_range(ENLARGED_CTR);
    let severity = Severity::graded(ctr, 0.595, 0.635);
    Proposal { zone: Some(Zone::Mediastinal), ..proposal(Shape::Heart { ctr }, Laterality::Midline, severity) }
}

fn knob(rng: &mut ChaCha8Rng) -> Proposal {
    let reach = rng.random_range(ENLARGED_KNOB);
    let severity = Severity::graded(reach, 0.106, 0.117);
    Proposal { zone: Some(Zone::Mediastinal), ..proposal(Shape::Knob { reach }, Laterality::Midline, severity) }
}

fn effusion(laterality: Laterality, rng: &mut ChaCha8Rng) -> Proposal {
    let height = match rng.random_range(0..3u32) {
        0 => rng.random_range(0.075..0.11),
        1 => rng.random_range(0.13..0.21),
        _ => rng.random_range(0.24..0.38),
    };
    let severity = Severity::graded(height, 0.12, 0.22);
    Proposal {
        zone: Some(Zone::Basal),
        ..proposal(Shape::Effusion(Effusion { laterality, height }), laterality, severity)
    }
}

fn pneumothorax(chest: &Chest, laterality: Laterality, rng: &mut ChaCha8Rng) -> Proposal {
    let depth = rng.random_range(0.03..0.12f32);
    let length = 0.16 + 3.6 * depth * rng.random_range(0.8..1.2f32);
    let end_y = (chest.anatomy.apex_y + length).min(chest.dome_y(laterality) - 0.02);
    let shape = Pneumothorax { laterality, depth, end_y, lucency: rng.random_range(0.28..0.38) };
    let severity = Severity::graded(depth, 0.055, 0.09);
    Proposal { zone: Some(Zone::Apical), ..proposal(Shape::Pneumothorax(shape), laterality, severity) }
}

fn rind(chest: &Chest, laterality: Laterality, rng: &mut ChaCha8Rng) -> Proposal {
    let thickness = rng.random_range(0.015..0.034f32);
    let length = rng.random_range(0.14..0.30f32);
    let apex = chest.anatomy.apex_y;
    let apical = rng.random_bool(0.35);
    let top = if apical { apex - 0.04 } else { rng.random_range(apex + 0.12..chest.angle_y(laterality) - length) };
    let thickness = if apical { thickness * 1.3 } else { thickness };
    let shape = Rind { laterality, top, bottom: top + length, thickness, seed: rng.random_range(0..u64::MAX) };
    let severity = Severity::graded(thickness, 0.020, 0.030);
    let zone = apical.then_some(Zone::Apical);
    Proposal { zone, ..proposal(Shape::Rind(shape), laterality, severity) }
}

fn nodule(chest: &Chest, laterality: Laterality, rng: &mut ChaCha8Rng) -> Option<Proposal> {
    let fine = rng.random_bool(0.3);
    let radius = match fine {
        true => rng.random_range(0.011..0.0155),
        // Small ones are more frequent than masses.
        false => 0.02 * (0.055f32 / 0.02).powf(rng.random_range(0.0..1.0)),
    };
    let shape = Nodule {
        centre: place(chest, laterality, radius * 0.9 + 0.008, (0.12, 0.97), rng)?,
        radius,
        strength: if fine { rng.random_range(0.34..0.42) } else { rng.random_range(0.20..0.32) },
        fine,
        seed: rng.random_range(0..u64::MAX),
    };
    let severity = Severity::graded(radius, 0.018, 0.034);
    Some(Proposal { small: fine, ..proposal(Shape::Nodule(shape), laterality, severity) })
}

fn consolidation(chest: &Chest, laterality: Laterality, rng: &mut ChaCha8Rng) -> Option<Proposal> {
    let size = rng.random_range(0.055..0.10f32);
    let flat = rng.random_range(0.8..1.25f32);
    let shape = Patch {
        centre: place(chest, laterality, 0.045, (0.2, 0.97), rng)?,
        radius: at(size * flat, size / flat),
        density: rng.random_range(0.72..0.92),
        softness: rng.random_range(0.14..0.26),
        bronchogram: true,
        seed: rng.random_range(0..u64::MAX),
    };
    Some(proposal(Shape::Patch(shape), laterality, Severity::graded(size, 0.068, 0.085)))
}

fn infiltration(chest: &Chest, laterality: Laterality, rng: &mut ChaCha8Rng) -> Option<Proposal> {
    let size = rng.random_range(0.07..0.115f32);
    let flat = rng.random_range(0.75..1.2f32);
    let shape = Patch {
        centre: place(chest, laterality, 0.045, (0.15, 0.95), rng)?,
        radius: at(size * flat, size / flat),
        density: rng.random_range(0.34..0.48),
        softness: rng.random_range(0.4..0.55),
        bronchogram: false,
        seed: rng.random_range(0..u64::MAX),
    };
    Some(proposal(Shape::Patch(shape), laterality, Severity::graded(size, 0.085, 0.10)))
}

fn plates(chest: &Chest, laterality: Laterality, rng: &mut ChaCha8Rng) -> Proposal {
    let count = rng.random_range(2..5u32);
    let half_width = rng.random_range(0.0045..0.0065);
    let mut y = chest.dome_y(laterality) - 0.025;
    let bands = (0..count).map(|_| {
        let (inner, length) = (rng.random_range(0.10..0.16f32), rng.random_range(0.10..0.17f32));
        let tilt = rng.random_range(-0.015..0.02f32);
        let band =
            [chest.place(laterality, inner, y + tilt), chest.place(laterality, (inner + length).min(0.32), y - tilt)];
        y -= rng.random_range(0.024..0.036f32);
        band
    });
    let shape = Plates { bands: bands.collect(), half_width, strength: rng.random_range(0.18..0.25) };
    let severity = Severity::graded(count as f32, 2.5, 3.5);
    Proposal { multiplicity: count, zone: Some(Zone::Basal), ..proposal(Shape::Plates(shape), laterality, severity) }
}

fn wedge(chest: &Chest, laterality: Laterality, rng: &mut ChaCha8Rng) -> Proposal {
    let base = rng.random_range(0.20..0.27f32);
    let shape = Wedge {
        laterality,
        tip_y: chest.hilum(laterality).y + rng.random_range(0.0..0.04f32),
        base,
        density: rng.random_range(0.7..0.9),
    };
    let zone = if laterality == Laterality::Left { Zone::Retrocardiac } else { Zone::Basal };
    Proposal { zone: Some(zone), ..proposal(Shape::Wedge(shape), laterality, Severity::graded(base, 0.22, 0.25)) }
}

fn calcification(chest: &Chest, laterality: Laterality, rng: &mut ChaCha8Rng) -> Option<Proposal> {
    let tiny = rng.random_bool(0.5);
    let spread = if tiny { rng.random_range(0.004..0.0075f32) } else { rng.random_range(0.014..0.026f32) };
    let centre = place(chest, laterality, spread + 0.01, (0.08, 0.95), rng)?;
    let count = if tiny { rng.random_range(3..6u32) } else { rng.random_range(6..13u32) };
    let specks = (0..count).map(|_| {
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        let radius = if tiny { rng.random_range(0.0014..0.0022) } else { rng.random_range(0.0020..0.0042) };
        (centre.towards(angle, spread * rng.random_range(0.35..1.0f32)), radius)
    });
    let shape = Specks { specks: specks.collect(), strength: rng.random_range(0.42..0.55) };
    let severity = Severity::graded(spread, 0.010, 0.020);
    Some(Proposal { small: tiny, multiplicity: count, ..proposal(Shape::Specks(shape), laterality, severity) })
}

fn cavity(chest: &Chest, laterality: Laterality, rng: &mut ChaCha8Rng) -> Option<Proposal> {
    let radius = rng.random_range(0.030..0.058f32);
    let shape = Cavity {
        centre: place(chest, laterality, radius + 0.01, (0.1, 0.8), rng)?,
        radius,
        wall: radius * rng.random_range(0.20..0.32f32),
        strength: rng.random_range(0.22..0.30),
        fluid: if rng.random_bool(0.4) { rng.random_range(0.2..0.4) } else { 0.0 },
        seed: rng.random_range(0..u64::MAX),
    };
    Some(proposal(Shape::Cavity(shape), laterality, Severity::graded(radius, 0.038, 0.048)))
}

fn fibrosis(chest: &Chest, laterality: Laterality, rng: &mut ChaCha8Rng) -> Proposal {
    let apical = rng.random_bool(0.3);
    let (y, offset) = match apical {
        true => (chest.anatomy.apex_y + rng.random_range(0.075..0.10f32), rng.random_range(0.14..0.17f32)),
        false => (chest.dome_y(laterality) - rng.random_range(0.03..0.07f32), rng.random_range(0.21..0.26f32)),
    };
    let size = rng.random_range(0.075..0.115f32);
    let shape = Net {
        centre: chest.place(laterality, offset, y),
        radius: at(size * 1.1, size * 0.9),
        cell: rng.random_range(0.022..0.028),
        strength: rng.random_range(0.20..0.27),
        haze: 0.14,
        seed: rng.random_range(0..u64::MAX),
    };
    let zone = if apical { Zone::Apical } else { Zone::Basal };
    Proposal { zone: Some(zone), ..proposal(Shape::Net(shape), laterality, Severity::graded(size, 0.088, 0.10)) }
}

fn ild(chest: &Chest, laterality: Laterality, rng: &mut ChaCha8Rng) -> Proposal {
    let (top, bottom) = (chest.anatomy.apex_y, chest.angle_y(laterality));
    let tall = rng.random_range(0.30..0.40f32);
    let shape = Net {
        centre: chest.place(laterality, 0.19, top + (bottom - top) * rng.random_range(0.48..0.60f32)),
        radius: at(0.21, (bottom - top) * tall),
        cell: rng.random_range(0.012..0.0145),
        strength: rng.random_range(0.14..0.19),
        haze: rng.random_range(0.12..0.2),
        seed: rng.random_range(0..u64::MAX),
    };
    Proposal {
        zone: Some(Zone::Diffuse),
        ..proposal(Shape::Net(shape), laterality, Severity::graded(tall, 0.33, 0.37))
    }
}

fn rib_fracture(laterality: Laterality, rng: &mut ChaCha8Rng) -> Proposal {
    let step = rng.random_range(0.011..0.017f32);
    let shape = Fracture {
        laterality,
        rib: Some(rng.random_range(3..9usize)),
        share: rng.random_range(0.45..0.85),
        step,
        gap: 0.0012,
        depth: rng.random_range(0.17..0.22),
        callus: rng.random_range(0.17..0.24),
        reach: rng.random_range(0.022..0.03),
    };
    Proposal { small: true, ..proposal(Shape::Fracture(shape), laterality, Severity::graded(step, 0.0135, 0.0155)) }
}

fn clavicle_fracture(laterality: Laterality, rng: &mut ChaCha8Rng) -> Proposal {
    let step = rng.random_range(0.032..0.050f32);
    let shape = Fracture {
        laterality,
        rib: None,
        share: rng.random_range(0.45..0.65),
        step,
        gap: 0.004,
        depth: 0.13,
        callus: 0.0,
        reach: rng.random_range(0.045..0.065),
    };
    Proposal {
        zone: Some(Zone::Apical),
        ..proposal(Shape::Fracture(shape), laterality, Severity::graded(step, 0.038, 0.044))
    }
}
