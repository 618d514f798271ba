//! Greedy non-maximum suppression, class by class, stable in ties.

use crate::boxes::BoxXyxy;

/// Indices kept, by descending score (ties keep the input's order). A box is dropped when its IoU with a kept
/// box of the same class is greater than `iou_max`.
pub fn nms<S>(boxes: &[BoxXyxy<S>], scores: &[f32], classes: &[i32], iou_max: f32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut kept: Vec<usize> = Vec::new();
    for i in order {
        let suppressed = kept.iter().any(|&k| classes[k] == classes[i] && boxes[k].iou(&boxes[i]) > iou_max);
        if !suppressed {
            kept.push(i);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Model;

    #[test]
    fn suppresses_within_a_class_only_and_keeps_the_threshold_itself() {
        let b = |x0: f32, x1: f32| BoxXyxy::<Model>::new(x0, 0.0, x1, 1.0);
        let boxes = [b(0.0, 2.0), b(0.0, 4.0), b(0.0, 2.0), b(0.1, 2.0)];
        let kept = nms(&boxes, &[0.9, 0.8, 0.7, 0.6], &[0, 0, 1, 0], 0.5);
        assert_eq!(kept, [0, 1, 2], "IoU of exactly 0.5 stays; another class is untouched");
        assert!(nms::<Model>(&[], &[], &[], 0.5).is_empty());
    }
}
