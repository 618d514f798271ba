//! Drawing: canvas, noise, the exposed film.

pub mod canvas;
pub mod film;
pub mod noise;
