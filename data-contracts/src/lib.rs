//! Code and contracts shared by the batch job and the browser: decoding, boxes, labels, report text and tables.
//!
//! The crate is pure: bytes and values in, values out. It opens no file, reads no clock, starts no thread
//! and builds for `wasm32-unknown-unknown`.
//!
//! - `decode` (feature): bytes of PNG, JPEG and DICOM files to [`radiograph::Radiograph`].
//! - `arrow` (feature): rows of the lake's tables as Arrow record batches, and the contracts they obey.

pub mod boxes;
pub mod foreign_code;
pub mod grounding;
pub mod label_map;
pub mod labels;
pub mod nms;
pub mod picture;
pub mod preprocess;
pub mod preview_bundle;
pub mod radiograph;
pub mod report_labeler;
pub mod report_text;
pub mod space;
pub mod vocabulary;

pub use labels::label_set;

#[cfg(feature = "decode")]
pub mod decode;

#[cfg(feature = "arrow")]
pub mod contract;
#[cfg(feature = "arrow")]
pub mod rows;
#[cfg(feature = "arrow")]
pub mod tables;
