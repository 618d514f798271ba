//! Phantoms: drawn radiographs with known lesions and reports, in the layouts of the real datasets.

pub mod anatomy;
pub mod annotation_writer;
pub mod canvas;
pub mod chest;
pub mod film;
pub mod grammar;
pub mod iu_writer;
pub mod lateral;
pub mod lesions;
pub mod mimic_writer;
pub mod readers;
pub mod skeleton;
pub mod study;
pub mod tissue;
pub mod truth;
pub mod vessels;
pub mod vindr_writer;
