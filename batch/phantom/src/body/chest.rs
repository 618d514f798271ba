//! The geometry of a frontal chest: where lungs, heart, great vessels, diaphragm, ribs and clavicles lie. Distances
//! are signed, positive inside, in fractions of the image's size. The image's left is the patient's right.

use crate::body::anatomy::Anatomy;
use crate::drawing::canvas::{Point, at, curve, length, smooth_min, smoothstep};
use crate::study::Laterality;

/// What air takes away from the density of the chest.
pub const AIR_CONTRAST: f32 = 0.50;
/// Pairs of ribs that are drawn.
pub const RIBS: usize = 9;
/// Half the width over which heart and great vessels blend into the lung: they move during the exposure.
pub const SOFT_EDGE: f32 = 0.0075;
/// Distance of the lungs' apices from the midline.
const APEX_OFFSET: f32 = 0.115;
/// Distance of the domes' tops from the midline.
const DOME_OFFSET: f32 = 0.165;

/// The geometry of one frontal chest.
#[derive(Debug, Clone)]
pub struct Chest {
    /// The numbers behind it; heart and knob as they are drawn.
    pub anatomy: Anatomy,
    rows: Vec<Row>,
    heart: [Ellipse; 3],
    /// Offsets beyond which the heart is too far away to matter.
    near_heart: std::ops::Range<f32>,
}

/// What is known of one height.
#[derive(Debug, Clone, Copy)]
struct Row {
    lateral: f32,
    lateral_norm: f32,
    medial: f32,
    medial_norm: f32,
    skin: f32,
    skin_norm: f32,
}

/// Where a point lies in a lung.
#[derive(Debug, Clone, Copy)]
pub struct InLung {
    /// Distance from the lung's nearest edge (mediastinal bulges not counted).
    pub edge: f32,
    /// Distance from the lateral chest wall.
    pub wall: f32,
    /// Distance from the diaphragm.
    pub dome: f32,
}

/// An ellipse in (offset from the midline, height).
#[derive(Debug, Clone, Copy)]
struct Ellipse {
    centre: Point,
    radius: Point,
    cos: f32,
    sin: f32,
}

impl Ellipse {
    fn new(centre: Point, radius: Point, tilt: f32) -> Self {
        Self { centre, radius, cos: tilt.cos(), sin: tilt.sin() }
    }

    fn distance(&self, offset: f32, y: f32) -> f32 {
        let (dx, dy) = (offset - self.centre.x, y - self.centre.y);
        let (u, v) = ((dx * self.cos + dy * self.sin) / self.radius.x, (dy * self.cos - dx * self.sin) / self.radius.y);
        let k = length(u, v).max(1e-4);
        let slope = length(u / self.radius.x, v / self.radius.y) / k;
        (1.0 - k) / slope.max(1e-4)
    }
}

/// Rows of the tables; finer than most films, so that interpolation is not needed.
const ROWS: usize = 1024;

impl Chest {
    /// The chest of `anatomy`.
    pub fn new(anatomy: Anatomy) -> Chest {
        let outline = curve(&OUTLINE.map(|(y, x)| at(x, y)), 12);
        let profile = |y: f32| -> (f32, f32, f32) {
            let a = &anatomy;
            let bottom = a.dome_left_y.max(a.dome_right_y) + a.angle_depth;
            let t = ((y - a.apex_y) / (bottom - a.apex_y)).clamp(0.0, 1.0);
            let open = (1.0 - (1.0 - t).powf(2.1)).powf(0.6);
            let lateral = APEX_OFFSET + (a.thorax_half_width - APEX_OFFSET) * open - 0.012 * smoothstep(0.85, 1.0, t);
            let inner = (1.0 - (1.0 - (t / 0.25).min(1.0)).powi(2)).powf(0.6);
            let medial = APEX_OFFSET - (APEX_OFFSET - 0.025) * inner;
            (lateral, medial, skin(&outline, y) * (0.985 + 0.05 * a.habitus))
        };
        let step = 1.0 / ROWS as f32;
        let norm = |before: f32, after: f32| 1.0 / (1.0 + ((after - before) / (2.0 * step)).powi(2)).sqrt();
        let rows = (0..ROWS).map(|row| {
            let y = (row as f32 + 0.5) * step;
            let (before, here, after) = (profile(y - step), profile(y), profile(y + step));
            Row {
                lateral: here.0,
                lateral_norm: norm(before.0, after.0),
                medial: here.1,
                medial_norm: norm(before.1, after.1),
                skin: here.2,
                skin_norm: norm(before.2, after.2),
            }
        });
        let rows = rows.collect();
        let heart = heart(&anatomy);
        let width = anatomy.heart_ctr * 2.0 * anatomy.thorax_half_width;
        let near_heart = anatomy.heart_shift - 0.30 * width - 0.06..anatomy.heart_shift + 0.70 * width + 0.06;
        Chest { anatomy, rows, heart, near_heart }
    }

    fn row(&self, y: f32) -> &Row {
        &self.rows[((y * ROWS as f32) as usize).min(ROWS - 1)]
    }

    /// Offset of a point from the midline; positive on the patient's left.
    pub fn offset(&self, p: Point) -> f32 {
        p.x - self.anatomy.centre_x - self.anatomy.tilt * (p.y - 0.5)
    }

    /// The point `offset` away from the midline, on the side of the body given by `laterality`, at height `y`.
    pub fn place(&self, laterality: Laterality, offset: f32, y: f32) -> Point {
        at(self.anatomy.centre_x + self.anatomy.tilt * (y - 0.5) + laterality.sign() * offset, y)
    }

    /// Laterality of a point.
    pub fn side_of(&self, p: Point) -> Laterality {
        if self.offset(p) < 0.0 { Laterality::Right } else { Laterality::Left }
    }

    /// Offset of the lateral edge of the lungs at height `y`.
    pub fn lateral(&self, y: f32) -> f32 {
        self.row(y).lateral
    }

    /// Distance below the skin.
    pub fn skin(&self, p: Point) -> f32 {
        let row = self.row(p.y);
        (row.skin - self.offset(p).abs()) * row.skin_norm
    }

    /// Height of a dome's top.
    pub fn dome_y(&self, laterality: Laterality) -> f32 {
        if laterality == Laterality::Right { self.anatomy.dome_right_y } else { self.anatomy.dome_left_y }
    }

    /// Height of the costophrenic angle.
    pub fn angle_y(&self, laterality: Laterality) -> f32 {
        self.dome_y(laterality) + self.anatomy.angle_depth
    }

    /// Height of the diaphragm at an offset from the midline.
    pub fn diaphragm(&self, laterality: Laterality, offset: f32) -> f32 {
        self.diaphragm_slope(laterality, offset).0
    }

    fn diaphragm_slope(&self, laterality: Laterality, offset: f32) -> (f32, f32) {
        let (top, depth) = (self.dome_y(laterality), self.anatomy.angle_depth);
        if offset > DOME_OFFSET {
            let width = self.anatomy.thorax_half_width - DOME_OFFSET;
            let u = (offset - DOME_OFFSET) / width;
            let u2 = u * u;
            (top + depth * u2 * (0.55 + 0.45 * u), depth * u * (1.1 + 1.35 * u) / width)
        } else {
            let v = (DOME_OFFSET - offset) / DOME_OFFSET;
            (top + 0.03 * v * v, -0.06 * v / DOME_OFFSET)
        }
    }

    /// Where a point lies in the lung of its side.
    pub fn lung(&self, p: Point) -> InLung {
        let (row, laterality) = (self.row(p.y), self.side_of(p));
        let offset = self.offset(p).abs();
        let wall = (row.lateral - offset) * row.lateral_norm;
        let medial = (offset - row.medial) * row.medial_norm;
        let (floor, slope) = self.diaphragm_slope(laterality, offset);
        let dome = (floor - p.y) / (1.0 + slope * slope).sqrt();
        let above = p.y - self.anatomy.apex_y;
        InLung { edge: smooth_min(smooth_min(wall, medial, 0.012), dome, 0.008).min(above), wall, dome }
    }

    /// Distance inside the heart.
    pub fn heart(&self, p: Point) -> f32 {
        let offset = self.offset(p) - self.anatomy.heart_shift;
        let [ventricle, atrium, waist] = self.heart.map(|e| -e.distance(offset, p.y));
        -smooth_min(smooth_min(ventricle, atrium, 0.02), waist, 0.03)
    }

    /// Distance inside the aortic knob.
    pub fn knob(&self, p: Point) -> f32 {
        let (centre, radius) = self.knob_circle();
        radius - p.distance(centre)
    }

    /// Centre and radius of the aortic knob.
    pub fn knob_circle(&self) -> (Point, f32) {
        let radius = self.anatomy.knob_reach * 0.56;
        (self.place(Laterality::Left, self.anatomy.knob_reach - radius, self.anatomy.knob_y), radius)
    }

    /// Distance inside the mediastinum: heart, knob and the great vessels.
    pub fn mediastinum(&self, p: Point) -> f32 {
        let offset = self.offset(p);
        let half = 0.036 + 0.016 * smoothstep(0.18, 0.42, p.y) + if offset < 0.0 { 0.004 } else { 0.0 };
        let band = half - offset.abs();
        let great = -smooth_min(-band, -self.knob(p), 0.012);
        // The heart ends at the waist; far above it its distance does not matter.
        let far = p.y < 0.30 || p.y > self.anatomy.dome_left_y + 0.10 || !self.near_heart.contains(&offset);
        if far { great } else { -smooth_min(-great, -self.heart(p), 0.018) }
    }

    /// Air along the ray through `p`: 0 outside the lungs, about 1 in their middle.
    pub fn air(&self, p: Point) -> f32 {
        let air = self.air_without_heart(p);
        if air > 0.0 { air * Self::beside(self.mediastinum(p)) } else { 0.0 }
    }

    /// The share of air that is left at a distance inside the mediastinum.
    pub fn beside(mediastinum: f32) -> f32 {
        1.0 - smoothstep(-SOFT_EDGE, SOFT_EDGE, mediastinum)
    }

    /// [`Self::air`] if heart and great vessels were not there.
    pub fn air_without_heart(&self, p: Point) -> f32 {
        if p.y < self.anatomy.apex_y - 0.01 || self.offset(p).abs() > self.row(p.y).lateral + 0.01 {
            return 0.0;
        }
        let lung = self.lung(p);
        if lung.edge < -0.05 {
            return 0.0;
        }
        let inside = smoothstep(-0.004, 0.004, lung.edge);
        // The lung reaches down behind the dome.
        let behind = smoothstep(-0.05, 0.0, lung.dome) * smoothstep(0.02, 0.01, lung.dome) * (1.0 - inside);
        let behind = 0.16 * smoothstep(0.0, 0.01, lung.wall) * behind;
        let depth = 0.50 + 0.50 * (1.0 - (1.0 - (lung.wall / 0.12).clamp(0.0, 1.0)).powi(2));
        let top = 0.72 + 0.28 * smoothstep(0.0, 0.14, p.y - self.anatomy.apex_y);
        (inside * depth * top + behind) * self.anatomy.aeration
    }

    /// Where the vessels of a lung begin.
    pub fn hilum(&self, laterality: Laterality) -> Point {
        match laterality {
            Laterality::Right => self.place(laterality, 0.062, 0.445),
            _ => self.place(Laterality::Left, 0.066, 0.425),
        }
    }

    /// The posterior arc of a rib, from the spine to the side.
    pub fn posterior_rib(&self, laterality: Laterality, index: usize) -> Vec<Point> {
        let (start, drop, edge) = self.rib_frame(index);
        let points = [
            (0.04, -0.002),
            (0.38 * edge, -0.16 * drop),
            (0.74 * edge, 0.22 * drop),
            (0.93 * edge, 0.62 * drop),
            (edge, drop),
        ];
        curve(&points.map(|(offset, down)| self.place(laterality, offset, start + down)), 7)
    }

    /// The anterior arc of a rib, from the side towards the breastbone.
    pub fn anterior_rib(&self, laterality: Laterality, index: usize) -> Vec<Point> {
        let (start, drop, edge) = self.rib_frame(index);
        let side_y = start + drop;
        let points =
            [(edge, 0.0), (0.965 * edge, 0.03), (0.84 * edge, 0.065), (0.60 * edge, 0.10), (0.40 * edge, 0.115)];
        curve(&points.map(|(offset, down)| self.place(laterality, offset, side_y + down * self.anatomy.rib_slope)), 7)
    }

    /// Height at the spine, drop to the side and offset at the side of a rib.
    fn rib_frame(&self, index: usize) -> (f32, f32, f32) {
        let a = &self.anatomy;
        let start = a.apex_y + 0.012 + index as f32 * a.rib_spacing;
        let drop = a.rib_slope * (0.035 + 0.055 * smoothstep(0.0, 4.0, index as f32));
        (start, drop, self.lateral(start + drop) - 0.003)
    }

    /// A clavicle, from the breastbone to the shoulder.
    pub fn clavicle(&self, laterality: Laterality) -> Vec<Point> {
        let (top, slope) = (self.anatomy.apex_y + 0.03, self.anatomy.clavicle_slope);
        let points = [(0.028, 0.060), (0.095, 0.050), (0.175, 0.022), (0.25, 0.004), (0.34, 0.002)];
        curve(&points.map(|(offset, down)| self.place(laterality, offset, top + down * slope)), 8)
    }
}

/// Ventricles, right atrium and waist of a heart with the width of its cardiothoracic ratio.
fn heart(a: &Anatomy) -> [Ellipse; 3] {
    let width = a.heart_ctr * 2.0 * a.thorax_half_width;
    // Tilted by this angle, the ellipse is exactly `width` wide (0.545 cos, 0.36 sin: half width 0.5).
    let (tilt, low) = (0.56, a.dome_left_y + 0.045);
    let centre = low - 0.42 * width;
    [
        Ellipse::new(at(0.20 * width, centre), at(0.545 * width, 0.36 * width), tilt),
        Ellipse::new(at(-0.12 * width, centre + 0.03), at(0.18 * width, 0.10 + 0.06 * width), 0.0),
        Ellipse::new(at(0.03, centre - 0.34 * width), at(0.055 + 0.02 * width, 0.075), 0.35),
    ]
}

/// Height and offset of the skin of a body of middling width.
const OUTLINE: [(f32, f32); 12] = [
    (-0.05, 0.115),
    (0.0, 0.12),
    (0.03, 0.145),
    (0.06, 0.21),
    (0.09, 0.31),
    (0.125, 0.41),
    (0.17, 0.49),
    (0.25, 0.545),
    (0.38, 0.53),
    (0.55, 0.475),
    (0.78, 0.462),
    (1.05, 0.48),
];

/// Offset of the skin at height `y`.
fn skin(outline: &[Point], y: f32) -> f32 {
    let after = outline.partition_point(|p| p.y <= y).clamp(1, outline.len() - 1);
    let (a, b) = (outline[after - 1], outline[after]);
    a.x + (b.x - a.x) * ((y - a.y) / (b.y - a.y)).clamp(0.0, 1.0)
}
