//! Phantoms: drawn radiographs with known lesions and reports, in the layouts of the real datasets.

pub mod annotators;
pub mod body;
pub mod catalogue;
pub mod drawing;
pub mod grammar;
pub mod layouts;
pub mod lesions;
pub mod planned_film;
pub mod study;
pub mod truth;
