//! Phantoms: drawn chest radiographs with known lesions and reports, written in the file layouts of the real datasets.
//!
//! [`catalogue::Catalogue::plan`] decides what is drawn from settings and a seed, [`layouts::write`] draws and writes it,
//! [`truth`] gives the rows of what was drawn. The same settings and seed give the same bytes. The crate needs neither
//! libtorch nor the lake.

pub mod annotators;
pub mod body;
pub mod catalogue;
pub mod config;
pub mod drawing;
pub mod error;
pub mod grammar;
pub mod layouts;
pub mod lesions;
pub mod observer;
pub mod planned_film;
pub mod rates;
pub mod study;
pub mod truth;

pub use planned_film::PlannedFilm as PlannedImage;

pub use config::{PhantomConfig, Reporting};
pub use error::{Error, Result};
pub use observer::Observer;
