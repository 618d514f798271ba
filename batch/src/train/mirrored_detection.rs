//! A detector that looks at a film and at its mirror image: what both show is fused, so that a mirrored film has mirrored boxes.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Model;
use tch::Tensor;

use crate::data::fusion::{Fused, Fusion, Marked, Reader, fuse};
use crate::detect::detector::{Detection, Detector};
use crate::error::Result;

/// Boxes of one class above this overlap are one lesion seen twice; the value of the published implementation.
const IOU_MIN: f64 = 0.55;

/// Detections of films, by one look or by two. `mirrored_views`: look at mirror images as well.
///
/// # Errors
/// Those of [`Detector::detect`].
pub fn detect(detector: &Detector, images: &Tensor, mirrored_views: bool) -> Result<Vec<Vec<Detection<Model>>>> {
    if mirrored_views { detect_both_ways(detector, images) } else { detector.detect(images) }
}

/// Detections of films and of their mirror images, by weighted boxes fusion (Solovyev et al. 2021): place and score are means over both
/// looks, and a look that shows nothing counts as a score of 0.
fn detect_both_ways(detector: &Detector, images: &Tensor) -> Result<Vec<Vec<Detection<Model>>>> {
    let (own, turned) = (detector.detect(images)?, detector.detect(&images.flip([3]))?);
    let (width, height) = (images.size()[3] as f32, images.size()[2] as f32);
    let fused = own.into_iter().zip(turned).map(|(own, turned)| {
        let turned = turned.into_iter().map(|d| mirrored(&d, width)).collect();
        let mut fused = fused([own, turned], (width, height));
        fused.retain(|d| f64::from(d.score) >= detector.score_min());
        fused
    });
    Ok(fused.collect())
}

/// A detection of a mirrored film as one of the film.
fn mirrored(d: &Detection<Model>, width: f32) -> Detection<Model> {
    let edge_stds = d.edge_stds.map(|[x_min, y_min, x_max, y_max]| [x_max, y_min, x_min, y_max]);
    Detection { region: d.region.mirrored(width), edge_stds, edge_logits: None, ..*d }
}

fn fused(looks: [Vec<Detection<Model>>; 2], (width, height): (f32, f32)) -> Vec<Detection<Model>> {
    let size = [width, height, width, height].map(f64::from);
    let marked = |d: &Detection<Model>| {
        let at = d.region.to_array();
        let xyxy = std::array::from_fn(|i| f64::from(at[i]) / size[i]);
        Marked { label: d.class_id, score: f64::from(d.score), xyxy }
    };
    let readers = looks.each_ref().map(|look| Reader { weight: 1.0, boxes: look.iter().map(marked).collect() });
    let one = |f: Fused| {
        let [x_min, y_min, x_max, y_max] = std::array::from_fn(|i| (f.xyxy[i] * size[i]) as f32);
        let stds: Option<Vec<[f32; 4]>> = f.members.iter().map(|&(look, i)| looks[look][i].edge_stds).collect();
        let mean = |stds: Vec<[f32; 4]>| -> [f32; 4] {
            std::array::from_fn(|side| stds.iter().map(|s| s[side]).sum::<f32>() / stds.len() as f32)
        };
        Detection {
            class_id: f.label,
            score: f.score as f32,
            region: BoxXyxy::new(x_min, y_min, x_max, y_max),
            edge_logits: None,
            edge_stds: stds.map(mean),
        }
    };
    fuse(&readers, &Fusion::of_readers(IOU_MIN)).into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::config::detector::DetectorModelConfig;
    use crate::config::{Layers, resolve};

    fn found(class_id: i32, score: f32, at: [f32; 4], stds: [f32; 4]) -> Detection<Model> {
        let [x_min, y_min, x_max, y_max] = at;
        let region = BoxXyxy::new(x_min, y_min, x_max, y_max);
        Detection { class_id, score, region, edge_logits: Some([0.0; 4]), edge_stds: Some(stds) }
    }

    #[test]
    fn what_both_looks_show_is_their_mean_and_what_one_shows_counts_half() {
        let own = vec![found(3, 0.6, [10.0, 10.0, 30.0, 30.0], [1.0, 2.0, 3.0, 4.0])];
        let turned = [
            found(3, 0.6, [72.0, 10.0, 92.0, 30.0], [5.0, 2.0, 1.0, 4.0]),
            found(4, 0.8, [72.0, 10.0, 92.0, 30.0], [1.0; 4]),
        ];
        let turned = turned.iter().map(|d| mirrored(d, 100.0)).collect();
        let mut both = fused([own, turned], (100.0, 50.0));
        both.sort_by_key(|d| d.class_id);
        let (a, b) = (both[0], both[1]);
        assert_eq!((both.len(), a.class_id, b.class_id), (2, 3, 4));
        assert!((a.score - 0.6).abs() < 1e-6 && (b.score - 0.4).abs() < 1e-6, "{} {}", a.score, b.score);
        for (side, wanted) in a.region.to_array().into_iter().zip([9.0, 10.0, 29.0, 30.0]) {
            assert!((side - wanted).abs() < 1e-4, "{:?}", a.region);
        }
        assert_eq!(a.edge_stds, Some([1.0, 2.0, 4.0, 4.0]));
        assert_eq!(a.edge_logits, None);
    }

    #[test]
    fn a_mirrored_film_has_mirrored_boxes() {
        let layers = Layers { preset: Some("tiny".into()), ..Layers::default() };
        let config = resolve(&layers).unwrap().config.detector.model;
        tch::manual_seed(3);
        let detector =
            Detector::new(&DetectorModelConfig { score_min: 0.0, candidates_per_level: 4, ..config }, Device::Cpu)
                .unwrap();
        let films = Tensor::randn([2, 1, 64, 64], (Kind::Float, Device::Cpu));
        let turned = films.flip([3]);
        let own = detect_both_ways(&detector, &films).unwrap();
        let mirrored_films = detect_both_ways(&detector, &turned).unwrap();
        let there = |d: &Detection<Model>, others: &[Detection<Model>]| {
            others.iter().any(|o| {
                o.class_id == d.class_id
                    && (o.score - d.score).abs() < 1e-4
                    && o.region.iou(&d.region.mirrored(64.0)) > 0.99
            })
        };
        for (a, b) in own.iter().zip(&mirrored_films) {
            assert!(!a.is_empty());
            assert_eq!(a.len(), b.len());
            assert!(a.iter().all(|d| there(d, b)));
        }
        let (one_way, turned) = (detector.detect(&films).unwrap(), detector.detect(&turned).unwrap());
        assert!(!one_way[0].iter().all(|d| there(d, &turned[0])), "the detector alone must not be symmetric");
    }
}
