//! Proposals that the RoI heads are trained on: those with an IoU of 0.5 or more with a target are foreground of its
//! class, the others are background; at most a quarter is foreground. The target boxes are proposals too.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Model;

use crate::config::detector::RcnnConfig;
use crate::detector::rcnn::rpn::Proposals;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::target::{BatchTargets, Target};

/// A proposal is foreground from this IoU on.
const FOREGROUND_IOU: f32 = 0.5;
/// Largest share of foreground.
const FOREGROUND_SHARE: f64 = 0.25;

/// A region of one image of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageRegion {
    /// Index of the image in the batch.
    pub image: usize,
    /// Model pixels.
    pub region: BoxXyxy<Model>,
}

/// The sampled regions of a batch, image after image, foreground first.
#[derive(Debug, Clone, Default)]
pub struct SampledRois {
    pub rois: Vec<ImageRegion>,
    /// The target of each region; `None` is background.
    pub matched: Vec<Option<Target>>,
}

/// A subset per image of the proposals and the target boxes. Regions that overlap an ignore region by 0.5 or more are
/// not background.
pub fn sample(proposals: &[Proposals], targets: BatchTargets, config: &RcnnConfig, draw: &mut Draw) -> SampledRois {
    let mut sampled = SampledRois::default();
    let per_image = config.rois_per_image;
    let ignored = targets.ignored;
    for (image, (proposals, targets)) in proposals.iter().zip(targets.classes).enumerate() {
        let proper: Vec<&Target> = targets.iter().filter(|t| t.region.is_proper()).collect();
        let mut regions = proposals.clone();
        regions.extend(proper.iter().map(|t| t.region));
        let matched: Vec<Option<Target>> = regions.iter().map(|r| best(r, &proper)).collect();
        let (foreground, background): (Vec<usize>, Vec<usize>) =
            (0..regions.len()).partition(|&i| matched[i].is_some());
        let ignored: Vec<&Target> = ignored.get(image).into_iter().flatten().filter(|t| t.region.is_proper()).collect();
        let background = background.into_iter().filter(|&i| best(&regions[i], &ignored).is_none()).collect();
        let foreground = draw.choose(foreground, (per_image as f64 * FOREGROUND_SHARE) as usize);
        let background = draw.choose(background, per_image - foreground.len());
        for i in foreground.into_iter().chain(background) {
            sampled.rois.push(ImageRegion { image, region: regions[i] });
            sampled.matched.push(matched[i]);
        }
    }
    sampled
}

/// The target with the highest IoU with the region, if it reaches 0.5; the first of several.
fn best(region: &BoxXyxy<Model>, targets: &[&Target]) -> Option<Target> {
    let mut best: Option<(f32, &Target)> = None;
    for target in targets {
        let iou = target.region.iou(region);
        if best.is_none_or(|(highest, _)| iou > highest) {
            best = Some((iou, target));
        }
    }
    best.filter(|(iou, _)| *iou >= FOREGROUND_IOU).map(|(_, t)| *t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::target::Supervision;

    #[test]
    fn target_boxes_are_proposals_and_background_fills_the_rest() {
        let config = RcnnConfig { rois_per_image: 4, ..RcnnConfig::torchvision_v1() };
        let b = |x: f32| BoxXyxy::new(x, 0.0, x + 10.0, 10.0);
        let proposals = vec![vec![b(0.0), b(1.0), b(40.0), b(60.0), b(80.0), b(90.0)], vec![b(0.0)], Vec::new()];
        let targets = vec![vec![Target::truth(3, b(0.0))], Vec::new(), Vec::new()];
        let sampled = sample(&proposals, BatchTargets::labelled(&targets), &config, &mut Draw::First);
        let classes: Vec<Option<i32>> = sampled.matched.iter().map(|m| m.map(|t| t.class_id)).collect();
        assert_eq!(classes, [Some(3), None, None, None, None]);
        assert_eq!(sampled.rois.iter().map(|r| r.image).collect::<Vec<_>>(), [0, 0, 0, 0, 1]);
        let ignored = vec![vec![Target::truth(5, b(62.0)), Target::truth(5, b(0.0))], Vec::new(), Vec::new()];
        let with_ignored =
            BatchTargets { classes: &targets, edges: &targets, ignored: &ignored, supervision: Supervision::Pseudo };
        let sampled = sample(&proposals, with_ignored, &config, &mut Draw::First);
        let places: Vec<f32> = sampled.rois.iter().filter(|r| r.image == 0).map(|r| r.region.x_min).collect();
        assert_eq!(places, [0.0, 40.0, 80.0, 90.0], "foreground stays foreground");
    }

    #[test]
    fn an_iou_of_one_half_is_foreground() {
        let target = Target::truth(0, BoxXyxy::new(0.0, 0.0, 10.0, 10.0));
        let half = BoxXyxy::new(0.0, 0.0, 10.0, 5.0);
        assert!(best(&half, &[&target]).is_some());
        assert!(best(&BoxXyxy::new(0.0, 0.0, 10.0, 4.9), &[&target]).is_none());
    }
}
