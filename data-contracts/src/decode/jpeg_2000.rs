//! JPEG 2000 frames of DICOM files (ITU-T T.800): where the codestream lies, what its headers say, its samples.
//!
//! The decoder is given the bytes that were checked and no others.

mod boxes;
mod code_blocks;
mod headers;
mod samples;

pub(super) use boxes::is_at_start;
pub(super) use headers::{Jpeg2000Frame, read};
pub(super) use samples::{decoding_bytes, samples};
