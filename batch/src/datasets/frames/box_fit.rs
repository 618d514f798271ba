//! Whether an image's boxes lie in it. Coordinates of a larger image (an original whose copy was resized) leave boxes
//! outside or far over the edge; an annotator's slip over the edge does not.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Original;

use crate::datasets::listing::FrameSize;

/// A box with less than this share of its area in the image is outside.
const INSIDE_SHARE_MIN: f32 = 0.5;
/// A box that leaves the image by no more than this share of the image's size (and a pixel) fits.
const OVERHANG_MAX: f32 = 0.01;

/// How one box lies in its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Inside,
    /// Partly outside; it is clipped.
    OverTheEdge,
    Outside,
}

/// What is used of an image's boxes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxFit {
    size: FrameSize,
    /// None of the boxes can be used: they are in another frame.
    pub wrong_frame: bool,
}

impl BoxFit {
    /// The fit of all boxes of an image of that size. With most boxes outside, or one outside and none that fits, all
    /// of them are taken for boxes of another frame.
    pub fn of<'a>(boxes: impl Iterator<Item = &'a BoxXyxy<Original>>, size: FrameSize) -> Self {
        let (mut all, mut inside, mut outside) = (0usize, 0usize, 0usize);
        for b in boxes {
            all += 1;
            match fit(b, size) {
                Fit::Inside => inside += 1,
                Fit::OverTheEdge => {}
                Fit::Outside => outside += 1,
            }
        }
        Self { size, wrong_frame: outside > 0 && (outside * 2 > all || inside == 0) }
    }

    /// The part of a box that is in the image; `None` for a box that cannot be used.
    pub fn clipped(&self, b: &BoxXyxy<Original>) -> Option<BoxXyxy<Original>> {
        let usable = !self.wrong_frame && fit(b, self.size) != Fit::Outside;
        usable.then(|| b.clip(self.size.width, self.size.height))
    }
}

fn fit(b: &BoxXyxy<Original>, size: FrameSize) -> Fit {
    let inside = b.clip(size.width, size.height);
    if !inside.is_proper() || inside.area() < INSIDE_SHARE_MIN * b.area() {
        return Fit::Outside;
    }
    let over = |low: f32, high: f32, size: f32| low.min(size - high) < -(OVERHANG_MAX * size + 1.0);
    if over(b.x_min, b.x_max, size.width) || over(b.y_min, b.y_max, size.height) {
        Fit::OverTheEdge
    } else {
        Fit::Inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: FrameSize = FrameSize { width: 200.0, height: 100.0 };

    fn of(boxes: &[[f32; 4]]) -> Vec<Option<[f32; 4]>> {
        let boxes: Vec<BoxXyxy<Original>> = boxes.iter().map(|b| BoxXyxy::new(b[0], b[1], b[2], b[3])).collect();
        let fit = BoxFit::of(boxes.iter(), SIZE);
        boxes.iter().map(|b| fit.clipped(b).map(|b| b.to_array())).collect()
    }

    #[test]
    fn a_box_over_the_edge_is_clipped() {
        assert_eq!(of(&[[-5.0, 10.0, 50.0, 120.0]]), [Some([0.0, 10.0, 50.0, 100.0])]);
        assert_eq!(of(&[[0.0, 0.0, 200.0, 100.0]]), [Some([0.0, 0.0, 200.0, 100.0])]);
        assert_eq!(of(&[[190.0, 90.0, 203.0, 102.0]]), [Some([190.0, 90.0, 200.0, 100.0])]);
    }

    #[test]
    fn a_stray_box_costs_itself_and_most_boxes_outside_cost_all() {
        let (fits, over, out) = ([1.0, 1.0, 9.0, 9.0], [150.0, 50.0, 220.0, 100.0], [300.0, 300.0, 400.0, 400.0]);
        assert_eq!(of(&[fits, out]), [Some(fits), None]);
        assert_eq!(of(&[fits, out, out]), [None, None, None]);
        assert_eq!(of(&[over, out]), [None, None], "no box fits, and one is outside");
        assert_eq!(of(&[out]), [None]);
        assert_eq!(of(&[over]), [Some([150.0, 50.0, 200.0, 100.0])]);
        assert_eq!(of(&[]), []);
    }

    #[test]
    fn a_box_mostly_outside_is_outside() {
        assert_eq!(of(&[[150.0, 0.0, 260.0, 50.0]]), [None]);
        assert_eq!(of(&[[150.0, 0.0, 250.0, 50.0]]), [Some([150.0, 0.0, 200.0, 50.0])]);
        assert_eq!(of(&[[200.0, 0.0, 210.0, 50.0]]), [None], "touching the edge from outside");
    }

    #[test]
    fn without_a_size_only_negative_coordinates_are_outside() {
        let unknown = FrameSize { width: f32::MAX, height: f32::MAX };
        let boxes = [BoxXyxy::new(1.0, 1.0, 9e4, 9e4), BoxXyxy::new(-9.0, -9.0, -1.0, -1.0)];
        let fit = BoxFit::of(boxes.iter(), unknown);
        assert_eq!(fit.clipped(&boxes[0]), Some(boxes[0]));
        assert_eq!(fit.clipped(&boxes[1]), None);
    }
}
