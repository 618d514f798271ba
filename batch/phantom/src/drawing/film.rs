//! From a plan to pixels: layers are summed to a density, then blurred, grained, exposed and marked.

use d2r_contracts::radiograph::Radiograph;

use crate::body::chest::{AIR_CONTRAST, Chest};
use crate::body::{lateral, skeleton, tissue, vessels};
use crate::drawing::canvas::{Layer, Profile, at, knots, smoothstep};
use crate::drawing::noise::{grain, scramble};
use crate::lesions::placement::with_lesions;
use crate::study::{Laterality, PhantomStudy, Projection};

/// The greatest sample of a film.
pub const SAMPLE_MAX: u16 = 4095;

/// A drawn film; bright is dense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Film {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Row-major, 12 bits (0 to [`SAMPLE_MAX`]), linear in the displayed grey level.
    pub samples: Vec<u16>,
}

impl Film {
    /// The film at 8 bits, as a decoder would give it.
    pub fn radiograph(&self) -> Radiograph {
        let max = u32::from(SAMPLE_MAX);
        let grey = |s: &u16| ((u32::from(*s) * 255 + max / 2) / max) as u8;
        Radiograph { width: self.width, height: self.height, pixels: self.samples.iter().map(grey).collect() }
    }
}

/// Draws the film of a study. The same study gives the same film.
pub fn render(study: &PhantomStudy) -> Film {
    let mut density = match study.view {
        Projection::Lateral => lateral::density(study),
        Projection::Pa | Projection::Ap => frontal(study),
    };
    blur(&mut density, study.exposure.blur);
    let marks = marker(study);
    let e = &study.exposure;
    let samples = density.values.iter().zip(&marks.values).enumerate().map(|(i, (&d, &mark))| {
        let exposed = 0.5 + (d - 0.5) * e.contrast + e.density * smoothstep(0.02, 0.2, d);
        // Dense parts let few quanta through: their noise is the strongest.
        let noise = e.noise * (0.35 + d.clamp(0.0, 1.0)) * grain(scramble(e.grain ^ i as u64));
        let grey = tone(exposed + noise);
        let marked = grey + (0.97 - grey) * mark;
        (marked.clamp(0.0, 1.0) * f32::from(SAMPLE_MAX)).round() as u16
    });
    Film { width: study.width, height: study.height, samples: samples.collect() }
}

/// The film's curve: density to grey level, flat at both ends.
fn tone(density: f32) -> f32 {
    let s = |v: f32| 1.0 / (1.0 + (-4.0 * (v - 0.48)).exp());
    let (dark, bright) = (0.127_8, 0.936_2); // s(0) and s(1.15)
    (s(density) - dark) / (bright - dark)
}

fn frontal(study: &PhantomStudy) -> Layer {
    let size = study.width as usize;
    let chest = Chest::new(with_lesions(&study.anatomy, &study.findings));
    let tissue::SoftTissue { mut density, mut air } = tissue::soft_tissue(&chest, size);
    let mut vessels = vessels::markings(&chest, size);
    let mut bones = skeleton::bones(&chest, size);
    for finding in &study.findings {
        let lesion = finding.shape.contribution(&chest, size);
        air.combine(&lesion.fill, |a, filled| *a *= 1.0 - filled);
        vessels.combine(&lesion.erase, |v, gone| *v *= 1.0 - gone);
        bones.add(&lesion.add);
    }
    let gas = tissue::gas(&chest, size);
    let layers = density.values.iter_mut().zip(&air.values).zip(&vessels.values).zip(&bones.values).zip(&gas.values);
    for ((((d, &air), &vessel), &bone), &gas) in layers {
        // Vessels are seen only against air.
        let seen = vessel * smoothstep(0.08, 0.5, air);
        *d += seen - AIR_CONTRAST * air - gas;
        // Bones end where the film is empty, and show less through the heart and the belly.
        *d = (*d).max(0.0) + bone * smoothstep(0.0, 0.1, *d) * (1.0 - 0.45 * smoothstep(0.66, 0.84, *d));
    }
    density
}

/// Spreads `share` of each pixel over its neighbours (3 x 3, binomial).
fn blur(layer: &mut Layer, share: f32) {
    let (width, height) = (layer.window.width, layer.window.height);
    if width < 3 || height < 3 {
        return;
    }
    let across =
        |row: &[f32], x: usize| 0.25 * row[x.saturating_sub(1)] + 0.5 * row[x] + 0.25 * row[(x + 1).min(width - 1)];
    let smooth: Vec<f32> =
        layer.values.chunks_exact(width).flat_map(|row| (0..width).map(move |x| across(row, x))).collect();
    let row = |y: usize| &smooth[y * width..(y + 1) * width];
    for (y, line) in layer.values.chunks_exact_mut(width).enumerate() {
        let (above, here, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1)));
        for (x, value) in line.iter_mut().enumerate() {
            let spread = 0.25 * above[x] + 0.5 * here[x] + 0.25 * below[x];
            *value += (spread - *value) * share;
        }
    }
}

/// The lead letter in an upper corner: `L` on the patient's left, `R` on the right.
fn marker(study: &PhantomStudy) -> Layer {
    let mut layer = Layer::film(study.width as usize);
    let jitter = (study.exposure.grain % 97) as f32 / 97.0 * 0.03;
    let x = if study.marker == Laterality::Right { 0.045 + jitter } else { 0.93 - jitter };
    let y = 0.04 + 0.5 * jitter;
    let stroke = |points: &[(f32, f32)]| {
        let places: Vec<_> = points.iter().map(|(dx, dy)| at(x + dx * 0.026, y + dy * 0.04)).collect();
        knots(&places, 0.0035, 1.0)
    };
    if study.marker == Laterality::Right {
        let bowl = [(0.0, 0.0), (0.7, 0.03), (1.0, 0.25), (0.7, 0.48), (0.0, 0.5), (0.0, 0.0)];
        layer.stroke(&stroke(&bowl), Profile::Flat);
        layer.stroke(&stroke(&[(0.0, 0.0), (0.0, 1.0)]), Profile::Flat);
        layer.stroke(&stroke(&[(0.45, 0.5), (1.0, 1.0)]), Profile::Flat);
    } else {
        layer.stroke(&stroke(&[(0.0, 0.0), (0.0, 1.0), (0.9, 1.0)]), Profile::Flat);
    }
    layer
}

#[cfg(test)]
mod tests;
