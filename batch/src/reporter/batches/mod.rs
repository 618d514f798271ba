//! Batches of the report model: studies, augmentation, token ids, the border where plain data become tensors.

pub mod augment;
pub mod collate;
pub mod collate_text;
pub mod examples;
pub mod given_boxes;
pub mod laterality_swap;
pub mod random_crop;
pub mod study;
pub mod study_batch;
pub mod text_tokens;
pub mod visual_handle;
pub mod visual_reader;
