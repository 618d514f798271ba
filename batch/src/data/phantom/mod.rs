//! Phantoms: drawn radiographs with known lesions and reports, in the layouts of the real datasets.

pub mod anatomy;
pub mod annotation_writer;
pub mod canvas;
pub mod catalogue;
pub mod chest;
pub mod film;
pub mod grammar;
pub mod identity;
pub mod iu_writer;
pub mod lateral;
pub mod lesions;
pub mod mimic_writer;
pub mod noise;
pub mod output_folder;
pub mod planned_film;
pub mod readers;
pub mod skeleton;
pub mod study;
pub mod table_file;
pub mod tissue;
pub mod truth;
pub mod vessels;
pub mod vindr_writer;
