//! Readers of the world: dataset layouts, fused readers, phantoms; and the border where plain data becomes tensors.

pub mod annotation_export;
pub mod annotation_json;
pub mod augment;
pub mod coco;
pub mod coco_dataset;
pub mod collate;
pub mod collate_report;
pub mod collate_text;
pub mod fusion;
pub mod iu_xray;
pub mod label_csv;
pub mod lesion_rows;
pub mod listing;
pub mod loader;
pub mod mimic;
pub mod phantom;
pub mod prior_filter;
pub mod report_augment;
pub mod report_batch;
pub mod report_sections;
pub mod semi_batch;
pub mod side_words;
pub mod source;
pub mod strong_augment;
pub mod text_tokens;
pub mod vindr;
