//! The student's loss on annotated boxes: of weakly augmented images, or the mean over weakly and strongly augmented
//! ones.

use crate::detector::losses::DetectionLosses;
use crate::detector::model::{BatchNormStatistics, Detector};
use crate::detector::pyramid::ImageBatch;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::target::{BatchTargets, Target};
use crate::error::Result;

/// Losses of the weakly augmented images, or the mean over both augmentations. Each is a batch of its own with its own
/// batch statistics; only the weakly augmented batch, which is like a teacher's input, updates the running statistics.
/// `boxes`: of both.
///
/// # Errors
/// Those of [`Detector::losses`].
pub fn labelled_loss(
    student: &Detector,
    weak: &ImageBatch,
    strong: Option<&ImageBatch>,
    boxes: &[Vec<Target>],
    draw: &mut Draw,
) -> Result<DetectionLosses> {
    let targets = BatchTargets::labelled(boxes);
    let of_weak = student.losses(weak, targets, draw, BatchNormStatistics::Updated)?;
    let Some(strong) = strong else { return Ok(of_weak) };
    Ok(of_weak.mean(&student.losses(strong, targets, draw, BatchNormStatistics::Frozen)?))
}

#[cfg(test)]
mod tests {
    use d2r_contracts::boxes::BoxXyxy;
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::config::{Layers, resolve};

    #[test]
    fn strong_augmentation_counts_half_and_does_not_update_running_statistics() {
        let config =
            resolve(&Layers { preset: Some("tiny".into()), ..Layers::default() }).unwrap().config.detector.model;
        let detector = || {
            tch::manual_seed(5);
            Detector::new(&config, Device::Cpu).unwrap()
        };
        let (a, b) = (detector(), detector());
        tch::manual_seed(6);
        let weak = ImageBatch::unpadded(&Tensor::randn([2, 1, 64, 64], (Kind::Float, Device::Cpu))).unwrap();
        let strong = Tensor::randn([2, 1, 64, 64], (Kind::Float, Device::Cpu)) * 3.0 + 4.0;
        let strong = ImageBatch::unpadded(&strong).unwrap();
        let boxes = vec![vec![Target::truth(2, BoxXyxy::new(8.0, 8.0, 40.0, 40.0))], Vec::new()];
        let of = |t: &Tensor| f64::try_from(t).unwrap();
        let both = labelled_loss(&a, &weak, Some(&strong), &boxes, &mut Draw::First).unwrap().total();
        let alone = labelled_loss(&b, &weak, None, &boxes, &mut Draw::First).unwrap().total();
        for (name, variable) in a.variables().variables() {
            let gap = (&variable - &b.variables().variables()[&name]).abs().max();
            assert_eq!(of(&gap), 0.0, "{name}");
        }
        let targets = BatchTargets::labelled(&boxes);
        let of_strong = b.losses(&strong, targets, &mut Draw::First, BatchNormStatistics::Updated).unwrap().total();
        assert!((of(&both) - (of(&alone) + of(&of_strong)) / 2.0).abs() < 1e-5);
        let moved = a.variables().variables().into_iter().filter(|(name, _)| name.ends_with("running_mean"));
        let gaps: Vec<f64> = moved.map(|(name, v)| of(&(v - &b.variables().variables()[&name]).abs().max())).collect();
        assert!(gaps.iter().any(|g| *g > 0.0), "a pass with `Updated` changes them");
    }
}
