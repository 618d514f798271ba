//! The patient and the exposure as numbers. What belongs to the patient is drawn once per subject, what belongs to
//! the visit once per study. Lengths and positions are fractions of the image's size.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::study::{Projection, Sex};

/// Cardiothoracic ratios of hearts that are not enlarged.
pub const NORMAL_CTR: std::ops::Range<f32> = 0.39..0.465;

/// The body.
#[derive(Debug, Clone, PartialEq)]
pub struct Anatomy {
    /// Column of the spine at the top of the film.
    pub centre_x: f32,
    /// How far the spine leans, per film height.
    pub tilt: f32,
    /// Height of the lungs' apices.
    pub apex_y: f32,
    /// Half the greatest inner width of the thorax.
    pub thorax_half_width: f32,
    /// Height of the right dome of the diaphragm.
    pub dome_right_y: f32,
    /// Height of the left dome.
    pub dome_left_y: f32,
    /// How far the costophrenic angles lie below the domes.
    pub angle_depth: f32,
    /// Cardiothoracic ratio.
    pub heart_ctr: f32,
    /// How far the heart is shifted to the patient's left by rotation.
    pub heart_shift: f32,
    /// Distance of the aortic knob's edge from the midline.
    pub knob_reach: f32,
    /// Height of the knob's centre.
    pub knob_y: f32,
    /// Slope of the ribs, around 1.
    pub rib_slope: f32,
    /// Distance between ribs.
    pub rib_spacing: f32,
    /// Slope of the clavicles, around 1.
    pub clavicle_slope: f32,
    /// Distance of the shoulder blades from the midline.
    pub scapula_x: f32,
    /// Thickness of the chest wall, 0 to 1.
    pub habitus: f32,
    /// Density of the breasts' shadows, 0 for none.
    pub breast: f32,
    /// Air in the lungs, around 1.
    pub aeration: f32,
    /// Strength of the vessels, around 1.
    pub vascularity: f32,
    /// Size of the gas in the stomach, 0 for none.
    pub gas: f32,
    /// Seed of vessels and textures.
    pub texture: u64,
}

/// The exposure and the detector.
#[derive(Debug, Clone, PartialEq)]
pub struct Exposure {
    /// Contrast, around 1.
    pub contrast: f32,
    /// Brightness added to the densities.
    pub density: f32,
    /// Standard deviation of the noise at full density.
    pub noise: f32,
    /// Share of each pixel spread over its neighbours.
    pub blur: f32,
    /// Seed of the noise.
    pub grain: u64,
}

impl Anatomy {
    /// Draws a body: `subject` decides about the patient, `visit` about the positioning.
    pub fn draw(subject: &mut ChaCha8Rng, visit: &mut ChaCha8Rng, sex: Sex, view: Projection) -> Anatomy {
        let female = sex == Sex::Female;
        let habitus = subject.random_range(0.0..1.0f32);
        let mut anatomy = Anatomy {
            centre_x: 0.5 + visit.random_range(-0.012..0.012),
            tilt: visit.random_range(-0.015..0.015),
            apex_y: subject.random_range(0.085..0.115),
            thorax_half_width: subject.random_range(0.368..0.395) - if female { 0.008 } else { 0.0 },
            dome_right_y: visit.random_range(0.70..0.74),
            dome_left_y: 0.0,
            angle_depth: subject.random_range(0.085..0.115),
            heart_ctr: subject.random_range(NORMAL_CTR),
            heart_shift: visit.random_range(-0.008..0.008),
            knob_reach: subject.random_range(0.058..0.070),
            knob_y: subject.random_range(0.275..0.295),
            rib_slope: subject.random_range(0.85..1.2),
            rib_spacing: subject.random_range(0.066..0.072),
            clavicle_slope: visit.random_range(0.7..1.2),
            scapula_x: visit.random_range(0.405..0.43),
            habitus,
            breast: if female { subject.random_range(0.4..1.0) } else { 0.0 },
            aeration: visit.random_range(0.95..1.05),
            vascularity: subject.random_range(0.85..1.1),
            gas: if visit.random_bool(0.8) { visit.random_range(0.4..1.0) } else { 0.0 },
            texture: subject.random_range(0..u64::MAX),
        };
        anatomy.dome_left_y = anatomy.dome_right_y + visit.random_range(0.015..0.032);
        if view == Projection::Ap {
            // Taken from the front, often in bed: the heart is magnified, the breath shallow.
            anatomy.heart_ctr += 0.02;
            anatomy.dome_right_y -= 0.035;
            anatomy.dome_left_y -= 0.035;
            anatomy.scapula_x -= 0.045;
            anatomy.clavicle_slope *= 0.5;
            anatomy.gas *= 0.4;
        }
        anatomy
    }
}

impl Exposure {
    /// Draws an exposure.
    pub fn draw(visit: &mut ChaCha8Rng, view: Projection) -> Exposure {
        let portable = if view == Projection::Ap { 1.3 } else { 1.0 };
        Exposure {
            contrast: visit.random_range(0.9..1.1),
            density: visit.random_range(-0.04..0.04),
            noise: visit.random_range(0.008..0.016) * portable,
            blur: visit.random_range(0.1..0.5),
            grain: visit.random_range(0..u64::MAX),
        }
    }
}
