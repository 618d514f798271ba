//! Axis-aligned bounding boxes, one convention everywhere: corners `x_min y_min x_max y_max`, pixels, half-open
//! (a box from 0 to 1 covers one pixel), `f32`.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

/// A bounding box in the pixel space `S` (see [`crate::space`]).
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct BoxXyxy<S> {
    /// Left edge.
    pub x_min: f32,
    /// Top edge.
    pub y_min: f32,
    /// Right edge, exclusive.
    pub x_max: f32,
    /// Bottom edge, exclusive.
    pub y_max: f32,
    #[serde(skip)]
    space: PhantomData<S>,
}

// Derived impls would require the same traits of the marker type, which has no values.
impl<S> Clone for BoxXyxy<S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S> Copy for BoxXyxy<S> {}
impl<S> PartialEq for BoxXyxy<S> {
    fn eq(&self, other: &Self) -> bool {
        self.to_array() == other.to_array()
    }
}
impl<S> std::fmt::Debug for BoxXyxy<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}, {}, {}, {}]", self.x_min, self.y_min, self.x_max, self.y_max)
    }
}

impl<S> BoxXyxy<S> {
    /// A box from its corners, taken as they are.
    pub const fn new(x_min: f32, y_min: f32, x_max: f32, y_max: f32) -> Self {
        Self { x_min, y_min, x_max, y_max, space: PhantomData }
    }

    /// A box from COCO's `[x, y, width, height]`.
    pub fn from_xywh([x, y, w, h]: [f32; 4]) -> Self {
        Self::new(x, y, x + w, y + h)
    }

    /// COCO's `[x, y, width, height]`.
    pub fn to_xywh(&self) -> [f32; 4] {
        [self.x_min, self.y_min, self.width(), self.height()]
    }

    /// `[x_min, y_min, x_max, y_max]`.
    pub fn to_array(&self) -> [f32; 4] {
        [self.x_min, self.y_min, self.x_max, self.y_max]
    }

    /// Width; negative for an inverted box.
    pub fn width(&self) -> f32 {
        self.x_max - self.x_min
    }

    /// Height; negative for an inverted box.
    pub fn height(&self) -> f32 {
        self.y_max - self.y_min
    }

    /// Area, 0 for an empty or inverted box.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Centre `(x, y)`.
    pub fn centre(&self) -> (f32, f32) {
        ((self.x_min + self.x_max) * 0.5, (self.y_min + self.y_max) * 0.5)
    }

    /// True when width and height are positive and all four numbers are finite.
    pub fn is_proper(&self) -> bool {
        self.to_array().iter().all(|v| v.is_finite()) && self.x_max > self.x_min && self.y_max > self.y_min
    }

    /// The part inside `[0, width] x [0, height]`.
    pub fn clip(&self, width: f32, height: f32) -> Self {
        Self::new(
            self.x_min.clamp(0.0, width),
            self.y_min.clamp(0.0, height),
            self.x_max.clamp(0.0, width),
            self.y_max.clamp(0.0, height),
        )
    }

    /// The area shared with `other`.
    pub fn intersection(&self, other: &Self) -> f32 {
        let w = self.x_max.min(other.x_max) - self.x_min.max(other.x_min);
        let h = self.y_max.min(other.y_max) - self.y_min.max(other.y_min);
        w.max(0.0) * h.max(0.0)
    }

    /// Intersection over union; 0 when both boxes are empty.
    pub fn iou(&self, other: &Self) -> f32 {
        let inter = self.intersection(other);
        let union = self.area() + other.area() - inter;
        if union > 0.0 { inter / union } else { 0.0 }
    }

    /// The box with each edge moved outwards by `fraction` of its width or height.
    pub fn with_margin(&self, fraction: f32) -> Self {
        let (mx, my) = (self.width() * fraction, self.height() * fraction);
        Self::new(self.x_min - mx, self.y_min - my, self.x_max + mx, self.y_max + my)
    }

    /// The box in an image whose width and height are multiplied by `x` and `y`.
    pub fn scaled(&self, x: f32, y: f32) -> Self {
        Self::new(self.x_min * x, self.y_min * y, self.x_max * x, self.y_max * y)
    }

    /// The box after a horizontal flip of an image `width` pixels wide.
    pub fn mirrored(&self, width: f32) -> Self {
        Self::new(width - self.x_max, self.y_min, width - self.x_min, self.y_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Original;

    type B = BoxXyxy<Original>;

    #[test]
    fn half_open_pixels_have_no_plus_one() {
        let a = B::new(0.0, 0.0, 1.0, 1.0);
        assert_eq!(a.area(), 1.0);
        let b = B::new(0.1, 0.1, 1.1, 1.1);
        assert!((a.iou(&b) - 0.81 / 1.19).abs() < 1e-6);
    }

    #[test]
    fn empty_and_inverted_boxes_have_no_area() {
        let empty = B::new(3.0, 3.0, 3.0, 9.0);
        let inverted = B::new(5.0, 5.0, 1.0, 9.0);
        assert_eq!(empty.area(), 0.0);
        assert_eq!(inverted.area(), 0.0);
        assert_eq!(empty.iou(&empty), 0.0);
        assert!(!inverted.is_proper());
        assert!(!B::new(f32::NAN, 0.0, 1.0, 1.0).is_proper());
    }

    #[test]
    fn mirror_twice_is_identity() {
        let b = B::new(10.0, 20.0, 30.0, 50.0);
        assert_eq!(b.mirrored(512.0).mirrored(512.0), b);
        assert_eq!(b.mirrored(512.0).x_min, 482.0);
    }
}
