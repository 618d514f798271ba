//! Intersection over union of boxes as tensors, corners f32 `[..., 4]`; boxes without area give 0, never NaN.

use tch::{Kind, Tensor};

/// IoU of every box of `a` `[B, G, 4]` with every box of `b` `[N, 4]`: `[B, G, N]`.
pub fn pairwise_iou(a: &Tensor, b: &Tensor) -> Tensor {
    let corner = |i: i64| (a.select(-1, i).unsqueeze(-1), b.select(-1, i));
    let ((ax0, bx0), (ay0, by0), (ax1, bx1), (ay1, by1)) = (corner(0), corner(1), corner(2), corner(3));
    let width = (ax1.minimum(&bx1) - ax0.maximum(&bx0)).clamp_min_(0.0);
    let height = (ay1.minimum(&by1) - ay0.maximum(&by0)).clamp_min_(0.0);
    let shared = width * height;
    let union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - &shared;
    let empty = union.le(0.0);
    (shared / union.masked_fill(&empty, 1.0)).masked_fill_(&empty, 0.0)
}

/// IoU pair by pair of `[P, 4]` and `[P, 4]` from raw signed areas, with gradients; 0 where the union vanishes.
pub fn paired_iou(a: &Tensor, b: &Tensor) -> Tensor {
    let (a, b) = (a.unbind(1), b.unbind(1));
    let width = (a[2].minimum(&b[2]) - a[0].maximum(&b[0])).clamp_min(0.0);
    let height = (a[3].minimum(&b[3]) - a[1].maximum(&b[1])).clamp_min(0.0);
    let shared = width * height;
    let area = |c: &[Tensor]| (&c[2] - &c[0]) * (&c[3] - &c[1]);
    let union = area(&a) + area(&b) - &shared;
    let empty = union.eq(0.0);
    // Masked values must be finite too, or their gradients are NaN.
    shared / union.where_self(&empty.logical_not(), &union.ones_like()) * empty.logical_not().to_kind(Kind::Float)
}
