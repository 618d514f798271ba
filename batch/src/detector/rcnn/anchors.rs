//! Anchor boxes of a region proposal network (Ren et al. 2015; one size per pyramid level, Lin et al. 2017): per level,
//! row, column and aspect ratio, in the order in which the head's outputs are flattened.

use std::sync::{Mutex, PoisonError};

use tch::{Device, Tensor};

use crate::detector::pyramid::Level;

/// Sizes of the square anchors from P2 to P6, model pixels.
const SIZES: [f32; 5] = [32.0, 64.0, 128.0, 256.0, 512.0];
/// Aspect ratios, height over width.
pub const RATIOS: [f32; 3] = [0.5, 1.0, 2.0];

/// Anchors per cell.
pub const PER_CELL: i64 = RATIOS.len() as i64;

/// Corners of all anchors, level after level, flat `[N * 4]`. `finest` is the first level's number (2 for P2).
/// `rounded`: corners relative to the centre are rounded to whole pixels and centres step by the level's `step`
/// (torchvision); otherwise they are exact and step by the nominal stride (detectron2).
pub fn anchors(levels: &[Level], finest: usize, rounded: bool) -> Vec<f32> {
    let cells: i64 = levels.iter().map(Level::cells).sum();
    let mut out = Vec::with_capacity((cells * PER_CELL * 4) as usize);
    for (i, level) in levels.iter().enumerate() {
        let size = SIZES[(i + finest - 2).min(SIZES.len() - 1)];
        let shapes = RATIOS.map(|ratio| shape(size, ratio, rounded));
        let (step_x, step_y) =
            if rounded { (level.step_x as f32, level.step_y as f32) } else { (level.stride, level.stride) };
        for row in 0..level.grid.rows {
            for column in 0..level.grid.columns {
                let (x, y) = (column as f32 * step_x, row as f32 * step_y);
                for [x_min, y_min, x_max, y_max] in shapes {
                    out.extend([x + x_min, y + y_min, x + x_max, y + y_max]);
                }
            }
        }
    }
    out
}

/// Sizes of inputs whose anchors are kept: at the published size those of one take 4 MiB.
const KEPT_SIZES: usize = 16;

/// The anchors of the sizes of inputs that came last, on the device: inputs of other shapes than squares have few sizes,
/// which come again and again.
#[derive(Debug, Default)]
pub struct AnchorCache(Mutex<Vec<(Vec<Level>, Tensor)>>);

impl AnchorCache {
    /// [`anchors`] as f32 `[N, 4]` on `device`.
    pub fn get(&self, levels: &[Level], finest: usize, rounded: bool, device: Device) -> Tensor {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|(of, tensor)| of == levels && tensor.device() == device);
        let entry = match known {
            Some(index) => kept.remove(index),
            None => {
                let flat = anchors(levels, finest, rounded);
                (levels.to_vec(), Tensor::from_slice(&flat).view([-1, 4]).to_device(device))
            }
        };
        let anchors = entry.1.shallow_clone();
        kept.insert(0, entry);
        kept.truncate(KEPT_SIZES);
        anchors
    }
}

/// Corners of an anchor around the origin.
fn shape(size: f32, ratio: f32, rounded: bool) -> [f32; 4] {
    let (width, height) = if rounded {
        let root = ratio.sqrt();
        (size / root, size * root)
    } else {
        let width = (size * size / ratio).sqrt();
        (width, ratio * width)
    };
    let corners = [-width / 2.0, -height / 2.0, width / 2.0, height / 2.0];
    if rounded { corners.map(f32::round_ties_even) } else { corners }
}

#[cfg(test)]
mod tests {
    use d2r_contracts::space::ImageSize;

    use super::*;
    use crate::detector::pyramid::levels_of;

    #[test]
    fn rounded_anchors_are_torchvisions() {
        let one = levels_of(ImageSize { width: 32, height: 32 }, &[[1, 1]], 2);
        let found = anchors(&one, 2, true);
        assert_eq!(found[..4], [-23.0, -11.0, 23.0, 11.0]);
        assert_eq!(found[4..8], [-16.0, -16.0, 16.0, 16.0]);
        assert_eq!(found[8..], [-11.0, -23.0, 11.0, 23.0]);
    }

    #[test]
    fn kept_anchors_are_those_of_their_size() {
        let cache = AnchorCache::default();
        for round in 0..3 {
            for columns in 1..=KEPT_SIZES as i64 + 2 {
                let levels = levels_of(ImageSize { width: 8 * columns as u32, height: 8 }, &[[2, 2 * columns]], 2);
                let tensor = cache.get(&levels, 2, false, Device::Cpu);
                let kept = Vec::<f32>::try_from(tensor.reshape([-1])).unwrap();
                assert_eq!(kept, anchors(&levels, 2, false), "round {round}");
            }
        }
        assert_eq!(cache.0.lock().unwrap().len(), KEPT_SIZES);
    }

    #[test]
    fn exact_anchors_keep_their_area() {
        let found = anchors(&levels_of(ImageSize { width: 64, height: 32 }, &[[1, 2]], 2), 2, false);
        for b in found.chunks_exact(4) {
            assert!(((b[2] - b[0]) * (b[3] - b[1]) - 1024.0).abs() < 0.1);
        }
        assert!((found[12] - (found[0] + 4.0)).abs() < 1e-6, "the second column is one stride to the right");
        assert!(anchors(&[], 2, true).is_empty());
    }
}
