//! Exchange with other projects: weights in, annotation files and the preview bundle out.

pub mod export_annotation;
pub mod export_coco;
pub mod export_model;
pub mod export_preview;
pub mod import_detector;
pub mod import_reporter;
