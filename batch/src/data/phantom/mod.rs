//! Phantoms: drawn radiographs with known lesions and reports, in the layouts of the real datasets.

pub mod anatomy;
pub mod annotation_writer;
pub mod canvas;
pub mod film;
pub mod grammar;
pub mod iu_writer;
pub mod lesions;
pub mod mimic_writer;
pub mod readers;
pub mod study;
pub mod truth;
pub mod vindr_writer;
