//! Non-maximum suppression within groups (pyramid levels or classes); the results are merged by score.

use std::collections::BTreeMap;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::nms::nms;

/// Indices of the boxes kept, by descending score; ties keep the input's order.
pub fn grouped_nms<S: Copy>(boxes: &[BoxXyxy<S>], scores: &[f32], groups: &[i32], iou_max: f32) -> Vec<usize> {
    let mut members: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (i, group) in groups.iter().enumerate() {
        members.entry(*group).or_default().push(i);
    }
    let mut kept: Vec<usize> = Vec::new();
    for members in members.values() {
        let of_group: Vec<BoxXyxy<S>> = members.iter().map(|&i| boxes[i]).collect();
        let scores: Vec<f32> = members.iter().map(|&i| scores[i]).collect();
        kept.extend(nms(&of_group, &scores, &vec![0; members.len()], iou_max).into_iter().map(|k| members[k]));
    }
    kept.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    kept
}

#[cfg(test)]
mod tests {
    use d2r_contracts::space::Model;

    use super::*;

    #[test]
    fn groups_are_independent_and_ties_keep_their_order() {
        let b = |x: f32| BoxXyxy::<Model>::new(x, 0.0, x + 2.0, 1.0);
        let boxes = [b(0.0), b(0.1), b(0.0), b(9.0)];
        assert_eq!(grouped_nms(&boxes, &[0.5, 0.9, 0.5, 0.5], &[1, 1, 0, 1], 0.5), [1, 2, 3]);
        assert!(grouped_nms::<Model>(&[], &[], &[], 0.5).is_empty());
    }
}
