//! Focal lesions: nodules and masses, calcified specks, cavities.

use super::Contribution;
use crate::body::chest::Chest;
use crate::drawing::canvas::{Layer, Point, Rect, smoothstep};
use crate::drawing::noise::SmoothNoise;
use crate::lesions::opacity::masked;

/// A round density.
#[derive(Debug, Clone, PartialEq)]
pub struct Nodule {
    /// Its middle.
    pub centre: Point,
    pub radius: f32,
    /// Its density.
    pub strength: f32,
    /// Drawn as a fine bright kernel in a thin lucent halo, which shrinking averages away.
    pub fine: bool,
    /// Seed of its outline.
    pub seed: u64,
}

impl Nodule {
    pub(super) fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        let outline = SmoothNoise::new(self.seed, 18.0);
        let mut add = Layer::drawn(size, Rect::around(self.centre, self.radius * 1.6), |p| {
            let k = p.distance(self.centre) / self.radius;
            if self.fine {
                let kernel = (-(k / 0.42).powi(2)).exp();
                let halo = (-((k - 0.86) / 0.26).powi(2)).exp();
                return self.strength * (kernel - 0.30 * halo);
            }
            let k = k * (1.0 + 0.16 * outline.at(p));
            let border = smoothstep(1.08, 0.80, k);
            self.strength * border * (0.72 + 0.28 * (1.0 - k * k).max(0.0).sqrt())
        });
        masked(&mut add, chest);
        Contribution::adding(add)
    }
}

/// Calcified specks.
#[derive(Debug, Clone, PartialEq)]
pub struct Specks {
    /// Centre and radius of each.
    pub specks: Vec<(Point, f32)>,
    /// Their density.
    pub strength: f32,
}

impl Specks {
    pub(super) fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        let widest = self.specks.iter().map(|s| s.1).fold(0.0, f32::max);
        let area = Rect::holding(self.specks.iter().map(|s| s.0), 2.0 * widest + 2.0 / size as f32);
        let half_pixel = 0.5 / size as f32;
        let mut add = Layer::drawn(size, area, |p| {
            let dense = |(centre, radius): &(Point, f32)| {
                let d = p.distance(*centre);
                smoothstep(radius + half_pixel * 1.2, radius - half_pixel * 1.2, d)
            };
            self.strength * self.specks.iter().map(dense).fold(0.0, f32::max)
        });
        masked(&mut add, chest);
        Contribution::adding(add)
    }
}

/// A ring around air, now and then with a level of fluid.
#[derive(Debug, Clone, PartialEq)]
pub struct Cavity {
    /// Its middle.
    pub centre: Point,
    /// Outer radius.
    pub radius: f32,
    /// Thickness of the wall.
    pub wall: f32,
    /// Density of the wall.
    pub strength: f32,
    /// Share of the inside below the fluid's level; 0 for none.
    pub fluid: f32,
    /// Seed of its outline.
    pub seed: u64,
}

impl Cavity {
    pub(super) fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        let outline = SmoothNoise::new(self.seed, 14.0);
        let area = Rect::around(self.centre, self.radius * 1.3);
        let distance = |p: Point| self.radius - p.distance(self.centre) * (1.0 + 0.16 * outline.at(p));
        let inside = |p: Point| smoothstep(self.wall - 0.002, self.wall + 0.002, distance(p));
        let level = self.centre.y + (self.radius - self.wall) * (1.0 - 2.0 * self.fluid);
        let mut add =
            Layer::drawn(size, area, |p| self.strength * smoothstep(-0.006, 0.004, distance(p)) * (1.0 - inside(p)));
        masked(&mut add, chest);
        let fill = Layer::drawn(size, area, |p| {
            let wet = if self.fluid > 0.0 { smoothstep(level - 0.0015, level + 0.0015, p.y) } else { 0.0 };
            inside(p) * (0.75 * wet - 0.10 * (1.0 - wet))
        });
        Contribution { fill, erase: Layer::drawn(size, area, inside), add }
    }
}
