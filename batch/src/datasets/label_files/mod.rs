//! Label files as other tools write them: tables, JSON, ids, text encodings.

pub mod json_file;
pub mod label_csv;
pub mod record_id;
pub mod size_limits;
pub mod text_encoding;
