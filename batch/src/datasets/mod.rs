//! Dataset parsers, fusion of radiologists' annotations, exporters of annotation files.

pub mod annotation_export;
pub mod coco_document;
pub mod coco_export;
mod decode_budget;
pub mod file_name;
pub mod frames;
pub mod fusion;
pub mod image_index;
pub mod label_files;
pub mod label_sets;
pub mod layouts;
pub mod lesion_rows;
pub mod listing;
pub mod prepared;
pub mod prior_filter;
pub mod projection;
pub mod report_sections;
pub mod source;
