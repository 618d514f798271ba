//! The lateral film, the patient looking to the image's left: spine behind, heart in front, the domes below, clear
//! spaces behind breastbone and heart. Of the lesions only pleural effusions are drawn, behind the diaphragm.

use d2r_contracts::boxes::BoxXyxy;

use crate::body::chest::AIR_CONTRAST;
use crate::drawing::canvas::{Knot, Layer, Point, Profile, Rect, at, curve, knots, length, smooth_min, smoothstep};
use crate::drawing::noise::SmoothNoise;
use crate::lesions::{LesionKind, PlacedLesion, Shape, VISIBLE, Zone};
use crate::study::{Laterality, PhantomStudy};

/// The geometry of a lateral chest.
struct Profiles {
    /// Front of the lungs by height.
    front: Vec<Point>,
    /// Back of the lungs by height.
    back: Vec<Point>,
    /// Middle of the spine by height.
    spine: Vec<Point>,
    /// How far the whole body is moved.
    shift: f32,
    /// How much deeper than usual the chest is.
    depth: f32,
    /// Height of the right dome; the left one is a little lower.
    dome: f32,
    seed: u64,
}

impl Profiles {
    fn new(study: &PhantomStudy) -> Profiles {
        let a = &study.anatomy;
        let line = |points: &[(f32, f32)]| curve(&points.iter().map(|&(y, x)| at(x, y)).collect::<Vec<_>>(), 8);
        Profiles {
            front: line(&[
                (0.0, 0.47),
                (0.10, 0.45),
                (0.20, 0.345),
                (0.32, 0.27),
                (0.46, 0.23),
                (0.60, 0.22),
                (0.75, 0.235),
                (1.0, 0.27),
            ]),
            back: line(&[
                (0.0, 0.58),
                (0.10, 0.62),
                (0.20, 0.73),
                (0.32, 0.80),
                (0.46, 0.835),
                (0.60, 0.84),
                (0.75, 0.82),
                (1.0, 0.76),
            ]),
            spine: line(&[
                (0.0, 0.64),
                (0.12, 0.68),
                (0.28, 0.745),
                (0.45, 0.775),
                (0.62, 0.77),
                (0.80, 0.735),
                (1.0, 0.70),
            ]),
            shift: (a.centre_x - 0.5) * 2.0,
            depth: 0.94 + 0.10 * a.habitus,
            dome: a.dome_right_y - 0.055,
            seed: a.texture ^ 77,
        }
    }

    /// `p` in the frame of a body of usual depth and place.
    fn local(&self, p: Point) -> Point {
        at(0.52 + (p.x - 0.52 - self.shift) / self.depth, p.y)
    }

    /// The inverse of [`Self::local`].
    fn film(&self, p: Point) -> Point {
        at(0.52 + (p.x - 0.52) * self.depth + self.shift, p.y)
    }

    /// Height of the diaphragm `lower` than the right dome.
    fn floor(&self, x: f32, lower: f32) -> f32 {
        let forward = ((0.44 - x) / 0.22).max(0.0);
        let backward = ((x - 0.44) / 0.40).max(0.0);
        self.dome + lower + 0.055 * forward * forward + 0.185 * backward.powf(1.8)
    }

    /// Air at `p` (local frame).
    fn air(&self, p: Point) -> f32 {
        let (front, back) = (across(&self.front, p.y), across(&self.back, p.y));
        let inside = smooth_min(p.x - front, back - p.x, 0.03);
        let lungs = smoothstep(0.0, 0.012, inside) * smoothstep(0.08, 0.13, p.y);
        let thick = 0.55 + 0.45 * smoothstep(0.0, 0.09, inside);
        // Two lungs lie behind each other, each on its own dome.
        let above = |lower: f32| smoothstep(0.004, -0.004, p.y - self.floor(p.x, lower));
        let both = 0.5 * above(0.0) + 0.5 * above(0.028);
        // Upper arms and shoulder blades.
        let shoulders = 0.55 + 0.45 * smoothstep(0.16, 0.34, p.y);
        lungs * thick * both * shoulders * (1.0 - 0.72 * self.heart(p)) * (1.0 - 0.45 * self.vessels(p))
    }

    fn heart(&self, p: Point) -> f32 {
        let (dx, dy) = (p.x - 0.375, p.y - (self.dome - 0.085));
        let (u, v) = ((dx * 0.80 - dy * 0.60) / 0.165, (dx * 0.60 + dy * 0.80) / 0.125);
        smoothstep(1.12, 0.82, length(u, v))
    }

    /// Hilum and great vessels.
    fn vessels(&self, p: Point) -> f32 {
        let hilum = smoothstep(1.1, 0.0, length((p.x - 0.525) / 0.085, (p.y - 0.44) / 0.085));
        let ring = length((p.x - 0.535) / 0.105, (p.y - 0.385) / 0.11);
        let arch = smoothstep(0.34, 0.0, (ring - 1.0).abs()) * smoothstep(0.43, 0.30, p.y);
        let down = smoothstep(0.05, 0.0, (p.x - 0.635 - 0.10 * (p.y - 0.4)).abs()) * smoothstep(0.30, 0.42, p.y);
        (hilum + 0.6 * arch).min(1.0).max(0.38 * down)
    }

    /// The share of the air at `p` (local frame) that fluid `height` deep takes.
    fn fluid(&self, p: Point, height: f32) -> f32 {
        let from_back = (across(&self.back, p.y) - p.x).max(0.0);
        let surface = self.floor(0.83, 0.028) - height + 0.75 * height * (1.0 - (-from_back / 0.12).exp());
        0.95 * smoothstep(surface - 0.008, surface + 0.010, p.y) * smoothstep(0.40, 0.50, p.x)
    }
}

/// The column of a line at a height.
fn across(line: &[Point], y: f32) -> f32 {
    let after = line.partition_point(|p| p.y <= y).clamp(1, line.len() - 1);
    let (a, b) = (line[after - 1], line[after]);
    a.x + (b.x - a.x) * ((y - a.y) / (b.y - a.y)).clamp(0.0, 1.0)
}

/// The lesions of a frontal study that are drawn on its lateral film: its largest effusion.
pub fn findings(frontal: &PhantomStudy) -> Vec<PlacedLesion> {
    let fluid = frontal.findings.iter().filter_map(|f| match &f.shape {
        Shape::Effusion(effusion) => Some((f, effusion.height)),
        _ => None,
    });
    let Some((finding, height)) = fluid.max_by(|a, b| a.1.total_cmp(&b.1)) else { return Vec::new() };
    let (profiles, laterality) = (Profiles::new(frontal), frontal.width as usize);
    let height = 0.05 + 0.6 * height;
    let seen = Layer::drawn(laterality, Rect { left: 0.3, top: 0.4, right: 1.0, bottom: 1.0 }, |p| {
        let p = profiles.local(p);
        let air = profiles.air(p);
        if air > 0.0 { AIR_CONTRAST * air * profiles.fluid(p, height) } else { 0.0 }
    });
    let Some(window) = seen.extent(VISIBLE) else { return Vec::new() };
    let (left, top) = (window.left as f32, window.top as f32);
    let box_ = BoxXyxy::new(left, top, left + window.width as f32, top + window.height as f32);
    let shape = Shape::LateralEffusion { height };
    vec![PlacedLesion { lesion: LesionKind::PleuralEffusion, box_, zone: Zone::Basal, shape, ..finding.clone() }]
}

/// The density of a lateral film.
pub fn density(study: &PhantomStudy) -> Layer {
    let (laterality, profiles) = (study.width as usize, Profiles::new(study));
    let coarse = SmoothNoise::new(profiles.seed, 8.0);
    let patchy = SmoothNoise::new(profiles.seed ^ 3, 30.0);
    let fluid = study.findings.iter().find_map(|f| match f.shape {
        Shape::LateralEffusion { height } => Some(height),
        _ => None,
    });
    let mut layer = Layer::film(laterality);
    layer.for_each(|film, value| {
        let p = profiles.local(film);
        let skin =
            smooth_min(p.x - across(&profiles.front, p.y) + 0.075, across(&profiles.back, p.y) + 0.085 - p.x, 0.03);
        if skin < -0.004 {
            return;
        }
        let body = smoothstep(-0.004, 0.004, skin) * (0.45 + 0.55 * smoothstep(0.0, 0.10, skin));
        let below = smoothstep(0.0, 0.05, p.y - profiles.floor(p.x, 0.0));
        let shoulders = 0.10 * smoothstep(0.30, 0.12, p.y) * smoothstep(0.03, 0.12, p.y);
        let mut air = profiles.air(p) * (1.0 + 0.03 * patchy.at(film));
        if let Some(height) = fluid {
            air *= 1.0 - profiles.fluid(p, height);
        }
        *value = body * (0.70 + 0.10 * below + shoulders + 0.015 * coarse.at(film)) - AIR_CONTRAST * 1.04 * air;
    });
    let bones = bones(&profiles, laterality);
    layer.combine(&bones, |d, bone| *d = d.max(0.0) + bone * smoothstep(0.0, 0.15, *d));
    let trachea = [at(0.50, 0.0), at(0.515, 0.12), at(0.535, 0.25), at(0.55, 0.36)].map(|p| profiles.film(p));
    let mut airway = Layer::film(laterality);
    airway.stroke(&knots(&trachea, 0.019, 0.13), Profile::Soft);
    layer.combine(&airway, |d, gas| *d = (*d - gas).max(0.0));
    layer
}

fn bones(profiles: &Profiles, size: usize) -> Layer {
    let mut layer = Layer::film(size);
    for rib in 0..18u8 {
        // Two sides, seen a little apart.
        let (number, far) = (f32::from(rib / 2), f32::from(rib % 2));
        let y = 0.13 + 0.068 * number + 0.022 * far;
        let start = across(&profiles.spine, y);
        let reach = across(&profiles.back, y + 0.03) - 0.004;
        let front = across(&profiles.front, (y + 0.2).min(0.95));
        let points = [
            at(start, y),
            at(reach, y + 0.025),
            at(0.62, y + 0.10),
            at((front + 0.62) * 0.5, y + 0.18),
            at(front + 0.05, y + 0.21),
        ];
        let arc = curve(&points.map(|p| profiles.film(p)), 6);
        let knot = |(i, place): (usize, &Point)| {
            let fade = 1.0 - 0.8 * smoothstep(0.5, 1.0, i as f32 / (arc.len() - 1) as f32);
            Knot { place: *place, half_width: 0.0095, strength: 0.042 * fade }
        };
        let arc: Vec<Knot> = arc.iter().enumerate().map(knot).collect();
        layer.add(&crate::body::skeleton::bone_layer(&arc, size));
    }
    let sternum: Vec<Point> = (0..12)
        .map(|i| 0.2 + 0.03 * i as f32)
        .map(|y| profiles.film(at(across(&profiles.front, y) - 0.014, y)))
        .collect();
    layer.add(&crate::body::skeleton::bone_layer(&knots(&sternum, 0.011, 0.10), size));
    let spine = Layer::drawn(size, Rect { left: 0.45, top: 0.0, right: 1.0, bottom: 1.0 }, |film| {
        let p = profiles.local(film);
        let from_middle = (p.x - across(&profiles.spine, p.y)).abs();
        let number = 18.0 * p.y * (1.2 - 0.2 * p.y);
        let phase = number - number.floor();
        let body = smoothstep(0.03, 0.10, phase) * smoothstep(0.97, 0.90, phase);
        let plate = body * (1.0 - smoothstep(0.10, 0.20, phase) * smoothstep(0.90, 0.80, phase));
        let half = 0.036 - 0.005 * (1.0 - (2.0 * phase - 1.0) * (2.0 * phase - 1.0));
        // The lungs' air above the diaphragm makes the lower spine look darker.
        smoothstep(half + 0.004, half - 0.004, from_middle)
            * (0.06 + 0.07 * body + 0.05 * plate)
            * (1.0 - 0.35 * smoothstep(0.3, 0.7, p.y))
    });
    layer.add(&spine);
    for blade in [0.0, 0.035f32] {
        let edge = [at(0.70 + blade, 0.10), at(0.735 + blade, 0.22), at(0.75 + blade, 0.34)].map(|p| profiles.film(p));
        layer.add(&crate::body::skeleton::bone_layer(&knots(&curve(&edge, 6), 0.012, 0.05), size));
    }
    layer
}

/// The side nearest to the image receptor; the lead marker names it.
pub const NEAR_SIDE: Laterality = Laterality::Left;
