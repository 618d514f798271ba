//! The lesion detector: FCOS on a ResNet feature pyramid.

pub mod detector;
pub mod fcos;
pub mod fpn;
pub mod losses;
pub mod points;
pub mod resnet;
pub mod targets;
