//! A detector that looks at a film and at its mirror image: what both show is fused, so that a mirrored film has mirrored boxes.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Model;
use tch::Tensor;

use crate::detect::detector::{Detection, Detector, PseudoBoxes};
use crate::error::Result;

/// Boxes of one class above this overlap are one lesion.
const IOU_MIN: f32 = 0.5;

/// Detections of films, by one look or by two. `mirrored_views`: look at mirror images as well.
///
/// # Errors
/// Those of [`Detector::detect`].
pub fn detect(detector: &Detector, images: &Tensor, mirrored_views: bool) -> Result<Vec<Vec<Detection<Model>>>> {
    if mirrored_views { detect_both_ways(detector, images) } else { detector.detect(images) }
}

/// What a teacher proposes for films, by one look or by two.
///
/// # Errors
/// Those of [`Detector::pseudo_boxes`].
pub fn pseudo_boxes(teacher: &Detector, images: &Tensor, mirrored_views: bool) -> Result<PseudoBoxes> {
    let own = teacher.pseudo_boxes(images)?;
    if !mirrored_views {
        return Ok(own);
    }
    let turned = teacher.pseudo_boxes(&images.flip([3]))?;
    let fused = |own, turned| fused_looks(own, turned, images, teacher);
    Ok(PseudoBoxes { classes: fused(own.classes, turned.classes), sides: fused(own.sides, turned.sides) })
}

/// Detections of films and of their mirror images: place and score are means over both looks.
fn detect_both_ways(detector: &Detector, images: &Tensor) -> Result<Vec<Vec<Detection<Model>>>> {
    let (own, turned) = (detector.detect(images)?, detector.detect(&images.flip([3]))?);
    Ok(fused_looks(own, turned, images, detector))
}

/// Boxes per film, of those of the films and those of their mirror images.
fn fused_looks(
    own: Vec<Vec<Detection<Model>>>,
    turned: Vec<Vec<Detection<Model>>>,
    images: &Tensor,
    detector: &Detector,
) -> Vec<Vec<Detection<Model>>> {
    let width = images.size()[3] as f32;
    let fused = own.into_iter().zip(turned).map(|(own, turned)| {
        let turned = turned.into_iter().map(|d| mirrored(&d, width, detector.mirrored_edges())).collect();
        let mut fused = fused([own, turned]);
        fused.retain(|d| f64::from(d.score) >= detector.score_min());
        fused
    });
    fused.collect()
}

/// A detection of a mirrored film as one of the film. `edges`: see [`Detector::mirrored_edges`].
fn mirrored(d: &Detection<Model>, width: f32, edges: [usize; 4]) -> Detection<Model> {
    let edge_stds = d.edge_stds.map(|[x_min, y_min, x_max, y_max]| [x_max, y_min, x_min, y_max]);
    let edge_logits = d.edge_logits.map(|logits| edges.map(|i| logits[i]));
    Detection { region: d.region.mirrored(width), edge_stds, edge_logits, ..*d }
}

/// One box per place and class: the surest box stands for all of its class that overlap it by more than [`IOU_MIN`]; the
/// surest of these that the other look gave is its twin.
fn fused(looks: [Vec<Detection<Model>>; 2]) -> Vec<Detection<Model>> {
    let of_look = |(look, found): (usize, Vec<Detection<Model>>)| found.into_iter().map(move |d| (look, d));
    let mut left: Vec<(usize, Detection<Model>)> = looks.into_iter().enumerate().flat_map(of_look).collect();
    left.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
    let mut fused = Vec::new();
    while !left.is_empty() {
        let (look, surest) = left.remove(0);
        let there = |d: &Detection<Model>| d.class_id == surest.class_id && d.region.iou(&surest.region) > IOU_MIN;
        let twin = left.iter().find(|(other, d)| *other != look && there(d)).map(|(_, d)| *d);
        left.retain(|(_, d)| !there(d));
        fused.push(joined(&surest, twin.as_ref()));
    }
    fused.sort_by(|a, b| b.score.total_cmp(&a.score));
    fused
}

/// What two looks say of one place: means, those of places and uncertainties weighted with the scores. A look without a
/// box counts as a score of 0.
fn joined(surest: &Detection<Model>, twin: Option<&Detection<Model>>) -> Detection<Model> {
    let Some(twin) = twin else { return Detection { score: surest.score * 0.5, ..*surest } };
    let share = surest.score / (surest.score + twin.score).max(f32::MIN_POSITIVE);
    let mean = |a: [f32; 4], b: [f32; 4]| -> [f32; 4] { std::array::from_fn(|i| a[i] * share + b[i] * (1.0 - share)) };
    let [x_min, y_min, x_max, y_max] = mean(surest.region.to_array(), twin.region.to_array());
    Detection {
        class_id: surest.class_id,
        score: (surest.score + twin.score) * 0.5,
        region: BoxXyxy::new(x_min, y_min, x_max, y_max),
        edge_logits: surest.edge_logits.zip(twin.edge_logits).map(|(a, b)| mean(a, b)),
        edge_stds: surest.edge_stds.zip(twin.edge_stds).map(|(a, b)| mean(a, b)),
    }
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
        Detection { class_id, score, region, edge_logits: Some(stds), edge_stds: Some(stds) }
    }

    #[test]
    fn what_both_looks_show_is_their_mean_and_what_one_shows_counts_half() {
        // A weak box at the same place draws nothing down.
        let own = vec![
            found(3, 0.6, [10.0, 10.0, 30.0, 30.0], [1.0, 2.0, 3.0, 4.0]),
            found(3, 0.1, [12.0, 10.0, 32.0, 30.0], [9.0; 4]),
        ];
        let turned = [
            found(3, 0.6, [72.0, 10.0, 92.0, 30.0], [5.0, 2.0, 1.0, 4.0]),
            found(4, 0.8, [72.0, 10.0, 92.0, 30.0], [1.0; 4]),
        ];
        let turned = turned.iter().map(|d| mirrored(d, 100.0, [2, 1, 0, 3])).collect();
        let mut both = fused([own, turned]);
        both.sort_by_key(|d| d.class_id);
        let (a, b) = (both[0], both[1]);
        assert_eq!((both.len(), a.class_id, b.class_id), (2, 3, 4));
        assert!((a.score - 0.6).abs() < 1e-6 && (b.score - 0.4).abs() < 1e-6, "{} {}", a.score, b.score);
        for (side, wanted) in a.region.to_array().into_iter().zip([9.0, 10.0, 29.0, 30.0]) {
            assert!((side - wanted).abs() < 1e-4, "{:?}", a.region);
        }
        assert_eq!(a.edge_stds, Some([1.0, 2.0, 4.0, 4.0]));
        assert_eq!(a.edge_logits, Some([1.0, 2.0, 4.0, 4.0]));
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
