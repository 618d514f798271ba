//! Soft tissue of the frontal chest: skin outline, chest wall, mediastinum, abdomen, air ways, gas.

use crate::body::chest::Chest;
use crate::drawing::canvas::{Layer, Point, Profile, Rect, knots, length, smoothstep};
use crate::drawing::noise::SmoothNoise;
use crate::study::Laterality;

/// The soft tissue of a chest.
pub struct SoftTissue {
    /// Density of the body where no air is, before bones; 0 in the open.
    pub density: Layer,
    /// Air in the lungs, 0 to about 1.
    pub air: Layer,
}

/// Soft tissue and air.
pub fn soft_tissue(chest: &Chest, size: usize) -> SoftTissue {
    let a = &chest.anatomy;
    let mut coarse = SmoothNoise::new(a.texture ^ 1, 7.0).scan();
    let mut fine = SmoothNoise::new(a.texture ^ 2, 26.0).scan();
    let mut density = Layer::film(size);
    let mut air = Layer::film(size);
    let mut airs = air.values.iter_mut();
    density.for_each(|p, value| {
        let air = airs.next();
        let skin = chest.skin(p);
        if skin < -0.004 {
            return;
        }
        let body = smoothstep(-0.004, 0.004, skin) * (0.42 + 0.58 * smoothstep(0.0, 0.085, skin).sqrt());
        let offset = chest.offset(p).abs();
        let floor = chest.diaphragm(chest.side_of(p), offset);
        let below = smoothstep(-0.004, 0.05, p.y - floor);
        let mediastinum = chest.mediastinum(p);
        // The heart is round: it is thickest in its middle.
        let middle = 0.35 * smoothstep(-0.01, 0.01, mediastinum) + 0.65 * smoothstep(0.0, 0.10, mediastinum);
        // Fat and muscle are thickest at the bottom and between the lungs, thin at the neck.
        let wall = 0.68 + 0.05 * a.habitus - 0.10 * smoothstep(0.16, 0.02, p.y);
        let (coarse, fine) = (coarse.at(p), fine.at(p));
        let texture = 0.016 * coarse + 0.009 * fine;
        *value = body * (wall + 0.10 * middle * (1.0 - below) + 0.11 * below + texture + breast(chest, p));
        let inside = chest.air_without_heart(p) * Chest::beside(mediastinum);
        if let (Some(air), true) = (air, inside > 0.0) {
            *air = inside * (1.0 + 0.02 * coarse + 0.025 * fine);
        }
    });
    SoftTissue { density, air }
}

fn breast(chest: &Chest, p: Point) -> f32 {
    let strength = chest.anatomy.breast;
    if strength == 0.0 || !(0.42..0.86).contains(&p.y) {
        return 0.0;
    }
    let centre = chest.place(chest.side_of(p), 0.20, 0.62);
    let distance = length(p.x - centre.x, (p.y - centre.y) * 0.85);
    let round = smoothstep(0.17, 0.12, distance);
    0.055 * strength * round * smoothstep(0.46, 0.74, p.y)
}

/// Air ways and gas in the stomach: what is taken off the density.
pub fn gas(chest: &Chest, size: usize) -> Layer {
    let mut layer = Layer::film(size);
    let carina = 0.37;
    let trachea = [-0.01, 0.1, 0.2, 0.3, carina].map(|y| chest.place(Laterality::Right, 0.004, y));
    layer.stroke(&knots(&trachea, 0.0165, 0.12), Profile::Soft);
    let end = chest.place(Laterality::Right, 0.004, carina);
    layer.stroke(&knots(&[end, chest.place(Laterality::Right, 0.062, carina + 0.055)], 0.012, 0.09), Profile::Soft);
    layer.stroke(&knots(&[end, chest.place(Laterality::Left, 0.066, carina + 0.045)], 0.011, 0.09), Profile::Soft);
    let amount = chest.anatomy.gas;
    if amount > 0.0 {
        let centre = chest.place(Laterality::Left, 0.155, chest.anatomy.dome_left_y + 0.02 + 0.03 * amount);
        let (wide, high) = (0.035 + 0.045 * amount, 0.018 + 0.020 * amount);
        let bubble = Layer::drawn(size, Rect::around(centre, wide * 1.3), |p| {
            let k = length((p.x - centre.x) / wide, (p.y - centre.y) / high);
            // A level of fluid cuts the bubble off.
            0.30 * smoothstep(1.15, 0.75, k) * smoothstep(centre.y + 0.55 * high, centre.y + 0.4 * high, p.y)
        });
        layer.add(&bubble);
    }
    layer
}
