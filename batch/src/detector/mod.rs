//! The lesion detectors, FCOS and Faster R-CNN on a ResNet feature pyramid: layers, batches, training, inference.

pub mod batches;
pub mod box_coder;
pub mod card;
pub mod detection;
pub mod edge_box_coder;
pub mod edge_losses;
pub mod evaluation;
pub mod fcos;
pub mod fpn;
pub mod grouped_nms;
pub mod inference;
pub mod iou;
pub mod lesion_row;
pub mod losses;
pub mod model;
pub mod pyramid;
pub mod rcnn;
pub mod resnet;
pub mod semi;
pub mod target;
pub mod test_time_augmentation;
pub mod thresholds;
pub mod train;

#[cfg(test)]
mod tests;
