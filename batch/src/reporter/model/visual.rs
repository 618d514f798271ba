//! What the report model takes from a study and the visual tokens it makes of it. `B` images, `N` regions in the image
//! that has most of them, `M` regions in all.

use tch::Tensor;

/// Images and regions of a batch, on the model's device.
#[derive(Debug)]
pub struct VisualInput {
    /// u8 `[B, views, S, S]`.
    pub images: Tensor,
    /// Regions of the first view of each study.
    pub regions: RegionInput,
}

/// All regions of a batch side by side, without padding.
#[derive(Debug)]
pub struct RegionInput {
    /// u8 `[M, 1, R, R]`: crops from the radiograph at its own resolution.
    pub crops: Tensor,
    /// f32 `[M, 2]`: mean and standard deviation of what was cropped, before resizing and padding, on the scale 0 to 1.
    pub statistics: Tensor,
    /// i64 `[M]`: `image * N + index in the image`.
    pub slots: Tensor,
    /// Boolean `[B, N]`: slots that hold a region; `N` may be 0.
    pub present: Tensor,
    /// i64 `[M]`: VinDr-CXR class.
    pub classes: Tensor,
    /// f32 `[M, 5]`: detection score, then x and y of the centre, width and height of the bounding box as shares of the image.
    pub scored_boxes: Tensor,
}

/// Visual tokens before the encoder.
#[derive(Debug)]
pub struct VisualFeatures {
    /// f32 `[B, P, d_visual]`.
    pub patches: Tensor,
    /// f32 `[B, N, d_visual]`: zero where absent; `N` is 0 without regions.
    pub regions: Tensor,
    /// Boolean `[B, N]`.
    pub present: Tensor,
}
