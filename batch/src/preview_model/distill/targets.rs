//! Targets of the heat map (CenterNet, Zhou et al. 2019): a Gaussian peak at each box's centre, the box's edges at the centre's cell.
//! Plain numbers in and out.

/// A box in the preview model's input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TargetBox {
    /// VinDr-CXR class.
    pub class_id: usize,
    /// The detection score; 1 for annotators' boxes.
    pub score: f32,
    /// `x_min y_min x_max y_max` as shares of the input size.
    pub edges: [f32; 4],
}

/// Targets of an image on a grid of `grid` x `grid` cells.
#[derive(Debug, Clone, PartialEq)]
pub struct CellTargets {
    /// `[classes * grid * grid]`: 1 at a centre, decreasing around it.
    pub heat: Vec<f32>,
    /// `[4 * grid * grid]`: distances from the cell's centre to the left, top, right and bottom edge, as shares of the input size.
    pub edges: Vec<f32>,
    /// `[grid * grid]`: weight of `edges`: the box's score at its centre's cell, else 0.
    pub owned: Vec<f32>,
}

/// Standard deviation of a peak as a share of the box's width or height.
const PEAK_STD: f32 = 1.0 / 6.0;
/// Least standard deviation of a peak, cells.
const PEAK_STD_MIN: f32 = 0.5;

/// Targets of an image. Larger boxes come first, so that a smaller one overwrites their cell.
pub fn cell_targets(boxes: &[TargetBox], classes: usize, grid: usize) -> CellTargets {
    let cells = grid * grid;
    let mut targets =
        CellTargets { heat: vec![0.0; classes * cells], edges: vec![0.0; 4 * cells], owned: vec![0.0; cells] };
    let area = |b: &TargetBox| (b.edges[2] - b.edges[0]) * (b.edges[3] - b.edges[1]);
    let mut order: Vec<&TargetBox> = boxes.iter().filter(|b| b.class_id < classes && area(b) > 0.0).collect();
    order.sort_by(|a, b| area(b).total_cmp(&area(a)));
    for target in order {
        let [x_min, y_min, x_max, y_max] = target.edges.map(|e| e.clamp(0.0, 1.0) * grid as f32);
        let (x, y) = ((x_min + x_max) / 2.0, (y_min + y_max) / 2.0);
        let cell = |v: f32| (v as usize).min(grid - 1);
        let (column, row) = (cell(x), cell(y));
        let std = |low: f32, high: f32| ((high - low) * PEAK_STD).max(PEAK_STD_MIN);
        let (std_x, std_y) = (std(x_min, x_max), std(y_min, y_max));
        for r in 0..grid {
            for c in 0..grid {
                let (dx, dy) = ((c as f32 - column as f32) / std_x, (r as f32 - row as f32) / std_y);
                let value = (-(dx * dx + dy * dy) / 2.0).exp();
                let cell = &mut targets.heat[target.class_id * cells + r * grid + c];
                *cell = cell.max(value);
            }
        }
        let (cx, cy) = (column as f32 + 0.5, row as f32 + 0.5);
        let distances = [cx - x_min, cy - y_min, x_max - cx, y_max - cy];
        for (edge, distance) in distances.into_iter().enumerate() {
            targets.edges[edge * cells + row * grid + column] = (distance / grid as f32).max(0.0);
        }
        targets.owned[row * grid + column] = target.score;
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_peaks_at_its_centre_and_owns_its_cell() {
        let target = TargetBox { class_id: 1, score: 0.8, edges: [0.25, 0.5, 0.5, 1.0] };
        let cells = cell_targets(&[target], 2, 4);
        // Centre (0.375, 0.75): column 1, row 3.
        assert_eq!(cells.heat[16 + 3 * 4 + 1], 1.0);
        assert!(cells.heat[16 + 3 * 4 + 2] < 0.5 && cells.heat[..16].iter().all(|v| *v == 0.0));
        assert_eq!(cells.owned.iter().filter(|v| **v > 0.0).count(), 1);
        let edge = |edge: usize| cells.edges[edge * 16 + 13];
        assert_eq!([edge(0), edge(1), edge(2), edge(3)], [0.125, 0.375, 0.125, 0.125]);
    }

    #[test]
    fn a_small_box_keeps_its_cell_and_improper_boxes_are_ignored() {
        let large = TargetBox { class_id: 0, score: 1.0, edges: [0.0, 0.0, 1.0, 1.0] };
        let small = TargetBox { class_id: 0, score: 0.5, edges: [0.5, 0.5, 0.6, 0.6] };
        let cells = cell_targets(&[small, large], 1, 4);
        assert_eq!(cells.owned[10], 0.5);
        let improper = TargetBox { class_id: 7, score: 1.0, edges: [0.5, 0.5, 0.5, 0.6] };
        assert!(cell_targets(&[improper], 1, 4).heat.iter().all(|v| *v == 0.0));
    }
}
