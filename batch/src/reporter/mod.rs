//! The report model, D2R-Net on R2Gen: model, decoding, image-text alignment, batches, training.

pub mod align;
pub mod batches;
pub mod card;
pub mod decode;
pub mod model;
pub mod train;
