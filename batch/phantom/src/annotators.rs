//! Simulated annotators: three of them box the same film. Edges move by a few percent of the box, lesions are
//! missed (small ones more often), and now and then something is boxed that is not there. Those of realistic phantoms
//! ([`realistic`]) differ by class and name other classes too.

pub mod realistic;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::lesion_class_id;
use d2r_contracts::space::Original;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A lesion as drawn, or as boxed by a annotator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Boxed {
    /// Index in the 22 labels.
    pub class_id: i32,
    /// Original pixels.
    pub box_: BoxXyxy<Original>,
    /// Drawn small, and easily missed.
    pub small: bool,
}

/// The boxes of one annotator for one film.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// `R1` to `R17`.
    pub reader_id: String,
    /// Empty for the annotation "No finding".
    pub boxes: Vec<Boxed>,
}

/// Standard deviation of an edge, as a share of the box's width or height.
const JITTER: f32 = 0.03;
/// Of the test split, where five annotators agreed on a box.
const CONSENSUS_JITTER: f32 = 0.008;
const MISSED: f64 = 0.08;
const MISSED_SMALL: f64 = 0.2;
/// Share of readings with a box where nothing is drawn.
const EXTRA: f64 = 0.03;
/// Classes of those false boxes.
const EXTRA_CLASSES: [&str; 5] = ["Nodule/Mass", "Lung Opacity", "Infiltration", "Pleural thickening", "Other lesion"];

/// The boxes of three different annotators of one film, `width` x `height` pixels, by annotator number.
pub fn three_readings(drawn: &[Boxed], width: f32, height: f32, rng: &mut ChaCha8Rng) -> Vec<Reading> {
    let mut numbers = three_annotators(rng);
    numbers.sort_unstable();
    numbers
        .into_iter()
        .map(|number| {
            let mut boxes = Vec::new();
            for lesion in drawn {
                let missed = rng.random_bool(if lesion.small { MISSED_SMALL } else { MISSED });
                let seen = jittered(lesion, JITTER, width, height, rng);
                if !missed {
                    boxes.push(seen);
                }
            }
            if rng.random_bool(EXTRA) {
                boxes.push(extra(width, height, rng));
            }
            Reading { reader_id: format!("R{number}"), boxes }
        })
        .collect()
}

/// The boxes that the annotators of the test split agreed on: everything drawn, nearly in place.
pub fn consensus(drawn: &[Boxed], width: f32, height: f32, rng: &mut ChaCha8Rng) -> Vec<Boxed> {
    drawn.iter().map(|lesion| jittered(lesion, CONSENSUS_JITTER, width, height, rng)).collect()
}

/// Three of the seventeen; annotators 8, 9 and 10 read most of VinDr-CXR's films.
fn three_annotators(rng: &mut ChaCha8Rng) -> Vec<u32> {
    let mut urn: Vec<u32> =
        (1..=17).flat_map(|number| [number].repeat(if (8..=10).contains(&number) { 6 } else { 1 })).collect();
    let mut chosen = Vec::with_capacity(3);
    while chosen.len() < 3 {
        let number = urn[rng.random_range(0..urn.len())];
        urn.retain(|other| *other != number);
        chosen.push(number);
    }
    chosen
}

/// The lesion with each edge moved; never empty, never outside the film.
fn jittered(lesion: &Boxed, share: f32, width: f32, height: f32, rng: &mut ChaCha8Rng) -> Boxed {
    let b = lesion.box_;
    let mut moved = |laterality: f32| gaussian(rng) * share * laterality;
    let (left, right) = (moved(b.width()), moved(b.width()));
    let (top, bottom) = (moved(b.height()), moved(b.height()));
    let box_ = BoxXyxy::new(b.x_min + left, b.y_min + top, b.x_max + right, b.y_max + bottom).clip(width, height);
    // A sliver at the film's edge stays as it was drawn.
    let box_ = if box_.width() >= 1.0 && box_.height() >= 1.0 { box_ } else { b };
    Boxed { box_, ..*lesion }
}

/// Roughly normal, within three standard deviations: the sum of twelve uniform numbers less six, halved to three.
fn gaussian(rng: &mut ChaCha8Rng) -> f32 {
    let sum: f32 = (0..12).map(|_| rng.random::<f32>()).sum();
    (sum - 6.0).clamp(-3.0, 3.0)
}

fn extra(width: f32, height: f32, rng: &mut ChaCha8Rng) -> Boxed {
    let name = EXTRA_CLASSES[rng.random_range(0..EXTRA_CLASSES.len())];
    let (w, h) = (width * rng.random_range(0.06..0.14f32), height * rng.random_range(0.06..0.14f32));
    let (x, y) = (width * rng.random_range(0.12..0.74f32), height * rng.random_range(0.15..0.65f32));
    Boxed { class_id: lesion_class_id(name).unwrap_or(21), box_: BoxXyxy::new(x, y, x + w, y + h), small: false }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn lesion(small: bool) -> Boxed {
        Boxed { class_id: 3, box_: BoxXyxy::new(100.0, 200.0, 200.0, 260.0), small }
    }

    fn readings(drawn: &[Boxed], n: u64) -> Vec<Reading> {
        (0..n).flat_map(|seed| three_readings(drawn, 512.0, 512.0, &mut ChaCha8Rng::seed_from_u64(seed))).collect()
    }

    #[test]
    fn three_different_annotators_of_seventeen() {
        for seed in 0..200 {
            let three = three_readings(&[], 512.0, 512.0, &mut ChaCha8Rng::seed_from_u64(seed));
            let numbers: Vec<u32> = three.iter().map(|r| r.reader_id[1..].parse().unwrap()).collect();
            assert!(
                numbers.windows(2).all(|w| w[0] < w[1]) && numbers.iter().all(|n| (1..=17).contains(n)),
                "{numbers:?}"
            );
        }
    }

    #[test]
    fn annotators_agree_on_most_lesions_and_miss_small_ones_more() {
        let seen = |small| {
            let all = readings(&[lesion(small)], 1000);
            let ious: Vec<f32> = all
                .iter()
                .filter_map(|r| r.boxes.first().filter(|b| b.class_id == 3))
                .map(|b| b.box_.iou(&lesion(small).box_))
                .collect();
            assert!(ious.iter().all(|iou| *iou > 0.6), "{:?}", ious.iter().copied().fold(1.0, f32::min));
            assert!(ious.iter().sum::<f32>() / (ious.len() as f32) < 0.97);
            ious.len() as f32 / all.len() as f32
        };
        let (large, small) = (seen(false), seen(true));
        assert!((0.90..0.94).contains(&large) && (0.76..0.84).contains(&small), "{large} {small}");
    }

    #[test]
    fn extras_are_rare_and_inside() {
        let all = readings(&[], 2000);
        let extras: Vec<&Boxed> = all.iter().flat_map(|r| &r.boxes).collect();
        assert!((0.02..0.04).contains(&(extras.len() as f32 / all.len() as f32)), "{}", extras.len());
        assert!(extras.iter().all(|b| b.box_ == b.box_.clip(512.0, 512.0) && b.box_.is_proper()));
    }

    #[test]
    fn boxes_at_the_edge_stay_proper_and_inside() {
        let edge = Boxed { class_id: 0, box_: BoxXyxy::new(0.0, 510.5, 1.0, 512.0), small: false };
        for reading in readings(&[edge], 200) {
            for b in reading.boxes {
                assert!(b.box_.is_proper() && b.box_ == b.box_.clip(512.0, 512.0), "{b:?}");
            }
        }
    }

    #[test]
    fn consensus_keeps_every_lesion_nearly_in_place() {
        let drawn = [lesion(true), lesion(false)];
        let agreed = consensus(&drawn, 512.0, 512.0, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(agreed.len(), 2);
        assert!(agreed.iter().all(|b| b.box_.iou(&lesion(false).box_) > 0.9 && b.box_ != lesion(false).box_));
    }
}
