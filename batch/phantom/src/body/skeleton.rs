//! Bones of the frontal chest: ribs, clavicles, shoulder blades, humeral heads, spine.

use crate::body::chest::{Chest, RIBS};
use crate::drawing::canvas::{Knot, Layer, Point, Rect, Window, knots, length, refine, smoothstep};
use crate::study::Laterality;

/// Density of a rib's back.
const POSTERIOR: f32 = 0.105;
/// Density of a rib's front.
const ANTERIOR: f32 = 0.060;
/// Half the width of a rib.
pub const RIB_HALF_WIDTH: f32 = 0.0105;
/// Half the width of a clavicle.
pub const CLAVICLE_HALF_WIDTH: f32 = 0.0130;
/// Density of a clavicle.
const CLAVICLE: f32 = 0.15;

/// All bones of the chest.
pub fn bones(chest: &Chest, size: usize) -> Layer {
    let mut layer = Layer::film(size);
    for half in [Laterality::Right, Laterality::Left] {
        for index in 0..RIBS {
            add_stroke(&mut layer, &posterior_knots(chest, half, index));
            if index < RIBS - 2 {
                add_stroke(&mut layer, &anterior_knots(chest, half, index));
            }
        }
        add_stroke(&mut layer, &clavicle_knots(chest, half));
        shoulder(chest, half, &mut layer);
    }
    spine(chest, &mut layer);
    layer
}

fn add_stroke(layer: &mut Layer, bone: &[Knot]) {
    layer.add(&bone_layer(bone, layer.size));
}

/// One bone on its own.
pub fn bone_layer(bone: &[Knot], size: usize) -> Layer {
    let margin = bone.iter().map(|k| k.half_width).fold(0.0, f32::max) + 2.0 / size as f32;
    let window = Window::of(Rect::holding(bone.iter().map(|k| k.place), margin), size);
    let mut layer = Layer::zeros(size, window);
    layer.bone(bone);
    layer
}

/// The posterior arc of a rib as a stroke.
pub fn posterior_knots(chest: &Chest, laterality: Laterality, index: usize) -> Vec<Knot> {
    fading(&chest.posterior_rib(laterality, index), |share| {
        POSTERIOR * (0.75 + 0.25 * smoothstep(0.0, 0.3, share)) * (1.0 - 0.4 * smoothstep(0.85, 1.0, share))
    })
}

fn anterior_knots(chest: &Chest, laterality: Laterality, index: usize) -> Vec<Knot> {
    fading(&chest.anterior_rib(laterality, index), |share| {
        ANTERIOR * (0.2 + 0.8 * smoothstep(0.0, 0.25, share)) * (1.0 - 0.85 * smoothstep(0.55, 1.0, share))
    })
}

fn fading(points: &[Point], strength: impl Fn(f32) -> f32) -> Vec<Knot> {
    let last = points.len().saturating_sub(1).max(1) as f32;
    let knot = |(i, place): (usize, &Point)| Knot {
        place: *place,
        half_width: RIB_HALF_WIDTH,
        strength: strength(i as f32 / last),
    };
    points.iter().enumerate().map(knot).collect()
}

/// A clavicle as a stroke, thicker at both ends.
pub fn clavicle_knots(chest: &Chest, laterality: Laterality) -> Vec<Knot> {
    let points = chest.clavicle(laterality);
    let last = points.len().saturating_sub(1).max(1) as f32;
    let knot = |(i, place): (usize, &Point)| {
        let from_middle = (2.0 * i as f32 / last - 1.0).abs();
        Knot {
            place: *place,
            half_width: CLAVICLE_HALF_WIDTH * (0.85 + 0.35 * from_middle * from_middle),
            strength: CLAVICLE,
        }
    };
    points.iter().enumerate().map(knot).collect()
}

/// Shoulder blade and humeral head.
fn shoulder(chest: &Chest, half: Laterality, layer: &mut Layer) {
    let (top, x) = (chest.anatomy.apex_y, chest.anatomy.scapula_x);
    let blade = [(x + 0.03, top + 0.05), (x + 0.012, top + 0.15), (x, top + 0.26), (x + 0.012, top + 0.36)];
    let blade: Vec<Knot> = blade
        .iter()
        .zip([0.045, 0.04, 0.03, 0.008])
        .map(|(&(offset, y), half_width)| Knot { place: chest.place(half, offset, y), half_width, strength: 0.06 })
        .collect();
    add_stroke(layer, &refine(&blade, 6));
    let head = chest.place(half, 0.445, top + 0.055);
    let round = Layer::drawn(layer.size, Rect::around(head, 0.06), |p| {
        let d = p.distance(head);
        0.10 * smoothstep(0.05, 0.044, d) * (0.6 + 0.4 * smoothstep(0.02, 0.044, d))
    });
    layer.add(&round);
    let acromion =
        [chest.place(half, 0.34, top + 0.03), chest.place(half, 0.40, top + 0.005), chest.place(half, 0.45, top + 0.0)];
    add_stroke(layer, &knots(&acromion, 0.012, 0.09));
}

/// Vertebral bodies with their end plates, pedicles and spinous processes.
fn spine(chest: &Chest, layer: &mut Layer) {
    let middle = chest.place(Laterality::Left, 0.0, 0.5).x;
    let strip = Rect { left: middle - 0.075, top: 0.0, right: middle + 0.075, bottom: 1.0 };
    let column = Layer::drawn(layer.size, strip, |p| {
        let offset = chest.offset(p).abs();
        let half = 0.030 + 0.010 * p.y;
        // Vertebrae grow downwards: their number along the spine is a quadratic function of the height.
        let number = 19.0 * p.y * (1.2 - 0.2 * p.y);
        let phase = number - number.floor();
        let body = smoothstep(0.02, 0.10, phase) * smoothstep(0.98, 0.90, phase);
        let waist = half * (1.0 - 0.10 * (1.0 - (2.0 * phase - 1.0).powi(2)));
        let inside = smoothstep(waist + 0.004, waist - 0.004, offset);
        let plate = body * (1.0 - smoothstep(0.10, 0.2, phase) * smoothstep(0.9, 0.8, phase));
        let ellipse = |x: f32, y: f32, wide: f32, high: f32| {
            smoothstep(1.2, 0.7, length((offset - x) / wide, (phase - y) / high))
        };
        let pedicle = ellipse(half * 0.62, 0.36, 0.0055, 0.17);
        let process = ellipse(0.0, 0.72, 0.0045, 0.22);
        inside * (0.030 + 0.040 * body + 0.030 * plate) + 0.045 * pedicle + 0.045 * process
    });
    layer.add(&column);
}
