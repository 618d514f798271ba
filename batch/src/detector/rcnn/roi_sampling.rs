//! Which proposals the second stage learns from: those that overlap a box by half or more learn its class, the others
//! are background; at most a quarter is foreground. The boxes themselves are proposals too.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Model;

use crate::config::detector::RcnnConfig;
use crate::detector::rcnn::rpn::Proposals;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::target::Target;

/// A proposal is foreground from this IoU on.
const FOREGROUND_IOU: f32 = 0.5;
/// Largest share of foreground.
const FOREGROUND_SHARE: f64 = 0.25;

/// The sampled regions of a batch, image after image, foreground first.
#[derive(Debug, Clone, Default)]
pub struct SampledRois {
    /// The image's place in the batch, and the region.
    pub rois: Vec<(usize, BoxXyxy<Model>)>,
    /// What each learns; `None` is background.
    pub matched: Vec<Option<Target>>,
}

/// A subset per image of the proposals and the boxes. What overlaps a box of `aside` (one list per image, or none at all) by half
/// or more is no background.
pub fn sample(
    proposals: &[Proposals],
    (targets, aside): (&[Vec<Target>], &[Vec<Target>]),
    config: &RcnnConfig,
    draw: &mut Draw,
) -> SampledRois {
    let mut sampled = SampledRois::default();
    let most = config.rois_per_image;
    for (image, (proposals, targets)) in proposals.iter().zip(targets).enumerate() {
        let proper: Vec<&Target> = targets.iter().filter(|t| t.region.is_proper()).collect();
        let mut regions = proposals.clone();
        regions.extend(proper.iter().map(|t| t.region));
        let matched: Vec<Option<Target>> = regions.iter().map(|r| best(r, &proper)).collect();
        let (foreground, background): (Vec<usize>, Vec<usize>) =
            (0..regions.len()).partition(|&i| matched[i].is_some());
        let silent: Vec<&Target> = aside.get(image).into_iter().flatten().filter(|t| t.region.is_proper()).collect();
        let background = background.into_iter().filter(|&i| best(&regions[i], &silent).is_none()).collect();
        let foreground = draw.choose(foreground, (most as f64 * FOREGROUND_SHARE) as usize);
        let background = draw.choose(background, most - foreground.len());
        for i in foreground.into_iter().chain(background) {
            sampled.rois.push((image, regions[i]));
            sampled.matched.push(matched[i]);
        }
    }
    sampled
}

/// The box that a region overlaps most, if by half; the first of several.
fn best(region: &BoxXyxy<Model>, targets: &[&Target]) -> Option<Target> {
    let mut best: Option<(f32, &Target)> = None;
    for target in targets {
        let iou = target.region.iou(region);
        if best.is_none_or(|(known, _)| iou > known) {
            best = Some((iou, target));
        }
    }
    best.filter(|(iou, _)| *iou >= FOREGROUND_IOU).map(|(_, t)| *t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_proposals_and_background_fills_up() {
        let config = RcnnConfig { rois_per_image: 4, ..RcnnConfig::default() };
        let b = |x: f32| BoxXyxy::new(x, 0.0, x + 10.0, 10.0);
        let proposals = vec![vec![b(0.0), b(1.0), b(40.0), b(60.0), b(80.0), b(90.0)], vec![b(0.0)], Vec::new()];
        let targets = vec![vec![Target::truth(3, b(0.0))], Vec::new(), Vec::new()];
        let sampled = sample(&proposals, (&targets, &[]), &config, &mut Draw::First);
        let classes: Vec<Option<i32>> = sampled.matched.iter().map(|m| m.map(|t| t.class_id)).collect();
        assert_eq!(classes, [Some(3), None, None, None, None]);
        assert_eq!(sampled.rois.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [0, 0, 0, 0, 1]);
        let aside = vec![vec![Target::truth(5, b(62.0)), Target::truth(5, b(0.0))], Vec::new(), Vec::new()];
        let sampled = sample(&proposals, (&targets, &aside), &config, &mut Draw::First);
        let places: Vec<f32> = sampled.rois.iter().filter(|(i, _)| *i == 0).map(|(_, r)| r.x_min).collect();
        assert_eq!(places, [0.0, 40.0, 80.0, 90.0], "what learns a box still does");
    }

    #[test]
    fn half_an_overlap_is_foreground() {
        let target = Target::truth(0, BoxXyxy::new(0.0, 0.0, 10.0, 10.0));
        let half = BoxXyxy::new(0.0, 0.0, 10.0, 5.0);
        assert!(best(&half, &[&target]).is_some());
        assert!(best(&BoxXyxy::new(0.0, 0.0, 10.0, 4.9), &[&target]).is_none());
    }
}
