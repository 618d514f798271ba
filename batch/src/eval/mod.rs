//! Figures: detection, text, labels, links; always with how they were computed.

pub mod average_precision;
pub mod bleu;
pub mod bootstrap;
pub mod cider;
pub mod constant_report;
pub mod detection_figures;
pub mod diversity;
pub mod figure;
pub mod gallery;
pub mod html_report;
pub mod image_boxes;
pub mod kaggle_ap;
pub mod label_f1;
pub mod links;
pub mod overlay;
pub mod plots;
pub mod report_figures;
pub mod rouge;
pub mod signature;
pub mod truth;

#[cfg(test)]
mod text_metrics_tests;
