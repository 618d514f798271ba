//! Fractures: near the break, the two fragments are bent apart, a dark gap lies between them, callus may surround it.

use super::Contribution;
use crate::body::chest::Chest;
use crate::body::skeleton::{bone_layer, clavicle_knots, posterior_knots};
use crate::drawing::canvas::{Knot, Layer, Point, Rect, Window, at, refine, smoothstep};
use crate::study::Laterality;

/// A broken bone.
#[derive(Debug, Clone, PartialEq)]
pub struct Fracture {
    /// Of the patient.
    pub laterality: Laterality,
    /// Which rib, counted from the top; `None` for the clavicle.
    pub rib: Option<usize>,
    /// Where along the bone, 0 at the spine or breastbone, 1 at the side.
    pub share: f32,
    /// How far the fragments are apart across the bone.
    pub step: f32,
    /// Half the width of the gap.
    pub gap: f32,
    /// How dark the gap is.
    pub depth: f32,
    /// Density of the callus at the broken ends.
    pub callus: f32,
    /// How far along the bone the fragments are bent.
    pub reach: f32,
}

impl Fracture {
    fn bone(&self, chest: &Chest) -> Vec<Knot> {
        match self.rib {
            Some(index) => posterior_knots(chest, self.laterality, index),
            None => clavicle_knots(chest, self.laterality),
        }
    }

    /// Where the bone is broken.
    pub fn place(&self, chest: &Chest) -> Point {
        let bone = self.bone(chest);
        let last = bone.len().saturating_sub(1) as f32;
        bone.get((self.share * last).round() as usize).map_or(at(0.5, 0.5), |k| k.place)
    }

    pub(super) fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        let bone = refine(&self.bone(chest), 4);
        let last = bone.len().saturating_sub(1);
        let middle = ((self.share * last as f32).round() as usize).clamp(2, last.saturating_sub(2).max(2));
        if last < 5 {
            return Contribution::none(size);
        }
        let broken_at = bone[middle].place;
        let (before, after) = (bone[middle - 1].place, bone[middle + 1].place);
        let length = before.distance(after).max(1e-6);
        // Unit vector across the bone.
        let across = at(-(after.y - before.y) / length, (after.x - before.x) / length);
        let bent = |part: &[Knot], way: f32| -> Vec<Knot> {
            let shift = |k: &Knot| {
                let near = 1.0 - smoothstep(0.0, self.reach, k.place.distance(broken_at));
                let by = way * 0.5 * self.step * near;
                Knot { place: at(k.place.x + across.x * by, k.place.y + across.y * by), ..*k }
            };
            part.iter().map(shift).collect()
        };
        let area = Rect::around(broken_at, self.reach + self.step + bone[middle].half_width * 1.5);
        let window = Window::of(area, size);
        let mut add = Layer::zeros(size, window);
        let mut fragments = Layer::zeros(size, window);
        for (part, way) in [(&bone[..middle], 1.0), (&bone[middle + 1..], -1.0)] {
            fragments.combine(&bone_layer(&bent(part, way), size), |seen, new| *seen = seen.max(new));
        }
        add.add(&fragments);
        add.combine(&bone_layer(&bone, size), |added, whole| *added -= whole);
        let half_width = bone[middle].half_width;
        add.for_each(|p, v| {
            let along = ((p.x - broken_at.x) * across.y - (p.y - broken_at.y) * across.x).abs();
            let d = p.distance(broken_at);
            // Bone bends outside the window too little to be seen; fade to nothing at its border.
            *v *= smoothstep(self.reach + half_width, self.reach * 0.8, d);
            let at_break = smoothstep(1.7 * half_width, 0.5 * half_width, d);
            let gap = self.depth * smoothstep(self.gap + 0.002, self.gap, along);
            // Callus begins at the broken ends.
            let ends = (1.0 - ((along - self.gap - 0.0038) / 0.0034).powi(2)).max(0.0);
            *v += at_break * (self.callus * (ends + 0.28) - gap);
        });
        Contribution::adding(add)
    }
}
