//! FCOS describes a box by the distances from a point to its left, top, right and bottom edge, in strides: conversion
//! to and from corners, and overlap of two boxes around one point.

use tch::Tensor;

/// Corners `[P, 4]` in model pixels from distances `ltrb` `[P, 4]`; `locations`: `[P, 3]`, x, y and stride of the
/// points.
pub fn corners(ltrb: &Tensor, locations: &Tensor) -> Tensor {
    let point = locations.narrow(1, 0, 2);
    let distances = ltrb * locations.narrow(1, 2, 1);
    Tensor::cat(&[&point - distances.narrow(1, 0, 2), &point + distances.narrow(1, 2, 2)], 1)
}

/// Distances `[P, 4]` of boxes `[P, 4]`: the inverse of [`corners`].
pub fn edge_distances(boxes: &Tensor, locations: &Tensor) -> Tensor {
    let point = locations.narrow(1, 0, 2);
    Tensor::cat(&[&point - boxes.narrow(1, 0, 2), boxes.narrow(1, 2, 2) - &point], 1) / locations.narrow(1, 2, 1)
}

/// IoU with one added to numerator and denominator, and GIoU from it, of two boxes around one point, from distances
/// `[P, 4]`: two tensors `[P]`.
pub fn stride_overlap(predicted: &Tensor, wanted: &Tensor) -> (Tensor, Tensor) {
    let (p, w) = (predicted.unbind(1), wanted.unbind(1));
    let area = |d: &[Tensor]| (&d[0] + &d[2]) * (&d[1] + &d[3]);
    let shared = (p[0].minimum(&w[0]) + p[2].minimum(&w[2])) * (p[1].minimum(&w[1]) + p[3].minimum(&w[3]));
    let hull = (p[0].maximum(&w[0]) + p[2].maximum(&w[2])) * (p[1].maximum(&w[1]) + p[3].maximum(&w[3]));
    let union = area(&p) + area(&w) - &shared;
    let iou = (shared + 1.0) / (&union + 1.0);
    let giou = &iou - (&hull - union) / hull;
    (iou, giou)
}
