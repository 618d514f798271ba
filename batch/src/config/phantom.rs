//! Configuration of the phantom.

use serde::{Deserialize, Serialize};

/// How many radiographs are drawn, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhantomConfig {
    /// Side of the square films, pixels.
    pub size: u32,
    /// Images with readers' boxes (VinDr-CXR layouts).
    pub labelled_images: u32,
    /// Studies with reports (MIMIC-CXR-JPG layout).
    pub report_studies: u32,
    /// Two-view studies with reports (IU X-Ray layout).
    pub two_view_studies: u32,
    /// Share of normal studies.
    pub normal_share: f64,
    /// Share of lateral films among the studies with reports.
    pub lateral_share: f64,
    /// Share of the labelled images, and of the studies, in the validation split.
    pub val_share: f64,
    /// Share in the test split.
    pub test_share: f64,
}
