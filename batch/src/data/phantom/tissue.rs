//! Soft tissue of the frontal chest: skin outline, chest wall, mediastinum, abdomen, air ways, gas.

use super::canvas::{Layer, Point, Profile, SmoothNoise, knots, smoothstep};
use super::chest::Chest;
use super::study::Side;

/// Density of the body where no air is, before bones; 0 in the open.
pub fn tissue(chest: &Chest, side: usize) -> Layer {
    let a = &chest.anatomy;
    let coarse = SmoothNoise::new(a.texture ^ 1, 7.0);
    let fine = SmoothNoise::new(a.texture ^ 2, 28.0);
    let mut layer = Layer::film(side);
    layer.for_each(|p, value| {
        let skin = chest.skin(p);
        if skin < -0.004 {
            return;
        }
        let body = smoothstep(-0.004, 0.004, skin) * (0.42 + 0.58 * smoothstep(0.0, 0.085, skin).sqrt());
        let offset = chest.offset(p).abs();
        let floor = chest.diaphragm(chest.side_of(p), offset);
        let below = smoothstep(-0.004, 0.05, p.y - floor);
        let middle = smoothstep(-0.01, 0.05, chest.mediastinum(p));
        // Fat and muscle are thickest at the bottom and between the lungs, thin at the neck.
        let wall = 0.70 + 0.05 * a.habitus - 0.10 * smoothstep(0.16, 0.02, p.y);
        let texture = 0.015 * coarse.at(p) + 0.008 * fine.at(p);
        *value = body * (wall + 0.09 * middle * (1.0 - below) + 0.10 * below + texture + breast(chest, p));
    });
    layer
}

fn breast(chest: &Chest, p: Point) -> f32 {
    let strength = chest.anatomy.breast;
    if strength == 0.0 || !(0.42..0.86).contains(&p.y) {
        return 0.0;
    }
    let centre = chest.place(chest.side_of(p), 0.20, 0.62);
    let distance = (p.x - centre.x).hypot((p.y - centre.y) * 0.85);
    let round = smoothstep(0.17, 0.12, distance);
    0.055 * strength * round * smoothstep(0.46, 0.74, p.y)
}

/// Air in the lungs, 0 to about 1.
pub fn air(chest: &Chest, side: usize) -> Layer {
    let patchy = SmoothNoise::new(chest.anatomy.texture ^ 3, 11.0);
    let mut layer = Layer::film(side);
    layer.for_each(|p, value| {
        let air = chest.air(p);
        *value = if air > 0.0 { air * (1.0 + 0.025 * patchy.at(p)) } else { 0.0 };
    });
    layer
}

/// Air ways and gas in the stomach: what is taken off the density.
pub fn gas(chest: &Chest, side: usize) -> Layer {
    let mut layer = Layer::film(side);
    let carina = 0.37;
    let trachea = [-0.01, 0.1, 0.2, 0.3, carina].map(|y| chest.place(Side::Right, 0.004, y));
    layer.stroke(&knots(&trachea, 0.0165, 0.12), Profile::Soft);
    let end = chest.place(Side::Right, 0.004, carina);
    layer.stroke(&knots(&[end, chest.place(Side::Right, 0.062, carina + 0.055)], 0.012, 0.09), Profile::Soft);
    layer.stroke(&knots(&[end, chest.place(Side::Left, 0.066, carina + 0.045)], 0.011, 0.09), Profile::Soft);
    let size = chest.anatomy.gas;
    if size > 0.0 {
        let centre = chest.place(Side::Left, 0.155, chest.anatomy.dome_left_y + 0.02 + 0.03 * size);
        let (wide, high) = (0.035 + 0.045 * size, 0.018 + 0.020 * size);
        let bubble = Layer::drawn(side, super::canvas::Rect::around(centre, wide * 1.3), |p| {
            let k = ((p.x - centre.x) / wide).hypot((p.y - centre.y) / high);
            // A level of fluid cuts the bubble off.
            0.30 * smoothstep(1.15, 0.75, k) * smoothstep(centre.y + 0.55 * high, centre.y + 0.4 * high, p.y)
        });
        layer.add(&bubble);
    }
    layer
}
