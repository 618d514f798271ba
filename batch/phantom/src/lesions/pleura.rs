//! Lesions of the pleural space: fluid with its meniscus, air outside a pleural line, thick rinds.

use super::Contribution;
use crate::body::chest::Chest;
use crate::drawing::canvas::{Layer, Point, Rect, smooth_min, smoothstep};
use crate::drawing::noise::SmoothNoise;
use crate::study::Laterality;

/// Fluid at the base of one lung.
#[derive(Debug, Clone, PartialEq)]
pub struct Effusion {
    /// Of the patient.
    pub laterality: Laterality,
    /// How high the fluid stands at the chest wall above the costophrenic angle.
    pub height: f32,
}

impl Effusion {
    /// The share of air that fluid takes at `p`.
    fn at(&self, chest: &Chest, p: Point) -> f32 {
        let from_wall = (chest.lateral(p.y) - chest.offset(p).abs()).max(0.0);
        // The meniscus: highest at the wall, falling towards the middle.
        let surface = chest.angle_y(self.laterality) - self.height
            + 0.55 * self.height.min(0.16) * (1.0 - (-from_wall / 0.07).exp());
        0.97 * smoothstep(surface - 0.008, surface + 0.010, p.y)
    }

    pub(super) fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        let top = chest.angle_y(self.laterality) - self.height - 0.02;
        let fill = Layer::drawn(size, half(chest, self.laterality, top, chest.angle_y(self.laterality) + 0.05), |p| {
            if chest.side_of(p) == self.laterality { self.at(chest, p) } else { 0.0 }
        });
        Contribution::filling(fill)
    }
}

/// The part of the film on one side of the midline, between two heights.
pub(super) fn half(chest: &Chest, laterality: Laterality, top: f32, bottom: f32) -> Rect {
    let middle = chest.place(Laterality::Left, 0.0, (top + bottom) * 0.5).x;
    match laterality {
        Laterality::Right => Rect { left: 0.0, top, right: middle + 0.02, bottom },
        _ => Rect { left: middle - 0.02, top, right: 1.0, bottom },
    }
}

/// Air between the lung and the chest wall.
#[derive(Debug, Clone, PartialEq)]
pub struct Pneumothorax {
    /// Of the patient.
    pub laterality: Laterality,
    /// Distance between pleural line and chest wall at the apex.
    pub depth: f32,
    /// The height at which the line meets the chest wall again.
    pub end_y: f32,
    /// How much darker the free air is, as a share of the lung's own air.
    pub lucency: f32,
}

impl Pneumothorax {
    pub(super) fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        let area = half(chest, self.laterality, chest.anatomy.apex_y - 0.01, self.end_y + 0.01);
        let mine = |p: Point| chest.side_of(p) == self.laterality && chest.lung(p).edge > -0.01;
        // Distance inside the free air (negative: in the lung).
        let free = |p: Point| {
            let lung = chest.lung(p);
            let wall = smooth_min(lung.wall, (p.y - chest.anatomy.apex_y) * 1.1, 0.09);
            let thick = self.depth * (1.0 - smoothstep(chest.anatomy.apex_y + 0.05, self.end_y, p.y).powf(0.8));
            thick - wall
        };
        let shade = |p: Point, strength: f32| {
            if mine(p) { strength * smoothstep(-0.001, 0.003, free(p)) } else { 0.0 }
        };
        let line_half_width = 0.0024f32;
        let line = Layer::drawn(size, area, |p| {
            let lung = chest.lung(p);
            if !mine(p) || p.y > self.end_y {
                return 0.0;
            }
            let ends = smoothstep(0.0, 0.008, lung.wall) * smoothstep(0.0, 0.01, p.y - chest.anatomy.apex_y);
            let near = (1.0 - (free(p).abs() / (2.0 * line_half_width)).powi(2)).max(0.0);
            0.17 * near * ends * smoothstep(-0.01, 0.0, lung.edge) * smoothstep(0.0, -0.02, chest.mediastinum(p))
        });
        Contribution {
            fill: Layer::drawn(size, area, |p| shade(p, -self.lucency)),
            erase: Layer::drawn(size, area, |p| shade(p, 1.0)),
            add: line,
        }
    }
}

/// Thick pleura along the chest wall or over the apex.
#[derive(Debug, Clone, PartialEq)]
pub struct Rind {
    /// Of the patient.
    pub laterality: Laterality,
    /// Where it begins.
    pub top: f32,
    /// Where it ends.
    pub bottom: f32,
    /// How thick it is.
    pub thickness: f32,
    /// Seed of its uneven inner edge.
    pub seed: u64,
}

impl Rind {
    pub(super) fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        let waves = SmoothNoise::new(self.seed, 14.0);
        let area = half(chest, self.laterality, self.top, self.bottom);
        let depth = |p: Point| {
            let lung = chest.lung(p);
            if chest.side_of(p) != self.laterality || lung.edge < -0.02 {
                return None;
            }
            let ends = smoothstep(self.top, self.top + 0.03, p.y) * smoothstep(self.bottom, self.bottom - 0.05, p.y);
            let wall = smooth_min(lung.wall, (p.y - chest.anatomy.apex_y) * 1.1, 0.04);
            // Distance inside the rind's inner edge.
            Some((self.thickness * ends * (1.0 + 0.3 * waves.at(p)) - wall, ends, lung.edge))
        };
        let rind = |p: Point| match depth(p) {
            Some((inside, _, edge)) => smoothstep(-0.002, 0.003, inside) * smoothstep(-0.006, 0.004, edge),
            None => 0.0,
        };
        let fill = Layer::drawn(size, area, |p| 0.8 * rind(p));
        let add = Layer::drawn(size, area, |p| {
            let Some((inside, ends, edge)) = depth(p) else { return 0.0 };
            let inner_edge = (1.0 - ((inside - 0.002) / 0.005).powi(2)).max(0.0);
            smoothstep(-0.004, 0.004, edge) * ends * (0.04 * smoothstep(-0.002, 0.003, inside) + 0.04 * inner_edge)
        });
        Contribution { fill, add, ..Contribution::none(size) }
    }
}
