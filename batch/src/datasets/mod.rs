//! Dataset parsers, fusion of radiologists' annotations, exporters of annotation files.

pub mod annotation_export;
pub mod annotation_json;
pub mod coco_dataset;
pub mod coco_document;
pub mod coco_export;
pub mod fusion;
pub mod iu_xray;
pub mod label_csv;
pub mod lesion_rows;
pub mod listing;
pub mod mimic;
pub mod prior_filter;
pub mod projection;
pub mod report_sections;
pub mod source;
pub mod vindr;
