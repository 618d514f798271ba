//! The pipeline's stages: each reads tables and files, calls the models, writes tables, and returns what it did.
//! The command line parses, calls one stage and prints.

pub mod annotate;
pub mod audit;
pub mod decoding;
pub mod doctor;
pub mod evaluate;
pub mod exchange;
pub mod ingest;
pub mod inspect;
pub mod lake_care;
pub mod phantom;
pub mod pipeline;
pub mod prepare;
pub mod preview_bundle;
pub mod report;
pub mod stage_times;
pub mod submit;
pub mod train;
pub mod validate;
pub mod work_key;
