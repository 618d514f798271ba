//! The lateral film: spine behind, heart in front, domes below.

use super::canvas::Layer;
use super::lesions::PlacedLesion;
use super::study::PhantomStudy;

/// The lesions of a frontal study that are drawn on its lateral film.
pub fn findings(_frontal: &PhantomStudy) -> Vec<PlacedLesion> {
    Vec::new()
}

/// The density of a lateral film.
pub fn density(_study: &PhantomStudy) -> Layer {
    Layer::film(_study.width as usize)
}
