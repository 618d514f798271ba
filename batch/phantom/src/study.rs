//! The plan of one drawn study: patient, view, exposure and lesions with exact boxes; no pixels. The plan is cheap
//! and depends on (seed, purpose, index) only; [`crate::drawing::film::render`] draws it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::body::anatomy::{Anatomy, Exposure};
use crate::body::lateral;
use crate::lesions::{PlacedLesion, placement};

/// Left, right or midline of the patient. On frontal films the patient's right is on the image's left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Laterality {
    /// The patient's left.
    Left,
    /// The patient's right.
    Right,
    /// Neither: heart, aorta.
    Midline,
}

impl Laterality {
    /// The direction of the side on a frontal film: -1 for the patient's right, else 1.
    pub fn sign(self) -> f32 {
        if self == Self::Right { -1.0 } else { 1.0 }
    }

    /// The opposite side; the midline is its own opposite.
    pub fn opposite(self) -> Laterality {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
            Self::Midline => Self::Midline,
        }
    }
}

/// Recorded sex of the patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sex {
    /// F.
    Female,
    /// M.
    Male,
}

/// The projection of a film.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// From behind, standing.
    Pa,
    /// From the front, often portable.
    Ap,
    /// From the side.
    Lateral,
}

impl Projection {
    /// `PA`, `AP` or `LATERAL`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pa => "PA",
            Self::Ap => "AP",
            Self::Lateral => "LATERAL",
        }
    }
}

/// What may be chosen about a study.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanOptions {
    /// Side of the square film, pixels; at least 32.
    pub size: u32,
    /// Share of studies without lesions.
    pub normal_share: f64,
    /// Plan the lateral film of the study instead of the frontal one: same patient, same visit; of the lesions only
    /// pleural effusions are drawn.
    pub lateral: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { size: 512, normal_share: 0.3, lateral: false }
    }
}

/// The plan of one film of one study.
#[derive(Debug, Clone, PartialEq)]
pub struct PhantomStudy {
    /// Number of the study within its purpose.
    pub index: u64,
    /// Number of the patient within the purpose; neighbouring studies may share one.
    pub subject: u64,
    /// Number of the study among the patient's, from 0.
    pub visit: u32,
    /// Age of the patient in whole decades, 20 to 80.
    pub age_decade: u32,
    /// Sex of the patient.
    pub sex: Sex,
    /// The projection.
    pub view: Projection,
    /// Columns of the film.
    pub width: u32,
    /// Rows of the film.
    pub height: u32,
    /// The body without lesions; an enlarged heart or aortic knob is in `findings`.
    pub anatomy: Anatomy,
    pub exposure: Exposure,
    /// The side that the lead marker names.
    pub marker: Laterality,
    /// What is drawn beside the normal; empty for a normal study.
    pub findings: Vec<PlacedLesion>,
}

impl PhantomStudy {
    /// Plans study `index` of `purpose` (for instance `vindr/train`). The same arguments give the same plan.
    pub fn draw_plan(seed: u64, purpose: &str, index: u64, options: &PlanOptions) -> PhantomStudy {
        let (subject, visit) = subject_of(seed, purpose, index);
        let size = options.size.max(32);
        let mut patient = stream(seed, purpose, "patient", subject);
        let age_decade = 10 * [2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8][patient.random_range(0..11usize)];
        let sex = if patient.random_bool(0.5) { Sex::Female } else { Sex::Male };
        let mut rng = stream(seed, purpose, "visit", index);
        let view = if rng.random_bool(0.25) { Projection::Ap } else { Projection::Pa };
        let anatomy = Anatomy::draw(&mut patient, &mut rng, sex, view);
        let exposure = Exposure::draw(&mut rng, view);
        let marker = if rng.random_bool(0.6) { Laterality::Left } else { Laterality::Right };
        let normal = rng.random_bool(options.normal_share.clamp(0.0, 1.0));
        let findings = if normal { Vec::new() } else { placement::place(&anatomy, size as usize, &mut rng) };
        let frontal = PhantomStudy {
            index,
            subject,
            visit,
            age_decade,
            sex,
            view,
            width: size,
            height: size,
            anatomy,
            exposure,
            marker,
            findings,
        };
        if options.lateral { frontal.lateral() } else { frontal }
    }

    /// The lateral film of a frontal study: the same patient on the same day, with the effusions only.
    pub fn lateral(&self) -> PhantomStudy {
        let mut study = self.clone();
        study.view = Projection::Lateral;
        study.marker = lateral::NEAR_SIDE;
        study.exposure.grain ^= 0x5EED;
        study.findings = lateral::findings(self);
        study
    }

    /// The study with finding `index` left out; everything else is drawn as before.
    pub fn without(&self, index: usize) -> PhantomStudy {
        let mut study = self.clone();
        if index < study.findings.len() {
            study.findings.remove(index);
        }
        study
    }

    /// True when nothing abnormal is drawn.
    pub fn is_normal(&self) -> bool {
        self.findings.is_empty()
    }
}

/// A random stream of its own for each (seed, purpose, role, index).
fn stream(seed: u64, purpose: &str, role: &str, index: u64) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    for part in [purpose.as_bytes(), role.as_bytes(), &seed.to_le_bytes(), &index.to_le_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// Studies of each patient in a block of ten studies.
const VISITS: [u32; 7] = [1, 1, 2, 1, 1, 3, 1];

/// The patient of a study, and the number of the study among the patient's. Each ten studies have seven patients,
/// in an order of their own.
fn subject_of(seed: u64, purpose: &str, index: u64) -> (u64, u32) {
    let block = index / 10;
    let mut visits = VISITS;
    let mut rng = stream(seed, purpose, "subjects", block);
    for last in (1..visits.len()).rev() {
        visits.swap(last, rng.random_range(0..=last));
    }
    let mut left = (index % 10) as u32;
    for (patient, &count) in visits.iter().enumerate() {
        if left < count {
            return (block * 7 + patient as u64, left);
        }
        left -= count;
    }
    (block * 7, left)
}
