//! FCOS (Tian et al. 2019, arXiv:1904.01355): head, point assignment, losses, detections.

pub mod assignment;
pub mod candidates;
pub mod distances;
mod foreground;
pub mod head;
pub mod losses;
pub mod points;
