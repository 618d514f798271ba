//! Test-time augmentation (horizontal flip) and ensembling of detectors; merges their detections. A pass is one
//! detector on one version of the images. With flip test-time augmentation the detections of a mirror image are
//! mirrored.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::{ImageSize, Model};

use crate::detector::detection::{Detection, PseudoBoxes};
use crate::detector::model::Detector;
use crate::detector::pyramid::ImageBatch;
use crate::error::{Error, Result};

/// Detections of one class with a larger IoU are merged.
const IOU_MIN: f32 = 0.5;

/// Detections of one pass, one list per image.
type Pass = Vec<Vec<Detection<Model>>>;

/// Detections of a batch. `flip_tta`: merged from the images and their mirror images.
///
/// # Errors
/// Those of [`Detector::detect`].
pub fn detect(detector: &Detector, batch: &ImageBatch, flip_tta: bool) -> Result<Vec<Vec<Detection<Model>>>> {
    if !flip_tta {
        return detector.detect(batch);
    }
    let flipped = unflipped(detector.detect(&batch.mirrored())?, &batch.sizes);
    Ok(merged_passes(vec![detector.detect(batch)?, flipped], detector.score_min()))
}

/// Detections of an ensemble of teachers, for pseudo-labels. `flip_tta`: each with flip test-time augmentation.
///
/// # Errors
/// [`Error::Internal`] without a teacher; those of [`Detector::pseudo_boxes`].
pub fn pseudo_boxes(teachers: &[&Detector], batch: &ImageBatch, flip_tta: bool) -> Result<PseudoBoxes> {
    let (mut classes, mut edges) = (Vec::new(), Vec::new());
    for teacher in teachers {
        let found = teacher.pseudo_boxes(batch)?;
        classes.push(found.classes);
        edges.push(found.edges);
        if flip_tta {
            let flipped = teacher.pseudo_boxes(&batch.mirrored())?;
            classes.push(unflipped(flipped.classes, &batch.sizes));
            edges.push(unflipped(flipped.edges, &batch.sizes));
        }
    }
    let first = teachers.first().ok_or_else(|| Error::Internal("pseudo-labels need at least one teacher".into()))?;
    let merge = |passes| merged_passes(passes, first.score_min());
    Ok(PseudoBoxes { classes: merge(classes), edges: merge(edges) })
}

/// Detections of the mirror images of images of these sizes as detections of the images.
fn unflipped(pass: Pass, sizes: &[ImageSize]) -> Pass {
    let of_image = |(found, size): (Vec<Detection<Model>>, &ImageSize)| {
        found.iter().map(|d| mirrored(d, size.width as f32)).collect()
    };
    pass.into_iter().zip(sizes).map(of_image).collect()
}

/// The detection in the mirror image of an image `width` pixels wide.
fn mirrored(d: &Detection<Model>, width: f32) -> Detection<Model> {
    let swapped = |[x_min, y_min, x_max, y_max]: [f32; 4]| [x_max, y_min, x_min, y_max];
    Detection {
        region: d.region.mirrored(width),
        edge_logits: d.edge_logits.map(swapped),
        edge_stds: d.edge_stds.map(swapped),
        ..*d
    }
}

/// Per image the merged detections of all passes that score `score_min` or more. A single pass is returned unchanged.
fn merged_passes(mut passes: Vec<Pass>, score_min: f64) -> Pass {
    if passes.len() < 2 {
        return passes.pop().unwrap_or_default();
    }
    let images = passes.first().map_or(0, Vec::len);
    let of_image = |image: usize| {
        let mut found = merged(passes.iter_mut().map(|pass| std::mem::take(&mut pass[image])).collect());
        found.retain(|d| f64::from(d.score) >= score_min);
        found
    };
    (0..images).map(of_image).collect()
}

/// Merges the detections of one image, one list per pass. The highest-scoring detection forms a cluster with the best
/// detection of each other pass among those of its class that overlap it by more than [`IOU_MIN`]; all of these are
/// removed, and so on.
fn merged(passes: Vec<Vec<Detection<Model>>>) -> Vec<Detection<Model>> {
    let count = passes.len();
    let of_pass = |(pass, found): (usize, Vec<Detection<Model>>)| found.into_iter().map(move |d| (pass, d));
    let mut left: Vec<(usize, Detection<Model>)> = passes.into_iter().enumerate().flat_map(of_pass).collect();
    left.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
    let mut merged = Vec::new();
    while !left.is_empty() {
        let (pass, best) = left.remove(0);
        let overlaps = |d: &Detection<Model>| d.class_id == best.class_id && d.region.iou(&best.region) > IOU_MIN;
        let (mut has_member, mut cluster) = (vec![false; count], vec![best]);
        has_member[pass] = true;
        for (pass, d) in left.iter().filter(|(_, d)| overlaps(d)) {
            if !std::mem::replace(&mut has_member[*pass], true) {
                cluster.push(*d);
            }
        }
        left.retain(|(_, d)| !overlaps(d));
        merged.push(mean(&cluster, count));
    }
    merged.sort_by(|a, b| b.score.total_cmp(&a.score));
    merged
}

/// The mean of a cluster over `passes` passes; a pass without a member counts with a score of 0. Boxes and
/// uncertainties are means weighted with the scores.
fn mean(cluster: &[Detection<Model>], passes: usize) -> Detection<Model> {
    let sum: f32 = cluster.iter().map(|d| d.score).sum();
    let weighted = |of: &dyn Fn(&Detection<Model>) -> Option<[f32; 4]>| {
        let mut total = [0.0; 4];
        for d in cluster {
            let share = d.score / sum.max(f32::MIN_POSITIVE);
            let values = of(d)?;
            total = std::array::from_fn(|i| total[i] + values[i] * share);
        }
        Some(total)
    };
    let first = cluster[0];
    let region = weighted(&|d| Some(d.region.to_array()));
    Detection {
        class_id: first.class_id,
        score: sum / passes as f32,
        region: region.map_or(first.region, |[x_min, y_min, x_max, y_max]| BoxXyxy::new(x_min, y_min, x_max, y_max)),
        edge_logits: weighted(&|d| d.edge_logits),
        edge_stds: weighted(&|d| d.edge_stds),
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::config::detector::DetectorModelConfig;
    use crate::config::{Layers, resolve};

    fn found(class_id: i32, score: f32, at: [f32; 4], stds: [f32; 4]) -> Detection<Model> {
        let [x_min, y_min, x_max, y_max] = at;
        let region = BoxXyxy::new(x_min, y_min, x_max, y_max);
        Detection { class_id, score, region, edge_logits: Some(stds), edge_stds: Some(stds) }
    }

    #[test]
    fn detections_of_both_passes_are_averaged_and_those_of_one_pass_count_half() {
        // A second, low-scoring box of the same pass at the same place does not change the mean.
        let own = vec![
            found(3, 0.6, [10.0, 10.0, 30.0, 30.0], [1.0, 2.0, 3.0, 4.0]),
            found(3, 0.1, [12.0, 10.0, 32.0, 30.0], [9.0; 4]),
        ];
        let flipped = [
            found(3, 0.6, [72.0, 10.0, 92.0, 30.0], [5.0, 2.0, 1.0, 4.0]),
            found(4, 0.8, [72.0, 10.0, 92.0, 30.0], [1.0; 4]),
        ];
        let flipped = flipped.iter().map(|d| mirrored(d, 100.0)).collect();
        let mut both = merged(vec![own, flipped]);
        both.sort_by_key(|d| d.class_id);
        let (a, b) = (both[0], both[1]);
        assert_eq!((both.len(), a.class_id, b.class_id), (2, 3, 4));
        assert!((a.score - 0.6).abs() < 1e-6 && (b.score - 0.4).abs() < 1e-6, "{} {}", a.score, b.score);
        for (edge, wanted) in a.region.to_array().into_iter().zip([9.0, 10.0, 29.0, 30.0]) {
            assert!((edge - wanted).abs() < 1e-4, "{:?}", a.region);
        }
        assert_eq!(a.edge_stds, Some([1.0, 2.0, 4.0, 4.0]));
        assert_eq!(a.edge_logits, Some([1.0, 2.0, 4.0, 4.0]));
    }

    #[test]
    fn the_best_box_of_each_pass_counts_once() {
        let at = |score, x: f32| found(3, score, [x, 10.0, x + 20.0, 30.0], [1.0; 4]);
        let passes = vec![vec![at(0.6, 10.0), at(0.5, 11.0)], vec![], vec![at(0.3, 13.0)], vec![at(0.8, 60.0)]];
        let all = merged(passes);
        let scores: Vec<f32> = all.iter().map(|d| d.score).collect();
        assert_eq!(all.len(), 2);
        for (score, wanted) in scores.iter().zip([(0.6 + 0.3) / 4.0, 0.8 / 4.0]) {
            assert!((score - wanted).abs() < 1e-6, "{scores:?}");
        }
        assert!((all[0].region.x_min - 11.0).abs() < 1e-4, "{:?}", all[0].region);
    }

    #[test]
    fn flip_tta_gives_mirrored_boxes_for_a_mirrored_image() {
        let layers = Layers { preset: Some("tiny".into()), ..Layers::default() };
        let config = resolve(&layers).unwrap().config.detector.model;
        tch::manual_seed(3);
        let detector =
            Detector::new(&DetectorModelConfig { score_min: 0.0, candidates_per_level: 4, ..config }, Device::Cpu)
                .unwrap();
        // Both fill the batch, or one is narrower and padded at the right.
        for widths in [[64, 64], [64, 40]] {
            let images = Tensor::randn([2, 1, 64, 64], (Kind::Float, Device::Cpu));
            let sizes = widths.map(|width| ImageSize { width, height: 64 }).to_vec();
            let padding = images.narrow(0, 1, 1).narrow(3, i64::from(widths[1]), 64 - i64::from(widths[1]));
            let _ = padding.shallow_clone().zero_();
            let batch = ImageBatch { images, sizes: sizes.clone() };
            let own = detect(&detector, &batch, true).unwrap();
            let of_flipped = detect(&detector, &batch.mirrored(), true).unwrap();
            let found_in = |d: &Detection<Model>, others: &[Detection<Model>], size: &ImageSize| {
                others.iter().any(|o| {
                    o.class_id == d.class_id
                        && (o.score - d.score).abs() < 1e-4
                        && o.region.iou(&d.region.mirrored(size.width as f32)) > 0.99
                })
            };
            for ((a, b), size) in own.iter().zip(&of_flipped).zip(&sizes) {
                assert!(!a.is_empty());
                assert_eq!(a.len(), b.len());
                assert!(a.iter().all(|d| found_in(d, b, size)));
                assert!(a.iter().all(|d| d.region.x_max <= size.width as f32), "nothing in the padding");
            }
            let (own, flipped) = (detector.detect(&batch).unwrap(), detector.detect(&batch.mirrored()).unwrap());
            let symmetric = own[0].iter().all(|d| found_in(d, &flipped[0], &sizes[0]));
            assert!(!symmetric, "the detector alone must not be symmetric");
        }
    }
}
