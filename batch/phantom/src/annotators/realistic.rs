//! Annotators who disagree as radiologists do: by class they miss lesions, draw edges apart and name other classes, with
//! the rates of [`crate::rates`]. What is hard is hard for all three of an image.

use d2r_contracts::labels::lesion_class_id;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Boxed, Reading, extra, jittered, three_annotators};
use crate::rates;

/// The boxes of three different annotators of one film, `width` x `height` pixels, by annotator number.
pub fn three_readings(drawn: &[Boxed], width: f32, height: f32, rng: &mut ChaCha8Rng) -> Vec<Reading> {
    let mut numbers = three_annotators(rng);
    numbers.sort_unstable();
    let factors: Vec<f64> = drawn
        .iter()
        .map(|_| if rng.random_bool(rates::HARD) { rates::HARD_FACTOR } else { rates::EASY_FACTOR })
        .collect();
    let reading = |number: u32| {
        let seen = drawn.iter().zip(&factors);
        let mut boxes: Vec<Boxed> =
            seen.filter_map(|(lesion, factor)| boxed(lesion, *factor, 1.0, width, height, rng)).collect();
        if rng.random_bool(rates::EXTRA_BOX) {
            boxes.push(extra(width, height, rng));
        }
        Reading { reader_id: format!("R{number}"), boxes }
    };
    numbers.into_iter().map(reading).collect()
}

/// The boxes that the annotators of the test split agreed on: nearer to what was drawn than one annotator's.
pub fn consensus(drawn: &[Boxed], width: f32, height: f32, rng: &mut ChaCha8Rng) -> Vec<Boxed> {
    drawn.iter().filter_map(|lesion| boxed(lesion, 1.0, rates::CONSENSUS_FACTOR, width, height, rng)).collect()
}

/// What an annotator draws for a lesion; `None` where it is missed. `factor` is how hard the lesion is, `error` the share of
/// one annotator's errors.
fn boxed(lesion: &Boxed, factor: f64, error: f64, width: f32, height: f32, rng: &mut ChaCha8Rng) -> Option<Boxed> {
    let class = rates::of_class(lesion.class_id);
    let size = if lesion.small { rates::SMALL_FACTOR } else { 1.0 };
    let missed = rng.random_bool((class.missed * factor * size * error).min(rates::MOST));
    let mut seen = jittered(lesion, class.jitter * error as f32, width, height, rng);
    if rng.random_bool(class.confused * error) {
        let other = class.confused_with[rng.random_range(0..class.confused_with.len())];
        seen.class_id = lesion_class_id(other).unwrap_or(seen.class_id);
    }
    (!missed).then_some(seen)
}

#[cfg(test)]
mod tests {
    use d2r_contracts::boxes::BoxXyxy;
    use rand::SeedableRng;

    use super::*;

    const READINGS: u64 = 2000;

    fn lesion(class: &str, small: bool) -> Boxed {
        let class_id = lesion_class_id(class).unwrap();
        Boxed { class_id, box_: BoxXyxy::new(100.0, 200.0, 200.0, 260.0), small }
    }

    fn readings(drawn: &[Boxed]) -> Vec<Vec<Reading>> {
        let of = |seed| three_readings(drawn, 512.0, 512.0, &mut ChaCha8Rng::seed_from_u64(seed));
        (0..READINGS).map(of).collect()
    }

    /// A box that was drawn for the lesion, and no extra one.
    fn is_of(lesion: &Boxed, seen: &Boxed) -> bool {
        seen.box_.iou(&lesion.box_) > 0.3
    }

    /// Shares of the readings without a box of the lesion, and of the boxes with another class; the mean IoU.
    fn measured(lesion: Boxed) -> (f64, f64, f64) {
        let all = readings(&[lesion]);
        let found: Vec<Boxed> =
            all.iter().flatten().filter_map(|r| r.boxes.iter().find(|b| is_of(&lesion, b)).copied()).collect();
        let n = found.len() as f64;
        let other = found.iter().filter(|b| b.class_id != lesion.class_id).count() as f64;
        let iou: f64 = found.iter().map(|b| f64::from(b.box_.iou(&lesion.box_))).sum();
        (1.0 - n / (3.0 * READINGS as f64), other / n, iou / n)
    }

    #[test]
    fn classes_are_missed_and_confused_with_their_rates() {
        for class in ["Consolidation", "Cardiomegaly", "Pleural thickening", "Nodule/Mass", "ILD"] {
            let rates = rates::of_class(lesion_class_id(class).unwrap());
            let (missed, confused, _) = measured(lesion(class, false));
            assert!((missed - rates.missed).abs() < 0.025, "{class}: {missed}");
            assert!((confused - rates.confused).abs() < 0.025, "{class}: {confused}");
        }
    }

    #[test]
    fn small_lesions_are_missed_more_often() {
        let (large, small) = (measured(lesion("Nodule/Mass", false)).0, measured(lesion("Nodule/Mass", true)).0);
        assert!(small > 1.7 * large && small < 0.5, "{large} {small}");
    }

    #[test]
    fn lesions_without_a_sharp_border_are_boxed_less_alike() {
        let (heart, haze) = (measured(lesion("Cardiomegaly", false)).2, measured(lesion("Infiltration", false)).2);
        assert!(heart > 0.88 && haze < 0.80, "{heart} {haze}");
    }

    #[test]
    fn three_annotators_miss_the_same_lesions() {
        let drawn = lesion("Nodule/Mass", false);
        let missed = |r: &Reading| !r.boxes.iter().any(|b| is_of(&drawn, b));
        let all = readings(&[drawn]);
        let (mut by_one, mut by_all) = (0.0, 0.0);
        for three in &all {
            by_one += three.iter().filter(|r| missed(r)).count() as f64 / 3.0;
            by_all += f64::from(u8::from(three.iter().all(missed)));
        }
        let n = READINGS as f64;
        // Independent annotators would all miss it with the cube of the rate.
        assert!(by_all / n > 2.0 * (by_one / n).powi(3), "{by_all} {by_one}");
    }

    #[test]
    fn extra_boxes_have_their_share_and_lie_inside() {
        let all = readings(&[]);
        let extras: Vec<&Boxed> = all.iter().flatten().flat_map(|r| &r.boxes).collect();
        let share = extras.len() as f64 / (3.0 * READINGS as f64);
        assert!((share - rates::EXTRA_BOX).abs() < 0.012, "{share}");
        assert!(extras.iter().all(|b| b.box_ == b.box_.clip(512.0, 512.0) && b.box_.is_proper()));
    }

    #[test]
    fn the_consensus_is_nearer_to_what_was_drawn() {
        let drawn = lesion("Infiltration", false);
        let agreed: Vec<Boxed> = (0..READINGS)
            .flat_map(|seed| consensus(&[drawn], 512.0, 512.0, &mut ChaCha8Rng::seed_from_u64(seed)))
            .collect();
        let missed = 1.0 - agreed.len() as f64 / READINGS as f64;
        let iou: f64 = agreed.iter().map(|b| f64::from(b.box_.iou(&drawn.box_))).sum::<f64>() / agreed.len() as f64;
        let (alone, _, iou_alone) = measured(drawn);
        assert!(missed < 0.5 * alone && missed > 0.02 && iou > iou_alone + 0.05, "{missed} {alone} {iou} {iou_alone}");
    }
}
