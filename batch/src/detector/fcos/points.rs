//! The points at which FCOS predicts (arXiv:1904.01355, section 3.1): one per cell and level, in
//! the order in which the head's outputs are flattened (level, row, column).

/// One level of the pyramid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Nominal stride, model pixels: the unit of this level's distances.
    pub stride: f32,
    /// Rows and columns.
    pub cells: (i64, i64),
    /// Model pixels between rows and between columns: the image's size over the number of cells, rounded down, as
    /// in torchvision (another value than the stride where the size is no multiple of it).
    pub step: (i64, i64),
}

impl Level {
    /// Number of points.
    pub fn points(&self) -> i64 {
        self.cells.0 * self.cells.1
    }
}

/// A place where a box may be predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Model pixels.
    pub x: f32,
    /// Model pixels.
    pub y: f32,
    /// Stride of its level.
    pub stride: f32,
    /// Largest distance to a side of its box must be above this, model pixels.
    pub reach_min: f32,
    /// And below this.
    pub reach_max: f32,
}

/// Levels of an image of `(height, width)` model pixels, from the pyramid's sizes; the first has stride `1 << min_level`.
pub fn levels(image: (i64, i64), cells: &[(i64, i64)], min_level: usize) -> Vec<Level> {
    let level = |(i, &(rows, columns)): (usize, &(i64, i64))| Level {
        stride: (1u64 << (min_level + i)) as f32,
        cells: (rows, columns),
        step: (image.0 / rows.max(1), image.1 / columns.max(1)),
    };
    cells.iter().enumerate().map(level).collect()
}

/// The points of all levels. A level is responsible for boxes that reach 4 to 8 strides from the point, the lowest
/// also for smaller ones, the highest also for larger ones.
/// `centred`: half a stride from the cell's corner (Unbiased Teacher v2), otherwise on it (torchvision).
pub fn points(levels: &[Level], centred: bool) -> Vec<Point> {
    let last = levels.len().saturating_sub(1);
    let mut points = Vec::with_capacity(levels.iter().map(|l| l.points() as usize).sum());
    for (i, level) in levels.iter().enumerate() {
        let reach_min = if i == 0 { 0.0 } else { 4.0 * level.stride };
        let reach_max = if i == last { f32::INFINITY } else { 8.0 * level.stride };
        let offset = if centred { (level.stride / 2.0).floor() } else { 0.0 };
        for row in 0..level.cells.0 {
            for column in 0..level.cells.1 {
                let (x, y) = ((column * level.step.1) as f32 + offset, (row * level.step.0) as f32 + offset);
                points.push(Point { x, y, stride: level.stride, reach_min, reach_max });
            }
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stand_at_multiples_of_the_step_row_by_row() {
        let levels = levels((16, 24), &[(2, 3), (1, 2)], 3);
        let places: Vec<(f32, f32)> = points(&levels, false).iter().map(|p| (p.x, p.y)).collect();
        let first = [(0.0, 0.0), (8.0, 0.0), (16.0, 0.0), (0.0, 8.0), (8.0, 8.0), (16.0, 8.0)];
        assert_eq!(places[..6], first);
        // 24 pixels over two cells: steps of 12 at a stride of 16.
        assert_eq!(places[6..], [(0.0, 0.0), (12.0, 0.0)]);
        assert!(points(&[], false).is_empty());
    }

    #[test]
    fn reaches_join_without_gaps() {
        let levels = levels((64, 64), &[(16, 16), (8, 8), (4, 4)], 2);
        let mut reaches: Vec<(f32, f32)> = points(&levels, false).iter().map(|p| (p.reach_min, p.reach_max)).collect();
        reaches.dedup();
        assert_eq!(reaches, [(0.0, 32.0), (32.0, 64.0), (64.0, f32::INFINITY)]);
    }
}
