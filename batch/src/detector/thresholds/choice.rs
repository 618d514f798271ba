//! Thresholds by class from images of which the present classes are known, by their reports or by annotators' boxes: those
//! that make a class's F1 over images high, where an image counts as found when a box of the class is accepted in it.

use super::Thresholds;

/// The threshold of all classes together counts in that of a class like so many images with the class: of a rare class the
/// own one follows a few scores.
const IMAGES_OF_ALL: f64 = 20.0;

/// F1 that is lower by less is as good: the highest of a few images is chance, and the middle of what is near is not.
const F1_NEAR: f64 = 0.02;

/// What is known of one image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// Class and score of the detector's boxes.
    pub found: Vec<(i32, f32)>,
    /// The classes that are present.
    pub present: Vec<i32>,
}

/// An image of which a class is asked: the highest score of the class's boxes, and whether the class is present.
type Asked = (Option<f32>, bool);

/// Thresholds of this number of classes; `None` where no image has any class.
pub fn thresholds(images: &[Evidence], classes: usize) -> Option<Thresholds> {
    let of_class = |class: i32| -> Vec<Asked> {
        let best = |image: &Evidence| {
            image.found.iter().filter(|(id, _)| *id == class).map(|(_, score)| *score).max_by(f32::total_cmp)
        };
        images.iter().map(|image| (best(image), image.present.contains(&class))).collect()
    };
    let asked: Vec<Vec<Asked>> = (0..classes as i32).map(of_class).collect();
    let present = |asked: &[Asked]| asked.iter().filter(|(_, present)| *present).count();
    // A class that no image has says nothing about scores.
    let named: Vec<Asked> = asked.iter().filter(|asked| present(asked) > 0).flatten().copied().collect();
    let all = near_highest_f1(&named)?;
    let of_class = |asked: &Vec<Asked>| {
        let (images, own) = (present(asked) as f64, near_highest_f1(asked).unwrap_or(all));
        rounded((images * own + IMAGES_OF_ALL * all) / (images + IMAGES_OF_ALL))
    };
    Some(Thresholds { all: rounded(all), of_classes: asked.iter().map(of_class).collect() })
}

/// To four decimals, because the last bits of scores depend on the number of threads; as the table `lesions` holds it, so that its
/// rows repeat the decision.
fn rounded(score: f64) -> f64 {
    f64::from(((score * 1e4).round() / 1e4) as f32)
}

/// The middle of the scores above which F1 is at most [`F1_NEAR`] below the highest, without a gap. `None` where no image with
/// the class has a box of it.
fn near_highest_f1(asked: &[Asked]) -> Option<f64> {
    let positives = asked.iter().filter(|(_, present)| *present).count();
    let mut scored: Vec<(f32, bool)> = asked.iter().filter_map(|&(score, present)| Some((score?, present))).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    // Of every threshold between two different scores: the score above, the score below, F1.
    let (mut correct, mut cuts) = (0usize, Vec::new());
    for (place, &(score, present)) in scored.iter().enumerate() {
        correct += usize::from(present);
        let next = scored.get(place + 1).map_or(0.0, |next| next.0);
        if next < score {
            cuts.push((score, next, 2.0 * correct as f64 / (place + 1 + positives) as f64));
        }
    }
    let (best, _) = cuts.iter().enumerate().max_by(|(_, a), (_, b)| a.2.total_cmp(&b.2)).filter(|_| correct > 0)?;
    let near = |cut: &&(f32, f32, f64)| cut.2 >= cuts[best].2 - F1_NEAR;
    let (above, ..) = cuts[..=best].iter().rev().take_while(near).last()?;
    let (_, below, _) = cuts[best..].iter().take_while(near).last()?;
    Some(f64::from(f32::midpoint(*above, *below)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twelve images each with class 0 or class 1 present and found at these scores, and as many without that have a box
    /// of each at 0.3.
    fn images(of_first: f32, of_second: f32) -> Vec<Evidence> {
        let with =
            |class: i32, score: f32| Evidence { found: vec![(class, score), (class, 0.1)], present: vec![class] };
        let without = Evidence { found: vec![(0, 0.3), (1, 0.3)], present: Vec::new() };
        let mut images = vec![with(0, of_first); 12];
        images.extend(vec![with(1, of_second); 12]);
        images.extend(vec![without; 24]);
        images
    }

    /// The threshold of a class that this number of images have, from its own and that of all, to four decimals.
    fn mean(images: f64, own: f64, all: f64) -> f64 {
        ((images * own + 20.0 * all) / (images + 20.0) * 1e4).round() / 1e4
    }

    #[test]
    fn each_class_has_the_threshold_of_its_own_scores_and_of_all() {
        let found = thresholds(&images(0.9, 0.5), 3).unwrap();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
        near(found.of(0), mean(12.0, 0.6, 0.4));
        near(found.of(1), mean(12.0, 0.4, 0.4));
        // Class 2 is nowhere present: that of all together, which lies below every true score.
        near(found.of(2), 0.4);
        // A class that fewer images have is nearer to all.
        let mut rare = images(0.9, 0.5);
        rare.drain(..9);
        near(thresholds(&rare, 2).unwrap().of(0), mean(3.0, 0.6, 0.4));
        // True boxes below the false ones: of class 1 accepting all is best, F1 = 24 / 48; of both together above 0.3.
        near(thresholds(&images(0.9, 0.2), 2).unwrap().of(1), mean(12.0, 0.1, 0.6));
    }

    #[test]
    fn a_class_without_boxes_counts_as_missed_and_nothing_present_gives_nothing() {
        // They lower the recall, whatever the threshold.
        let missed = Evidence { found: Vec::new(), present: vec![0] };
        let mut more = images(0.9, 0.5);
        more.extend(vec![missed; 12]);
        assert!((thresholds(&more, 2).unwrap().of(0) - mean(24.0, 0.6, 0.4)).abs() < 1e-6);
        let nothing = Evidence { found: vec![(0, 0.9)], present: Vec::new() };
        assert_eq!(thresholds(&[nothing], 2), None);
        assert_eq!(thresholds(&[], 2), None);
    }

    #[test]
    fn the_middle_of_what_is_near_the_highest_is_chosen() {
        let image =
            |score: f32, present: bool| Evidence { found: vec![(0, score)], present: vec![0; usize::from(present)] };
        // 100 present from 0.9 down, one absent, two present, 40 absent. F1 is highest above the last two present ones.
        let mut images: Vec<Evidence> = (0..100).map(|i| image(0.9 - 0.001 * i as f32, true)).collect();
        images.push(image(0.7, false));
        images.extend([image(0.65, true), image(0.64, true)]);
        images.extend((0..40).map(|i| image(0.5 - 0.01 * i as f32, false)));
        // F1 of the first n present ones is 2 n / (n + 102); of all with k absent ones 204 / (204 + k).
        let chosen = thresholds(&images, 1).unwrap().of(0);
        let near = |f1: f64| f1 >= 204.0 / 205.0 - F1_NEAR;
        assert!(near(204.0 / 209.0) && !near(204.0 / 210.0) && near(196.0 / 200.0) && !near(194.0 / 199.0));
        let (above, below) = (0.9 - 0.001 * 97.0, 0.5 - 0.01 * 4.0);
        assert!((chosen - (above + below) / 2.0).abs() < 1e-6, "{chosen}");
    }

    #[test]
    fn the_last_bits_of_scores_change_no_threshold() {
        assert_eq!(thresholds(&images(0.9, 0.5), 2), thresholds(&images(0.9_f32.next_up(), 0.5_f32.next_down()), 2));
    }

    #[test]
    fn equal_scores_are_accepted_together() {
        let image = |score, present: bool| Evidence {
            found: vec![(0, score)],
            present: if present { vec![0] } else { vec![] },
        };
        // 11 present and 4 absent at 0.5, 2 present at 0.8: a threshold between equal scores does not exist.
        let mut images = vec![image(0.5, true); 11];
        images.extend(vec![image(0.5, false); 4]);
        images.extend(vec![image(0.8, true); 2]);
        assert!((thresholds(&images, 1).unwrap().of(0) - 0.25).abs() < 1e-6);
    }
}
