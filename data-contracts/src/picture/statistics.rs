//! Grey-level statistics that tell a radiograph from a picture that a model should not learn from. The limits were set on
//! real radiographs; `docs/audit.md` has the rates.

use super::hash::{coefficient, equalised};
use super::thumbnail::Thumbnail;
use crate::radiograph::Radiograph;
use crate::space::PixelRect;

/// Pixels that are counted; they are evenly spaced.
const SAMPLES: usize = 1 << 20;
/// Grey levels around the median that count as one level.
const ONE_LEVEL: u8 = 2;
/// Share of pixels of one level from which a picture is constant.
const CONSTANT_SHARE: f32 = 0.95;
/// Grey levels between the 1st and the 99th percentile below which the contrast is low.
const CONTRAST_MIN: u8 = 64;
/// Share of the area from which a border is wide.
const BORDER_SHARE_MAX: f32 = 0.25;
/// [`Statistics::frontal`] below which a picture is inverted.
const FRONTAL_MIN: f32 = -0.15;

/// Frequencies along y and x whose sign nearly all frontal chest radiographs share, and that sign: dark beside the body
/// and in both lungs, bright in the middle and below.
const FRONTAL_SHAPE: [(usize, usize, f32); 6] =
    [(0, 2, -1.0), (1, 0, -1.0), (3, 2, -1.0), (2, 2, -1.0), (1, 4, 1.0), (0, 6, -1.0)];

/// What a picture's grey levels look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// 1st and 99th percentile of the grey levels.
    pub low: u8,
    pub high: u8,
    /// Share of the pixels within two grey levels of the median.
    pub one_level_share: f32,
    /// Share of the area that is uniform border.
    pub border_share: f32,
    /// Agreement with the shape that frontal chest radiographs share, -1 to 1; an inverted one has a negative value.
    pub frontal: f32,
}

/// A picture that a model should not learn from as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusual {
    /// Nearly one grey level: black, white or grey.
    Constant,
    LowContrast,
    WideBorder,
    /// Bright air and dark bones.
    Inverted,
}

impl Statistics {
    /// `content`: the picture without its border; `thumbnail`: of the content.
    pub fn of(radiograph: &Radiograph, content: PixelRect, thumbnail: &Thumbnail) -> Self {
        let step = (radiograph.pixels.len() / SAMPLES).max(1);
        let mut counts = [0u64; 256];
        let mut total = 0;
        for level in radiograph.pixels.iter().step_by(step) {
            counts[usize::from(*level)] += 1;
            total += 1;
        }
        let rank = |share: f64| {
            let wanted = (share * (total - 1) as f64).round() as u64;
            let mut seen = 0;
            let reached = |count: &u64| {
                seen += count;
                seen > wanted
            };
            counts.iter().position(reached).unwrap_or(0) as u8
        };
        let median = rank(0.5);
        let near = median.saturating_sub(ONE_LEVEL)..=median.saturating_add(ONE_LEVEL);
        let one_level: u64 = near.map(|level| counts[usize::from(level)]).sum();
        let inside = content.size.pixels() as f32 / radiograph.size().pixels() as f32;
        Self {
            low: rank(0.01),
            high: rank(0.99),
            one_level_share: one_level as f32 / total as f32,
            border_share: 1.0 - inside,
            frontal: frontal(thumbnail),
        }
    }

    /// What is unusual about the picture. `lateral`: it is known to be a lateral projection, of which inversion is not
    /// judged.
    pub fn unusual(&self, lateral: bool) -> Vec<Unusual> {
        if self.one_level_share >= CONSTANT_SHARE {
            return vec![Unusual::Constant];
        }
        [
            (self.high - self.low < CONTRAST_MIN, Unusual::LowContrast),
            (self.border_share > BORDER_SHARE_MAX, Unusual::WideBorder),
            (!lateral && self.frontal < FRONTAL_MIN, Unusual::Inverted),
        ]
        .into_iter()
        .filter_map(|(is, what)| is.then_some(what))
        .collect()
    }
}

fn frontal(thumbnail: &Thumbnail) -> f32 {
    let pixels = equalised(&thumbnail.pixels);
    let mean = pixels.iter().sum::<f32>() / pixels.len() as f32;
    let power = pixels.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / pixels.len() as f32;
    if power <= 0.0 {
        return 0.0;
    }
    let sum: f32 = FRONTAL_SHAPE.iter().map(|(v, u, sign)| sign * coefficient(&pixels, *v, *u)).sum();
    sum / (power * FRONTAL_SHAPE.len() as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::border::content;
    use crate::picture::hash::HASHED_SIZE;

    fn statistics(width: u32, height: u32, level: impl Fn(f64, f64) -> f64) -> Statistics {
        let pixel = |i: u32| level(f64::from(i % width) / f64::from(width), f64::from(i / width) / f64::from(height));
        let pixels = (0..width * height).map(|i| pixel(i).clamp(0.0, 255.0) as u8).collect();
        let radiograph = Radiograph::new(width, height, pixels).unwrap();
        let inside = content(&radiograph);
        Statistics::of(&radiograph, inside, &Thumbnail::of(&radiograph, inside, HASHED_SIZE))
    }

    /// Two dark lungs beside a bright mediastinum, a bright abdomen below, air beside the body.
    fn chest(x: f64, y: f64) -> f64 {
        let lung = |centre: f64| (-((x - centre) / 0.12).powi(2) - ((y - 0.42) / 0.25).powi(2)).exp();
        let air = (-(x / 0.1).powi(2)).exp() + (-((1.0 - x) / 0.1).powi(2)).exp() + (-(y / 0.12).powi(2)).exp();
        180.0 + 40.0 * y - 120.0 * (lung(0.29) + lung(0.71)) - 150.0 * air
    }

    #[test]
    fn a_chest_is_usual_and_its_inversion_is_not() {
        let usual = statistics(300, 280, chest);
        assert!(usual.frontal > 0.3, "{usual:?}");
        assert_eq!(usual.unusual(false), []);
        let inverted = statistics(300, 280, |x, y| 255.0 - chest(x, y).clamp(0.0, 255.0));
        assert!((inverted.frontal + usual.frontal).abs() < 0.02, "{inverted:?}");
        assert_eq!(inverted.unusual(false), [Unusual::Inverted]);
        assert_eq!(inverted.unusual(true), []);
    }

    #[test]
    fn constant_pictures_are_nothing_else() {
        for level in [0.0, 128.0, 255.0] {
            assert_eq!(statistics(100, 100, |_, _| level).unusual(false), [Unusual::Constant], "{level}");
        }
        let marker = statistics(100, 100, |x, y| if x < 0.1 && y < 0.2 { 255.0 } else { 0.0 });
        assert_eq!(marker.unusual(false), [Unusual::Constant]);
    }

    #[test]
    fn low_contrast_and_wide_borders_are_found() {
        let pale = statistics(300, 280, |x, y| 100.0 + chest(x, y).clamp(0.0, 255.0) / 6.0);
        assert_eq!(pale.unusual(false), [Unusual::LowContrast]);
        let framed = statistics(300, 280, |x, y| {
            let (x, y) = ((x - 0.2) / 0.6, (y - 0.05) / 0.9);
            if (0.0..1.0).contains(&x) && (0.0..1.0).contains(&y) { chest(x, y) } else { 255.0 }
        });
        assert!((framed.border_share - 0.46).abs() < 0.05, "{framed:?}");
        assert_eq!(framed.unusual(false), [Unusual::WideBorder]);
    }

    #[test]
    fn one_pixel_is_constant() {
        assert_eq!(statistics(1, 1, |_, _| 7.0).unusual(false), [Unusual::Constant]);
    }
}
