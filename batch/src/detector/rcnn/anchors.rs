//! Anchor boxes of a region proposal network (Ren et al. 2015; one size per pyramid level, Lin et al. 2017): per level,
//! row, column and aspect ratio, in the order in which the head's outputs are flattened.

use crate::detector::fcos::points::Level;

/// Sides of the square anchors, from P2 up, model pixels.
const SIZES: [f32; 5] = [32.0, 64.0, 128.0, 256.0, 512.0];
/// Height over width.
pub const RATIOS: [f32; 3] = [0.5, 1.0, 2.0];

/// Anchors per cell.
pub const PER_CELL: i64 = RATIOS.len() as i64;

/// Corners of all anchors, level after level, flat `[N * 4]`. `finest` is the first level's number (2 for P2).
/// `rounded`: corners relative to the centre are rounded to whole pixels and centres step by the level's `step`
/// (torchvision); otherwise they are exact and step by the nominal stride (detectron2).
pub fn anchors(levels: &[Level], finest: usize, rounded: bool) -> Vec<f32> {
    let cells: i64 = levels.iter().map(Level::points).sum();
    let mut out = Vec::with_capacity((cells * PER_CELL * 4) as usize);
    for (i, level) in levels.iter().enumerate() {
        let size = SIZES[(i + finest - 2).min(SIZES.len() - 1)];
        let shapes = RATIOS.map(|ratio| shape(size, ratio, rounded));
        let step = if rounded { (level.step.0 as f32, level.step.1 as f32) } else { (level.stride, level.stride) };
        for row in 0..level.cells.0 {
            for column in 0..level.cells.1 {
                let (x, y) = (column as f32 * step.1, row as f32 * step.0);
                for [x_min, y_min, x_max, y_max] in shapes {
                    out.extend([x + x_min, y + y_min, x + x_max, y + y_max]);
                }
            }
        }
    }
    out
}

/// Corners about the origin.
fn shape(size: f32, ratio: f32, rounded: bool) -> [f32; 4] {
    let (width, height) = if rounded {
        let tall = ratio.sqrt();
        (size / tall, size * tall)
    } else {
        let width = (size * size / ratio).sqrt();
        (width, ratio * width)
    };
    let corners = [-width / 2.0, -height / 2.0, width / 2.0, height / 2.0];
    if rounded { corners.map(f32::round_ties_even) } else { corners }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::fcos::points::levels;

    #[test]
    fn rounded_anchors_are_torchvisions() {
        let one = levels((32, 32), &[(1, 1)], 2);
        let found = anchors(&one, 2, true);
        assert_eq!(found[..4], [-23.0, -11.0, 23.0, 11.0]);
        assert_eq!(found[4..8], [-16.0, -16.0, 16.0, 16.0]);
        assert_eq!(found[8..], [-11.0, -23.0, 11.0, 23.0]);
    }

    #[test]
    fn exact_anchors_keep_their_area() {
        let found = anchors(&levels((32, 64), &[(1, 2)], 2), 2, false);
        for b in found.chunks_exact(4) {
            assert!(((b[2] - b[0]) * (b[3] - b[1]) - 1024.0).abs() < 0.1);
        }
        assert!((found[12] - (found[0] + 4.0)).abs() < 1e-6, "the second column stands one stride further");
        assert!(anchors(&[], 2, true).is_empty());
    }
}
