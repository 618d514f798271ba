//! Phantoms: drawn radiographs with known lesions and reports, in the layouts of the real datasets.

pub mod anatomy;
pub mod annotation_writer;
pub mod canvas;
pub mod film;
pub mod grammar;
pub mod identity;
pub mod iu_writer;
pub mod lesions;
pub mod mimic_writer;
pub mod output_folder;
pub mod readers;
pub mod study;
pub mod table_file;
pub mod truth;
pub mod vindr_writer;
