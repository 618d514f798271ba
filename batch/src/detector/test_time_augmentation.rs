//! Several looks at one film, by one detector or by a committee, at the film and at its mirror image: what they show is joined.
//! With mirror images a mirrored film has mirrored boxes.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Model;
use tch::Tensor;

use crate::detector::detection::{Detection, PseudoBoxes};
use crate::detector::detector::Detector;
use crate::error::{Error, Result};

/// Boxes of one class above this overlap are one lesion.
const IOU_MIN: f32 = 0.5;

/// What one look shows: a list per film.
type Look = Vec<Vec<Detection<Model>>>;

/// Detections of films, by one look or by two. `flip_tta`: look at mirror images as well.
///
/// # Errors
/// Those of [`Detector::detect`].
pub fn detect(detector: &Detector, images: &Tensor, flip_tta: bool) -> Result<Look> {
    if !flip_tta {
        return detector.detect(images);
    }
    let turned = turned_back(detector.detect(&images.flip([3]))?, images, detector);
    Ok(joined_looks(vec![detector.detect(images)?, turned], detector.score_min()))
}

/// What teachers propose for films together, each by one look or by two.
///
/// # Errors
/// [`Error::Internal`] without a teacher; those of [`Detector::pseudo_boxes`].
pub fn pseudo_boxes(teachers: &[&Detector], images: &Tensor, flip_tta: bool) -> Result<PseudoBoxes> {
    let (mut classes, mut edges) = (Vec::new(), Vec::new());
    for teacher in teachers {
        let own = teacher.pseudo_boxes(images)?;
        classes.push(own.classes);
        edges.push(own.edges);
        if flip_tta {
            let turned = teacher.pseudo_boxes(&images.flip([3]))?;
            classes.push(turned_back(turned.classes, images, teacher));
            edges.push(turned_back(turned.edges, images, teacher));
        }
    }
    let first = teachers.first().ok_or_else(|| Error::Internal("nobody labels unlabelled films".into()))?;
    let join = |looks| joined_looks(looks, first.score_min());
    Ok(PseudoBoxes { classes: join(classes), edges: join(edges) })
}

/// Detections of mirror images of `images` as detections of the images.
fn turned_back(look: Look, images: &Tensor, detector: &Detector) -> Look {
    let (width, edges) = (images.size()[3] as f32, detector.mirrored_edges());
    let of_film = |film: Vec<Detection<Model>>| film.iter().map(|d| mirrored(d, width, edges)).collect();
    look.into_iter().map(of_film).collect()
}

/// A detection of a mirrored film as one of the film. `edges`: see [`Detector::mirrored_edges`].
fn mirrored(d: &Detection<Model>, width: f32, edges: [usize; 4]) -> Detection<Model> {
    let edge_stds = d.edge_stds.map(|[x_min, y_min, x_max, y_max]| [x_max, y_min, x_min, y_max]);
    let edge_logits = d.edge_logits.map(|logits| edges.map(|i| logits[i]));
    Detection { region: d.region.mirrored(width), edge_stds, edge_logits, ..*d }
}

/// Boxes per film of all looks together, those that score `score_min` or more. One look stays as it is.
fn joined_looks(mut looks: Vec<Look>, score_min: f64) -> Look {
    if looks.len() < 2 {
        return looks.pop().unwrap_or_default();
    }
    let films = looks.first().map_or(0, Vec::len);
    let of_film = |film: usize| {
        let mut found = joined(looks.iter_mut().map(|look| std::mem::take(&mut look[film])).collect());
        found.retain(|d| f64::from(d.score) >= score_min);
        found
    };
    (0..films).map(of_film).collect()
}

/// One box per place and class: the surest box stands for all of its class that overlap it by more than [`IOU_MIN`], together
/// with the surest of these that each other look gave.
fn joined(looks: Vec<Vec<Detection<Model>>>) -> Vec<Detection<Model>> {
    let count = looks.len();
    let of_look = |(look, found): (usize, Vec<Detection<Model>>)| found.into_iter().map(move |d| (look, d));
    let mut left: Vec<(usize, Detection<Model>)> = looks.into_iter().enumerate().flat_map(of_look).collect();
    left.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
    let mut found = Vec::new();
    while !left.is_empty() {
        let (look, surest) = left.remove(0);
        let there = |d: &Detection<Model>| d.class_id == surest.class_id && d.region.iou(&surest.region) > IOU_MIN;
        let (mut heard, mut seen) = (vec![false; count], vec![surest]);
        heard[look] = true;
        for (look, d) in left.iter().filter(|(_, d)| there(d)) {
            if !std::mem::replace(&mut heard[*look], true) {
                seen.push(*d);
            }
        }
        left.retain(|(_, d)| !there(d));
        found.push(mean(&seen, count));
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

/// What `looks` looks say of one place, those of them that show something there: means, those of places and uncertainties
/// weighted with the scores. A look without a box counts as a score of 0.
fn mean(seen: &[Detection<Model>], looks: usize) -> Detection<Model> {
    let sum: f32 = seen.iter().map(|d| d.score).sum();
    let weighted = |of: &dyn Fn(&Detection<Model>) -> Option<[f32; 4]>| {
        let mut total = [0.0; 4];
        for d in seen {
            let share = d.score / sum.max(f32::MIN_POSITIVE);
            let values = of(d)?;
            total = std::array::from_fn(|i| total[i] + values[i] * share);
        }
        Some(total)
    };
    let first = seen[0];
    let region = weighted(&|d| Some(d.region.to_array()));
    Detection {
        class_id: first.class_id,
        score: sum / looks as f32,
        region: region.map_or(first.region, |[x_min, y_min, x_max, y_max]| BoxXyxy::new(x_min, y_min, x_max, y_max)),
        edge_logits: weighted(&|d| d.edge_logits),
        edge_stds: weighted(&|d| d.edge_stds),
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
        let mut both = joined(vec![own, turned]);
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
    fn of_each_look_the_surest_box_counts_once() {
        let at = |score, x: f32| found(3, score, [x, 10.0, x + 20.0, 30.0], [1.0; 4]);
        let looks = vec![vec![at(0.6, 10.0), at(0.5, 11.0)], vec![], vec![at(0.3, 13.0)], vec![at(0.8, 60.0)]];
        let all = joined(looks);
        let scores: Vec<f32> = all.iter().map(|d| d.score).collect();
        assert_eq!(all.len(), 2);
        for (score, wanted) in scores.iter().zip([(0.6 + 0.3) / 4.0, 0.8 / 4.0]) {
            assert!((score - wanted).abs() < 1e-6, "{scores:?}");
        }
        assert!((all[0].region.x_min - 11.0).abs() < 1e-4, "{:?}", all[0].region);
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
        let own = detect(&detector, &films, true).unwrap();
        let mirrored_films = detect(&detector, &turned, true).unwrap();
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
