//! The points at which FCOS predicts (arXiv:1904.01355, section 3.1): one per cell and level, in
//! the order in which the head's outputs are flattened (level, row, column).

use crate::detector::pyramid::Level;

/// A location at which FCOS predicts a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Model pixels.
    pub x: f32,
    /// Model pixels.
    pub y: f32,
    /// Stride of its level, model pixels.
    pub stride: f32,
    /// Lower bound of the largest distance to an edge of its box, model pixels.
    pub distance_min: f32,
    /// Upper bound of that distance.
    pub distance_max: f32,
}

/// The points of all levels. A level predicts boxes whose largest distance from the point to an edge is 4 to 8 strides;
/// the finest level also smaller ones, the coarsest also larger ones. `centred`: at multiples of the stride, half a stride
/// from the cell's corner (Unbiased Teacher v2), otherwise at multiples of the level's step, at the corner (torchvision).
pub fn points(levels: &[Level], centred: bool) -> Vec<Point> {
    let last = levels.len().saturating_sub(1);
    let mut points = Vec::with_capacity(levels.iter().map(|l| l.cells() as usize).sum());
    for (i, level) in levels.iter().enumerate() {
        let distance_min = if i == 0 { 0.0 } else { 4.0 * level.stride };
        let distance_max = if i == last { f32::INFINITY } else { 8.0 * level.stride };
        let (step_x, step_y, offset) = if centred {
            (level.stride, level.stride, (level.stride / 2.0).floor())
        } else {
            (level.step_x as f32, level.step_y as f32, 0.0)
        };
        for row in 0..level.grid.rows {
            for column in 0..level.grid.columns {
                let (x, y) = (column as f32 * step_x + offset, row as f32 * step_y + offset);
                points.push(Point { x, y, stride: level.stride, distance_min, distance_max });
            }
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use d2r_contracts::space::ImageSize;

    use super::*;
    use crate::detector::pyramid::levels_of;

    #[test]
    fn points_stand_at_multiples_of_the_step_row_by_row() {
        let levels = levels_of(ImageSize { width: 24, height: 16 }, &[[2, 3], [1, 2]], 3);
        let places: Vec<(f32, f32)> = points(&levels, false).iter().map(|p| (p.x, p.y)).collect();
        let first = [(0.0, 0.0), (8.0, 0.0), (16.0, 0.0), (0.0, 8.0), (8.0, 8.0), (16.0, 8.0)];
        assert_eq!(places[..6], first);
        // 24 pixels over two cells: steps of 12 at a stride of 16.
        assert_eq!(places[6..], [(0.0, 0.0), (12.0, 0.0)]);
        let centred: Vec<(f32, f32)> = points(&levels, true).iter().map(|p| (p.x, p.y)).collect();
        assert_eq!(centred[6..], [(8.0, 8.0), (24.0, 8.0)], "multiples of the stride, half a stride from the corner");
        assert!(points(&[], false).is_empty());
    }

    #[test]
    fn distance_ranges_of_the_levels_meet_without_gaps() {
        let levels = levels_of(ImageSize { width: 64, height: 64 }, &[[16, 16], [8, 8], [4, 4]], 2);
        let mut ranges: Vec<(f32, f32)> =
            points(&levels, false).iter().map(|p| (p.distance_min, p.distance_max)).collect();
        ranges.dedup();
        assert_eq!(ranges, [(0.0, 32.0), (32.0, 64.0), (64.0, f32::INFINITY)]);
    }
}
