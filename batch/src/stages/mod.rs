//! The pipeline's stages: each reads tables and files, calls the models, writes tables, and returns what it did.
//! The command line parses, calls one stage and prints.

pub mod annotate;
pub mod audit;
pub mod context;
pub mod decoding;
pub mod distill;
pub mod doctor;
pub mod evaluate;
pub mod export_annotation;
pub mod export_coco;
pub mod export_preview;
pub mod import_reporter;
pub mod import_weights;
pub mod ingest;
pub mod inspect;
pub mod inspect_detect;
pub mod inspect_forward;
pub mod inspect_preview;
pub mod phantom;
pub mod pipeline;
pub mod report;
pub mod train_detector;
pub mod train_reporter;
pub mod validate;
pub mod work_key;
