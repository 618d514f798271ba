//! ROIAlign (Mask R-CNN, arXiv:1703.06870) over all pyramid levels and images at once. Bilinear sampling on a regular
//! grid is separable, so the mean over a bin's samples is a sparse weighted sum of feature rows: each bin is a
//! bag of (row, weight) pairs and all bins are one `embedding_bag`, which has a gradient in libtorch.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Model;
use rayon::prelude::*;
use tch::{Kind, Tensor};

/// Rows and columns of the pooled grid.
pub const BINS: usize = 7;

/// The variant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiAlign {
    /// Pixel centres at half coordinates (detectron2), or the older convention with boxes of at least one cell.
    pub aligned: bool,
    /// Samples per bin and axis; 0 adapts them to the size of the box.
    pub sampling_ratio: usize,
}

/// A region of one image on one level.
#[derive(Debug, Clone, Copy)]
pub struct Roi {
    /// Index of the image in the batch.
    pub image: usize,
    /// Index of the level among the maps.
    pub level: usize,
    /// Model pixels.
    pub region: BoxXyxy<Model>,
}

/// One level's rows among the concatenated feature rows.
#[derive(Debug, Clone, Copy)]
struct Plane {
    first: usize,
    height: usize,
    width: usize,
    scale: f32,
}

impl RoiAlign {
    /// Pooled features f32 `[R, C, 7, 7]`. `pyramid`: f32 or bf16 `[B, C, H, W]` each, pooled in f32; `strides`: model
    /// pixels per cell.
    pub fn pool(&self, pyramid: &[Tensor], strides: &[f32], rois: &[Roi]) -> Tensor {
        let channels = pyramid[0].size()[1];
        if rois.is_empty() {
            return Tensor::zeros([0, channels, BINS as i64, BINS as i64], (Kind::Float, pyramid[0].device()));
        }
        let (mut planes, mut rows, mut first) = (Vec::new(), Vec::new(), 0);
        for (level, stride) in pyramid.iter().zip(strides) {
            let (batch, _, height, width) = level.size4().expect("levels are images");
            planes.push(Plane { first, height: height as usize, width: width as usize, scale: 1.0 / stride });
            first += (batch * height * width) as usize;
            rows.push(level.permute([0, 2, 3, 1]).reshape([-1, channels]));
        }
        let device = pyramid[0].device();
        let features = Tensor::cat(&rows, 0).to_kind(Kind::Float);
        let bags: Vec<Bags> = rois.par_iter().map(|roi| self.bags(roi, planes[roi.level])).collect();
        let entries: usize = bags.iter().map(|b| b.indices.len()).sum();
        let (mut indices, mut weights) = (Vec::with_capacity(entries), Vec::with_capacity(entries));
        let mut offsets = Vec::with_capacity(rois.len() * BINS * BINS);
        for bag in &bags {
            let base = indices.len() as i64;
            offsets.extend(bag.offsets.iter().map(|o| base + o));
            indices.extend_from_slice(&bag.indices);
            weights.extend_from_slice(&bag.weights);
        }
        let [indices, offsets] = [&indices, &offsets].map(|t| Tensor::from_slice(t).to_device(device));
        let weights = Tensor::from_slice(&weights).to_device(device);
        let (sums, ..) = Tensor::embedding_bag(&features, &indices, &offsets, false, 0, false, Some(&weights), false);
        sums.view([rois.len() as i64, (BINS * BINS) as i64, channels]).transpose(1, 2).reshape([
            -1,
            channels,
            BINS as i64,
            BINS as i64,
        ])
    }

    /// The bags of one region, row by row.
    fn bags(&self, roi: &Roi, plane: Plane) -> Bags {
        let b = roi.region;
        let (ys, count_y) = self.taps(b.y_min * plane.scale, b.y_max * plane.scale, plane.height);
        let (xs, count_x) = self.taps(b.x_min * plane.scale, b.x_max * plane.scale, plane.width);
        let share = 1.0 / ((count_y * count_x).max(1) as f32);
        let origin = plane.first + roi.image * plane.height * plane.width;
        let mut bags = Bags::default();
        for row in &ys {
            for column in &xs {
                bags.offsets.push(bags.indices.len() as i64);
                for &(y, of_row) in row {
                    for &(x, of_column) in column {
                        bags.indices.push((origin + y * plane.width + x) as i64);
                        bags.weights.push(of_row * of_column * share);
                    }
                }
            }
        }
        bags
    }

    /// Along one axis, for each bin: cells and the sums of their weights; and the number of samples per bin.
    fn taps(&self, low: f32, high: f32, size: usize) -> ([Vec<(usize, f32)>; BINS], usize) {
        let shift = if self.aligned { 0.5 } else { 0.0 };
        let (start, end) = (low - shift, high - shift);
        let length = if self.aligned { end - start } else { (end - start).max(1.0) };
        let bin = length / BINS as f32;
        // Bounds the samples of a damaged box.
        let count_max = 2 * size + 2;
        let count =
            if self.sampling_ratio > 0 { self.sampling_ratio } else { (bin.ceil().max(0.0) as usize).min(count_max) };
        let of_bin = |p: usize| {
            let mut taps: Vec<(usize, f32)> = Vec::with_capacity(2 * count);
            for i in 0..count {
                let at = start + p as f32 * bin + (i as f32 + 0.5) * bin / count as f32;
                if !(-1.0..=size as f32).contains(&at) {
                    continue;
                }
                let at = at.max(0.0);
                let cell = (at as usize).min(size - 1);
                let next = (cell + 1).min(size - 1);
                let weight = if next == cell { 0.0 } else { at - cell as f32 };
                for (cell, weight) in [(cell, 1.0 - weight), (next, weight)] {
                    match taps.last_mut() {
                        _ if weight == 0.0 => {}
                        Some(last) if last.0 == cell => last.1 += weight,
                        _ => match taps.iter_mut().find(|t| t.0 == cell) {
                            Some(tap) => tap.1 += weight,
                            None => taps.push((cell, weight)),
                        },
                    }
                }
            }
            taps
        };
        (std::array::from_fn(of_bin), count)
    }
}

#[derive(Debug, Default)]
struct Bags {
    indices: Vec<i64>,
    weights: Vec<f32>,
    offsets: Vec<i64>,
}

/// The pyramid level of a region (Lin et al. 2017, equation 1): P4 for 224 pixels.
/// `epsilon_inside`: 1e-8 inside the logarithm (detectron2) or 1e-6 outside (torchvision). Levels 2 to 5.
pub fn pyramid_level(region: &BoxXyxy<Model>, epsilon_inside: bool) -> usize {
    let size = region.area().max(0.0).sqrt();
    let level = if epsilon_inside { 4.0 + (size / 224.0 + 1e-8).log2() } else { 4.0 + (size / 224.0).log2() + 1e-6 };
    (level.floor().clamp(2.0, 5.0)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_the_published_formula() {
        for (size, level) in
            [(50.0, 2), (111.9, 2), (112.0, 3), (223.9, 3), (224.0, 4), (448.0, 5), (900.0, 5), (0.0, 2)]
        {
            let region = BoxXyxy::new(0.0, 0.0, size, size);
            for inside in [true, false] {
                assert_eq!(pyramid_level(&region, inside), level, "{size}");
            }
        }
    }

    #[test]
    fn a_constant_map_pools_to_its_constant() {
        let pyramid = [Tensor::full([1, 2, 8, 8], 3.0, (Kind::Float, tch::Device::Cpu))];
        let roi = Roi { image: 0, level: 0, region: BoxXyxy::new(8.0, 8.0, 40.0, 24.0) };
        for ratio in [0, 2] {
            let pooled = RoiAlign { aligned: true, sampling_ratio: ratio }.pool(&pyramid, &[8.0], &[roi]);
            assert!(f64::try_from((pooled - 3.0).abs().max()).unwrap() < 1e-6);
        }
    }
}
