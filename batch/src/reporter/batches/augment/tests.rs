//! Pixels, boxes and words of an augmented study say the same as before.

use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::tables::LesionRow;

use super::*;
use crate::detector::batches::augment::sample_rng;
use crate::reporter::batches::study::study_visual;

const STILL: AugmentConfig =
    AugmentConfig { scale: 0.0, shift: 0.0, hflip: false, brightness: 0.0, contrast: 0.0, gamma: 0.0, noise: 0.0 };
const SIDE: u32 = 64;

/// A film, wider than high, with one bright square near its left edge, and a report that says so.
fn study() -> (ReportExample, VisualSpec, Vocabulary) {
    let (width, height) = (160u32, 96u32);
    let mut pixels = vec![10u8; (width * height) as usize];
    for y in 30..60 {
        pixels[y * width as usize + 20..y * width as usize + 52].fill(250);
    }
    let film = Radiograph::new(width, height, pixels).unwrap();
    let row = |box_id: &str, [x_min, y_min, x_max, y_max]: [f32; 4], score| LesionRow {
        image_id: "i".into(),
        box_id: box_id.into(),
        class_name: "Nodule/Mass".into(),
        class_id: 15,
        x_min,
        y_min,
        x_max,
        y_max,
        score,
        source: "pseudo".into(),
        reader_id: None,
        n_readers: None,
        std_x_min: None,
        std_y_min: None,
        std_x_max: None,
        std_y_max: None,
        student_iou: None,
        accepted: true,
        threshold: None,
        model_sha256: None,
    };
    let lesions = [row("a", [1.0, 1.0, 12.0, 12.0], 0.9), row("b", [20.0, 30.0, 52.0, 60.0], 0.8)];
    let spec = VisualSpec::new(SIDE, 4, 16, 0.0);
    let (visual, _) = study_visual(&film, &lesions, &spec);
    let text = "there is a nodule in the right lung . the left lung is clear .";
    let vocabulary = Vocabulary::build([text].into_iter(), 1);
    let tokens = TextTokens::words(&vocabulary);
    let example = ReportExample {
        study_id: "s".into(),
        visual: Arc::new(visual),
        ids: vocabulary.encode(text, 40),
        named: vec![NamedRegions { first: 0, end: 8, regions: vec![1] }],
        reference: text.into(),
        texts: tokens.report(text, 40),
    };
    (example, spec, vocabulary)
}

fn augmented(config: &AugmentConfig, place: u64) -> ReportExample {
    let (example, spec, vocabulary) = study();
    let tokens = TextTokens::words(&vocabulary);
    let augment = StudyAugment::new(config, spec, &vocabulary, Some(&tokens)).unwrap().unwrap();
    augment.apply(&example, &mut sample_rng(4, 0, place))
}

/// The bright square's middle, as shares of the film.
fn brightest(visual: &StudyVisual) -> (f32, f32) {
    let lit: Vec<usize> = (0..visual.film.len()).filter(|&i| visual.film[i] > 180).collect();
    let mean = |of: &dyn Fn(usize) -> usize| lit.iter().map(|&i| of(i) as f32 + 0.5).sum::<f32>() / lit.len() as f32;
    let LetterboxShares { scale, pad } = shares(&visual.letterbox);
    let (x, y) = (mean(&|i| i % SIDE as usize), mean(&|i| i / SIDE as usize));
    ((x - pad.0) / scale.0, (y - pad.1) / scale.1)
}

struct LetterboxShares {
    scale: (f32, f32),
    pad: (f32, f32),
}

fn shares(l: &Letterbox) -> LetterboxShares {
    let scale = (l.scale_x * l.original_width as f32, l.scale_y * l.original_height as f32);
    LetterboxShares { scale, pad: (l.pad_x, l.pad_y) }
}

#[test]
fn nothing_to_change_is_no_augmentation() {
    let (_, spec, vocabulary) = study();
    assert!(StudyAugment::new(&STILL, spec, &vocabulary, None).unwrap().is_none());
}

#[test]
fn boxes_go_where_their_pixels_go() {
    let config = AugmentConfig { scale: 0.1, shift: 0.05, hflip: true, ..STILL };
    for place in 0..12 {
        let changed = augmented(&config, place);
        let region = changed.visual.regions.last().unwrap();
        let (x, y) = brightest(&changed.visual);
        let [_, bx, by, ..] = region.place;
        assert!((x - bx).abs() < 0.03 && (y - by).abs() < 0.04, "({x}, {y}) and {:?}", region.place);
    }
}

#[test]
fn a_mirrored_film_has_mirrored_crops_and_swapped_sides() {
    let config = AugmentConfig { hflip: true, ..STILL };
    let (before, _, vocabulary) = study();
    let (mut flipped, mut kept) = (0, 0);
    for place in 0..12 {
        let changed = augmented(&config, place);
        let text = vocabulary.decode(&changed.ids);
        if changed.visual.regions[1].place[1] > 0.5 {
            flipped += 1;
            assert_eq!(text, "there is a nodule in the left lung . the right lung is clear .");
            assert_eq!(changed.reference, text);
            assert_eq!(changed.texts, TextTokens::words(&vocabulary).report(&text, 40));
            for (a, b) in changed.visual.regions[1].crop.chunks(16).zip(before.visual.regions[1].crop.chunks(16)) {
                assert!(a.iter().eq(b.iter().rev()));
            }
        } else {
            kept += 1;
            assert_eq!(changed.ids, before.ids);
            assert_eq!(changed.texts, before.texts);
        }
        assert_eq!(changed.named, before.named);
    }
    assert!(flipped > 0 && kept > 0);
}

#[test]
fn a_region_that_leaves_is_named_no_more() {
    let config = AugmentConfig { shift: 0.45, ..STILL };
    let (mut left, mut renumbered) = (0, 0);
    for place in 0..40 {
        let changed = augmented(&config, place);
        let regions = changed.visual.regions.len();
        assert!(changed.named.iter().all(|n| n.regions.iter().all(|&r| r < regions)));
        left += usize::from(changed.named.is_empty());
        renumbered += usize::from(changed.named.first().is_some_and(|n| n.regions == [0]));
    }
    assert!(left > 0 && renumbered > 0, "{left} {renumbered}");
}

#[test]
fn one_side_alone_cannot_be_mirrored() {
    let (_, spec, _) = study();
    let lonely = Vocabulary::build(["a nodule in the left lung ."].into_iter(), 1);
    let config = AugmentConfig { hflip: true, ..STILL };
    assert_eq!(StudyAugment::new(&config, spec, &lonely, None).unwrap_err().exit().code(), 78);
}
