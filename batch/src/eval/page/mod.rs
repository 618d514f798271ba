//! The HTML evaluation page: curves, tables, gallery of radiographs with boxes.

pub mod gallery;
pub mod html_report;
pub mod overlay;
pub mod plots;
