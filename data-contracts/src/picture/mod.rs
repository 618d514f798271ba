//! Arithmetic on decoded pictures for the audit of a dataset: the border around the exposed area, the search for
//! rescaled, cropped or brightened copies, and statistics of grey levels.
//!
//! A copy is found in steps, each of which lets through far fewer pairs than the one before: [`hash_index`] gives pairs
//! whose [`hash`]es nearly agree, [`blocks`] and [`alignment`] compare the fine [`structure`] of thumbnails, and
//! [`copy_search`] puts them in order and compares larger thumbnails of the pairs that are left.

pub mod alignment;
pub mod blocks;
pub mod border;
pub mod copy_search;
pub mod hash;
pub mod hash_index;
pub mod statistics;
pub mod structure;
pub mod thumbnail;
