//! Figures of detection: average precision in the COCO and Kaggle definitions, FROC.

pub mod average_precision;
pub mod detection_figures;
pub mod image_boxes;
pub mod kaggle_ap;
