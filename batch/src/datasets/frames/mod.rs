//! The frame that boxes refer to: an original's of another size, a turned image's, or the file's own.

pub mod box_fit;
pub mod original_size;
pub mod turned_boxes;
