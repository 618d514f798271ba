//! Matches anchors to boxes by IoU: foreground from one threshold on, background below another, ignored between;
//! optionally every box keeps its best anchors, however little they overlap (Faster R-CNN's low-quality matches).

use tch::{Kind, Tensor};

/// Label of a foreground anchor.
pub const FOREGROUND: i64 = 1;
/// Label of a background anchor.
pub const BACKGROUND: i64 = 0;
/// Label of an anchor that enters no loss.
pub const IGNORED: i64 = -1;

/// Thresholds of the matcher.
#[derive(Debug, Clone, Copy)]
pub struct Matcher {
    /// Anchors whose best IoU is below are background.
    pub low: f64,
    /// Anchors whose best IoU reaches this are foreground.
    pub high: f64,
    /// The anchors with the highest IoU of each box are foreground too.
    pub low_quality: bool,
}

/// Label and box of each anchor.
#[derive(Debug)]
pub struct Matches {
    /// i64 `[B, N]`: [`FOREGROUND`], [`BACKGROUND`] or [`IGNORED`].
    pub labels: Tensor,
    /// i64 `[B, N]`: the box with the highest IoU, the first of several; 0 without boxes.
    pub boxes: Tensor,
}

impl Matcher {
    /// `iou`: f32 `[B, G, N]`, boxes by anchors, G at least 1; `present`: bool `[B, G]`, which boxes exist (the
    /// others pad the batch).
    pub fn matches(&self, iou: &Tensor, present: &Tensor) -> Matches {
        let absent = present.logical_not().unsqueeze(-1);
        let iou = iou.masked_fill(&absent, -1.0);
        let (best, boxes) = iou.max_dim(1, false);
        let mut labels = best.full_like(IGNORED as f64).to_kind(Kind::Int64);
        labels = labels.masked_fill_(&best.lt(self.low), BACKGROUND).masked_fill_(&best.ge(self.high), FOREGROUND);
        if self.low_quality {
            let best_of_box = iou.amax([2i64].as_slice(), true);
            // A box that overlaps nothing has a best IoU of 0, which all anchors share.
            let kept = iou.eq_tensor(&best_of_box).logical_and(&best_of_box.gt(0.0));
            labels = labels.masked_fill_(&kept.any_dim(1, false), FOREGROUND);
        }
        Matches { labels, boxes }
    }
}
