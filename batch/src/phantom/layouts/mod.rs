//! Writers of the real datasets' file layouts.

pub mod annotation_json;
pub mod identity;
pub mod iu_xray;
pub mod mimic;
pub mod output_folder;
pub mod table_file;
pub mod vindr;
