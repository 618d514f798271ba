//! Vascular markings: trees of tapering strokes that leave the hila and thin out towards the chest wall.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::body::chest::Chest;
use crate::drawing::canvas::{Knot, Layer, Point, Profile, Rect, at, length, smoothstep};
use crate::study::Laterality;

/// A vessel that is still growing.
struct Twig {
    place: Point,
    angle: f32,
    half_width: f32,
    length: f32,
    generation: u32,
}

/// Density of the vessels, not yet masked by the lungs' air.
pub fn markings(chest: &Chest, size: usize) -> Layer {
    let mut layer = Layer::film(size);
    for half in [Laterality::Right, Laterality::Left] {
        let mut rng = ChaCha8Rng::seed_from_u64(chest.anatomy.texture ^ (half as u64 + 11));
        let hilum = chest.hilum(half);
        let mut growing: Vec<Twig> = (0..9)
            .map(|main| {
                // From straight up to straight down, on the lung's side of the hilum.
                let fan = -1.35 + 2.75 * (main as f32 + rng.random_range(-0.25..0.25)) / 8.0;
                let angle = if half == Laterality::Left { fan } else { std::f32::consts::PI - fan };
                let start = at(hilum.x, hilum.y + 0.035 * fan);
                let low = if fan > 0.3 { 1.15 } else { 0.9 };
                Twig { place: start, angle, half_width: 0.0080 * low, length: 0.09 * low, generation: 0 }
            })
            .collect();
        while let Some(twig) = growing.pop() {
            grow(chest, &mut layer, &twig, &mut growing, &mut rng);
        }
        let shade = Layer::drawn(size, Rect::around(hilum, 0.09), |p| {
            0.11 * smoothstep(1.0, 0.0, length((p.x - hilum.x) / 0.065, (p.y - hilum.y) / 0.085))
        });
        layer.add(&shade);
    }
    layer
}

fn grow(chest: &Chest, layer: &mut Layer, twig: &Twig, growing: &mut Vec<Twig>, rng: &mut ChaCha8Rng) {
    const STEPS: usize = 4;
    let bend = rng.random_range(-0.5..0.5f32);
    let length = twig.length * rng.random_range(0.75..1.2f32);
    let taper = 0.74;
    let mut place = twig.place;
    let mut knots = Vec::with_capacity(STEPS + 1);
    for step in 0..=STEPS {
        let share = step as f32 / STEPS as f32;
        let half_width = twig.half_width * (1.0 + (taper - 1.0) * share);
        let strength = chest.anatomy.vascularity * 0.135 * (half_width / 0.0080).powf(0.75);
        knots.push(Knot { place, half_width, strength });
        place = place.towards(twig.angle + bend * share, length / STEPS as f32);
    }
    layer.stroke(&knots, Profile::Soft);
    let end = knots[STEPS].place;
    if twig.generation >= 4 || chest.lung(end).edge < 0.012 {
        return;
    }
    let heading = twig.angle + bend;
    let spread = rng.random_range(0.25..0.5f32);
    for turn in [spread, spread - rng.random_range(0.6..0.9f32)] {
        growing.push(Twig {
            place: end,
            angle: heading + turn,
            half_width: twig.half_width * taper * if turn > 0.0 { 0.95 } else { 0.8 },
            length: twig.length * 0.86,
            generation: twig.generation + 1,
        });
    }
}
