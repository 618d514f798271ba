//! Readers of the world: dataset layouts, fused readers, phantoms; and the border where plain data becomes tensors.

pub mod annotation_json;
pub mod augment;
pub mod coco;
pub mod collate;
pub mod fusion;
pub mod iu_xray;
pub mod loader;
pub mod mimic;
pub mod phantom;
pub mod source;
pub mod vindr;
