//! The audit of a lake before training: defects that falsify figures or spoil a model. From the tables: patients and files
//! in two splits, reports, boxes, label shares. From the pictures, when asked: copies of one exposure, and pictures that no
//! model should learn from. [`page`] shows what was found.

pub mod boxes;
pub mod copies;
pub mod image_rows;
pub mod images;
pub mod issue;
pub mod kind;
pub mod label_shares;
pub mod leakage;
pub mod page;
pub mod pictures;
pub mod published_shares;
pub mod reports;
