//! The lesions of the phantom: what they are called, where they lie, and what each adds to a film. A lesion acts on
//! three things: the air of the lung (fluid and tissue take it away), the vessels, and the density as such.

pub mod bone;
pub mod focal;
pub mod opacity;
pub mod placement;
pub mod pleura;
pub mod reticular;
pub mod shapes;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::lesion_class_id;
use d2r_contracts::space::Original;

use crate::body::chest::{AIR_CONTRAST, Chest, SOFT_EDGE};
use crate::drawing::canvas::{Layer, Point, Rect, Window, smoothstep};
use crate::study::Laterality;

/// A contribution to the density below this is not part of a lesion's box (density runs from 0 to about 1).
pub const VISIBLE: f32 = 0.04;

/// The kinds of lesions that are drawn; each is a class of VinDr-CXR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LesionKind {
    /// A prominent aortic knob.
    AorticEnlargement,
    /// Plates or a wedge of collapsed lung.
    Atelectasis,
    /// Specks as dense as bone.
    Calcification,
    /// A heart wider than half of the thorax.
    Cardiomegaly,
    /// A displaced collar bone.
    ClavicleFracture,
    /// A dense patch with air-filled bronchi.
    Consolidation,
    /// A fine net over a whole lung.
    Ild,
    /// A hazy patch.
    Infiltration,
    /// A ring around air.
    LungCavity,
    /// A round density.
    NoduleMass,
    /// Fluid at the base.
    PleuralEffusion,
    /// A rind along the chest wall.
    PleuralThickening,
    /// Air outside a thin pleural line.
    Pneumothorax,
    /// A coarse net at the base or apex.
    PulmonaryFibrosis,
    /// A step in a rib.
    RibFracture,
}

impl LesionKind {
    /// All kinds, in the order of their class ids.
    pub const ALL: [LesionKind; 15] = [
        Self::AorticEnlargement,
        Self::Atelectasis,
        Self::Calcification,
        Self::Cardiomegaly,
        Self::ClavicleFracture,
        Self::Consolidation,
        Self::Ild,
        Self::Infiltration,
        Self::LungCavity,
        Self::NoduleMass,
        Self::PleuralEffusion,
        Self::PleuralThickening,
        Self::Pneumothorax,
        Self::PulmonaryFibrosis,
        Self::RibFracture,
    ];

    /// The name in VinDr-CXR.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::AorticEnlargement => "Aortic enlargement",
            Self::Atelectasis => "Atelectasis",
            Self::Calcification => "Calcification",
            Self::Cardiomegaly => "Cardiomegaly",
            Self::ClavicleFracture => "Clavicle fracture",
            Self::Consolidation => "Consolidation",
            Self::Ild => "ILD",
            Self::Infiltration => "Infiltration",
            Self::LungCavity => "Lung cavity",
            Self::NoduleMass => "Nodule/Mass",
            Self::PleuralEffusion => "Pleural effusion",
            Self::PleuralThickening => "Pleural thickening",
            Self::Pneumothorax => "Pneumothorax",
            Self::PulmonaryFibrosis => "Pulmonary fibrosis",
            Self::RibFracture => "Rib fracture",
        }
    }

    /// The index of the class in [`d2r_contracts::labels::LESION_CLASSES`].
    pub fn class_id(self) -> i32 {
        lesion_class_id(self.class_name()).unwrap_or(-1)
    }
}

/// Where in the chest a lesion lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zone {
    /// Around the apex of a lung.
    Apical,
    /// Upper third of a lung.
    Upper,
    /// Middle third, away from the hilum.
    Mid,
    /// Around the hilum.
    Perihilar,
    /// Lower third.
    Lower,
    /// On the diaphragm or in the costophrenic angle.
    Basal,
    /// Behind the heart.
    Retrocardiac,
    /// Heart and aorta.
    Mediastinal,
    /// Most of a lung.
    Diffuse,
}

/// How much of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Small, mild.
    Small,
    /// In between.
    Moderate,
    /// Large, severe.
    Large,
}

impl Severity {
    /// Small below `moderate_from`, large from `large_from`.
    pub(super) fn graded(size: f32, moderate_from: f32, large_from: f32) -> Severity {
        match size {
            s if s < moderate_from => Self::Small,
            s if s < large_from => Self::Moderate,
            _ => Self::Large,
        }
    }
}

/// A lesion of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedLesion {
    pub lesion: LesionKind,
    /// Index in the 22 labels.
    pub class_id: i32,
    /// The tight box of what the lesion contributes to the film above [`VISIBLE`], in pixels of the film. For
    /// cardiomegaly the heart's box, for aortic enlargement the box of the knob.
    pub box_: BoxXyxy<Original>,
    /// The patient's side; the patient's right is on the left of a frontal film.
    pub laterality: Laterality,
    /// Where it lies.
    pub zone: Zone,
    /// How much of it there is.
    pub severity: Severity,
    /// Drawn so small that it nearly vanishes when a film of 512 pixels is shrunk to 128.
    pub small: bool,
    /// Parts that it consists of: plates of atelectasis, specks of calcification; else 1.
    pub multiplicity: u32,
    /// What is drawn.
    pub shape: Shape,
}

/// The drawn form of a lesion. Lengths are fractions of the image's size.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// The heart is as wide as this cardiothoracic ratio.
    Heart {
        /// Cardiothoracic ratio.
        ctr: f32,
    },
    /// The aortic knob reaches this far from the midline.
    Knob {
        /// Distance of its edge from the midline.
        reach: f32,
    },
    /// Fluid.
    Effusion(pleura::Effusion),
    /// Air.
    Pneumothorax(pleura::Pneumothorax),
    /// Thick pleura.
    Rind(pleura::Rind),
    /// Consolidation or infiltration.
    Patch(opacity::Patch),
    /// Collapsed plates.
    Plates(opacity::Plates),
    /// A collapsed lobe.
    Wedge(opacity::Wedge),
    /// Nodule or mass.
    Nodule(focal::Nodule),
    /// Calcification.
    Specks(focal::Specks),
    Cavity(focal::Cavity),
    /// Fibrosis or interstitial disease.
    Net(reticular::Net),
    /// A broken bone.
    Fracture(bone::Fracture),
    /// Fluid behind the diaphragm on a lateral film; drawn by [`crate::body::lateral`].
    LateralEffusion {
        /// How high the fluid stands above the angle.
        height: f32,
    },
}

/// What a lesion does to the film, over one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// Share of the air that is taken away; negative for more air.
    pub fill: Layer,
    /// Share of the vessels that is taken away.
    pub erase: Layer,
    /// Density that is added.
    pub add: Layer,
}

impl Contribution {
    /// Nothing.
    pub fn none(size: usize) -> Self {
        Self { fill: Layer::empty(size), erase: Layer::empty(size), add: Layer::empty(size) }
    }

    fn filling(fill: Layer) -> Self {
        let size = fill.size;
        Self { fill, ..Self::none(size) }
    }

    fn adding(add: Layer) -> Self {
        let size = add.size;
        Self { add, ..Self::none(size) }
    }

    /// The window in which the contribution can be seen on `chest`.
    fn extent(&self, chest: &Chest) -> Option<Window> {
        let windows = [self.fill.window, self.add.window].into_iter().filter(|w| w.width > 0 && w.height > 0);
        let both = windows.reduce(union)?;
        let mut visible = Layer::zeros(self.add.size, both);
        visible.add(&self.fill);
        visible.for_each(|p, v| {
            if *v != 0.0 {
                *v *= -AIR_CONTRAST * chest.air(p);
            }
        });
        visible.combine(&self.add, |seen, added| *seen = added - *seen);
        visible.extent(VISIBLE)
    }
}

fn union(a: Window, b: Window) -> Window {
    let (left, top) = (a.left.min(b.left), a.top.min(b.top));
    let (right, bottom) = ((a.left + a.width).max(b.left + b.width), (a.top + a.height).max(b.top + b.height));
    Window { left, top, width: right - left, height: bottom - top }
}

impl Shape {
    /// What the lesion does to a film of `size` x `size` pixels of `chest`; nothing for heart and knob, which are part of
    /// the chest itself.
    pub fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        match self {
            Self::Heart { .. } | Self::Knob { .. } | Self::LateralEffusion { .. } => Contribution::none(size),
            Self::Effusion(fluid) => fluid.contribution(chest, size),
            Self::Pneumothorax(air) => air.contribution(chest, size),
            Self::Rind(rind) => rind.contribution(chest, size),
            Self::Patch(patch) => patch.contribution(chest, size),
            Self::Plates(plates) => plates.contribution(chest, size),
            Self::Wedge(wedge) => wedge.contribution(chest, size),
            Self::Nodule(nodule) => nodule.contribution(chest, size),
            Self::Specks(specks) => specks.contribution(chest, size),
            Self::Cavity(cavity) => cavity.contribution(chest, size),
            Self::Net(net) => net.contribution(chest, size),
            Self::Fracture(fracture) => fracture.contribution(chest, size),
        }
    }

    /// The tight box of the lesion on a film of `chest` (which has this heart and knob); `None` when nothing of it
    /// can be seen.
    pub fn visible_box(&self, chest: &Chest, size: usize) -> Option<BoxXyxy<Original>> {
        let window = match self {
            Self::Heart { .. } => heart_silhouette(chest, size).extent(0.5),
            Self::Knob { .. } => {
                let (centre, radius) = chest.knob_circle();
                Layer::drawn(size, Rect::around(centre, radius * 1.1), |p| {
                    smoothstep(-SOFT_EDGE, SOFT_EDGE, chest.knob(p))
                })
                .extent(0.1)
            }
            _ => self.contribution(chest, size).extent(chest),
        }?;
        let (left, top) = (window.left as f32, window.top as f32);
        Some(BoxXyxy::new(left, top, left + window.width as f32, top + window.height as f32))
    }
}

/// The heart above the diaphragm.
fn heart_silhouette(chest: &Chest, size: usize) -> Layer {
    Layer::drawn(size, Rect { left: 0.0, top: 0.25, right: 1.0, bottom: 1.0 }, |p: Point| {
        let floor = chest.diaphragm(chest.side_of(p), chest.offset(p).abs());
        smoothstep(-SOFT_EDGE, SOFT_EDGE, chest.heart(p)) * smoothstep(floor + 0.034, floor + 0.026, p.y)
    })
}
