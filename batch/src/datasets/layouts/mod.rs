//! Parsers of dataset layouts: each returns a [`Listing`](crate::datasets::listing::Listing).

pub mod annotation_json;
pub mod chestx_det;
pub mod coco;
pub mod iu_xray;
pub mod mimic;
pub mod nih;
pub mod openi;
pub mod rsna;
pub mod vindr;
