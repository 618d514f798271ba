//! The HTML page of an audit: counts first, then label shares, then each kind of issue with the pictures concerned.
//! Self-contained; it holds ids and thumbnails, no report text.

pub mod audit_page;
pub mod cards;
