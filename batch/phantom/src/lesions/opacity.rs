//! Lung without air: consolidation, infiltration, atelectasis.

use super::Contribution;
use crate::body::chest::Chest;
use crate::drawing::canvas::{Layer, Point, Profile, Rect, Window, at, knots, length, smoothstep};
use crate::drawing::noise::{SmoothNoise, scramble};
use crate::study::Laterality;

/// A patch of dense or hazy lung.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// Its middle.
    pub centre: Point,
    /// Half its width and half its height.
    pub radius: Point,
    /// Share of the air that is gone in the middle.
    pub density: f32,
    /// Width of the border over which it fades, as a share of the radius.
    pub softness: f32,
    /// Air-filled bronchi are seen against it.
    pub bronchogram: bool,
    /// Seed of its outline and texture.
    pub seed: u64,
}

impl Patch {
    pub(super) fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        let outline = SmoothNoise::new(self.seed, 9.0);
        let texture = SmoothNoise::new(self.seed ^ 5, if self.bronchogram { 40.0 } else { 55.0 });
        let coarse = SmoothNoise::new(self.seed ^ 6, 26.0);
        let reach = self.radius.x.max(self.radius.y) * (1.3 + self.softness);
        let own_side = chest.side_of(self.centre);
        let mut fill = Layer::drawn(size, Rect::around(self.centre, reach), |p| {
            if chest.side_of(p) != own_side {
                return 0.0;
            }
            let k = length((p.x - self.centre.x) / self.radius.x, (p.y - self.centre.y) / self.radius.y);
            let body =
                smoothstep(1.0 + self.softness, 1.0 - self.softness, k + 0.30 * outline.at(p) + 0.14 * coarse.at(p));
            let grainy = if self.bronchogram {
                1.0 + 0.07 * texture.at(p)
            } else {
                // Hazy patches are blotchy: many small foci that have not merged.
                (1.0 + 0.45 * texture.at(p) + 0.35 * coarse.at(p)).max(0.15)
            };
            (self.density * body * grainy).min(0.97)
        });
        if self.bronchogram {
            let bronchi = self.bronchi(chest.hilum(own_side), size);
            fill.combine(&bronchi, |filled, open| *filled *= 1.0 - open);
        }
        Contribution::filling(fill)
    }

    /// Air-filled bronchi that run from the hilum's direction through the patch.
    fn bronchi(&self, hilum: Point, size: usize) -> Layer {
        let heading = (self.centre.y - hilum.y).atan2(self.centre.x - hilum.x);
        let radius = self.radius.x.min(self.radius.y);
        let root = self.centre.towards(heading, -0.7 * radius);
        let mut layer = Layer::zeros(size, Window::of(Rect::around(self.centre, radius * 1.2), size));
        for branch in 0..4u64 {
            let wobble = (scramble(self.seed ^ (branch + 40)) >> 40) as f32 / (1u32 << 24) as f32 - 0.5;
            let turn = (branch as f32 - 1.5) * 0.42 + 0.5 * wobble;
            let knee = root.towards(heading + turn * 0.4, 0.6 * radius);
            let tip = knee.towards(heading + turn * 1.5, (0.7 + 0.4 * wobble) * radius);
            layer.stroke(&knots(&[root, knee, tip], 0.0036, 0.34), Profile::Soft);
        }
        layer
    }
}

/// Plate-like atelectasis: thin bands above the diaphragm.
#[derive(Debug, Clone, PartialEq)]
pub struct Plates {
    /// Ends of each band.
    pub bands: Vec<[Point; 2]>,
    /// Half the thickness of a band.
    pub half_width: f32,
    /// Its density.
    pub strength: f32,
}

impl Plates {
    pub(super) fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        let ends = self.bands.iter().flatten().copied();
        let area = Rect::holding(ends, self.half_width * 2.0 + 0.01);
        let mut add = Layer::zeros(size, Window::of(area, size));
        for [from, to] in &self.bands {
            let bend = from.lerp(*to, 0.5);
            let middle = at(bend.x, bend.y - 0.004);
            let mut stroke = knots(
                &[*from, from.lerp(middle, 0.6), middle, middle.lerp(*to, 0.4), *to],
                self.half_width,
                self.strength,
            );
            for (end, next) in [(0, 1), (4, 3)] {
                stroke[end].half_width *= 0.5;
                stroke[end].strength *= 0.6;
                stroke[next].half_width *= 0.9;
            }
            add.stroke(&stroke, Profile::Soft);
        }
        masked(&mut add, chest);
        Contribution::adding(add)
    }
}

/// Keeps a layer to where air is.
pub(super) fn masked(layer: &mut Layer, chest: &Chest) {
    layer.for_each(|p, v| {
        if *v != 0.0 {
            *v *= smoothstep(0.05, 0.30, chest.air(p));
        }
    });
}

/// A collapsed lower lobe: a dense triangle with a straight border, its tip at the hilum, its base on the diaphragm.
#[derive(Debug, Clone, PartialEq)]
pub struct Wedge {
    /// Of the patient.
    pub laterality: Laterality,
    /// Height of the tip.
    pub tip_y: f32,
    /// Offset of the border from the midline at the diaphragm.
    pub base: f32,
    /// Share of the air that is gone.
    pub density: f32,
}

impl Wedge {
    pub(super) fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        let bottom = chest.angle_y(self.laterality);
        let area = crate::lesions::pleura::half(chest, self.laterality, self.tip_y - 0.01, bottom);
        let floor = chest.diaphragm(self.laterality, self.base);
        let fill = Layer::drawn(size, area, |p| {
            if chest.side_of(p) != self.laterality {
                return 0.0;
            }
            let down = ((p.y - self.tip_y) / (floor - self.tip_y)).max(0.0);
            let border = 0.045 + (self.base - 0.045) * down.powf(0.9);
            self.density * smoothstep(-0.004, 0.004, border - chest.offset(p).abs()) * smoothstep(0.0, 0.15, down)
        });
        Contribution::filling(fill)
    }
}
