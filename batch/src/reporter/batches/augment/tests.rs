//! Pixels, boxes and text of an augmented study stay consistent.

use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::tables::LesionRow;

use super::*;
use crate::config::{Layers, resolve};
use crate::reporter::batches::random_crop::prepared_spec;
use crate::reporter::batches::study::study_visual;
use crate::test_fixtures::lesion;
use crate::training::streams::sample_rng;

const OFF: AugmentConfig =
    AugmentConfig { scale: 0.0, shift: 0.0, hflip: false, brightness: 0.0, contrast: 0.0, gamma: 0.0, noise: 0.0 };
const SIZE: u32 = 64;

fn training(augment: &AugmentConfig) -> ReportTrainConfig {
    let train = resolve(&Layers::default()).unwrap().config.report.train;
    ReportTrainConfig { augment: augment.clone(), random_crop: false, ..train }
}

/// A 160 x 96 image with one bright square near its left edge.
fn radiograph() -> Radiograph {
    let (width, height) = (160u32, 96u32);
    let mut pixels = vec![10u8; (width * height) as usize];
    for y in 30..60 {
        pixels[y * width as usize + 20..y * width as usize + 52].fill(250);
    }
    Radiograph::new(width, height, pixels).unwrap()
}

/// The image, and a report that names its square.
fn study() -> (ReportExample, VisualSpec, Vocabulary) {
    let row = |box_id: &str, corners: [f32; 4], score| LesionRow { score, ..lesion("i", box_id, 15, corners) };
    let lesions = [row("a", [1.0, 1.0, 12.0, 12.0], 0.9), row("b", [20.0, 30.0, 52.0, 60.0], 0.8)];
    let spec = VisualSpec::new(SIZE, 4, 16, 0.0);
    let (visual, _) = study_visual(&radiograph(), &lesions, &spec);
    let text = "there is a nodule in the right lung . the left lung is clear .";
    let vocabulary = Vocabulary::build([text].into_iter(), 1);
    let tokens = TextTokens::from_vocabulary(&vocabulary);
    let example = ReportExample {
        study_id: "s".into(),
        visual: visual.into(),
        ids: vocabulary.encode(text, 40),
        named: vec![NamedRegions { first: 0, end: 8, regions: vec![1] }],
        reference: text.into(),
        labels: d2r_contracts::report_labeler::label(text),
        texts: tokens.report(text, 40),
    };
    (example, spec, vocabulary)
}

fn augmented(config: &AugmentConfig, index: u64) -> ReportExample {
    let (example, spec, vocabulary) = study();
    let tokens = TextTokens::from_vocabulary(&vocabulary);
    let augment = StudyAugment::new(&training(config), spec, &vocabulary, Some(&tokens)).unwrap().unwrap();
    augment.apply(&example, &mut sample_rng(4, 0, index)).unwrap()
}

/// The bright square's centre, as shares of the image.
fn bright_centre(visual: &StudyVisual) -> (f32, f32) {
    let bright: Vec<usize> = (0..visual.pixels.len()).filter(|&i| visual.pixels[i] > 180).collect();
    let mean =
        |of: &dyn Fn(usize) -> usize| bright.iter().map(|&i| of(i) as f32 + 0.5).sum::<f32>() / bright.len() as f32;
    let LetterboxShares { scale, pad } = shares(&visual.letterboxes[0]);
    let (x, y) = (mean(&|i| i % SIZE as usize), mean(&|i| i / SIZE as usize));
    ((x - pad.0) / scale.0, (y - pad.1) / scale.1)
}

struct LetterboxShares {
    scale: (f32, f32),
    pad: (f32, f32),
}

fn shares(l: &Letterbox) -> LetterboxShares {
    let scale = (l.scale_x * l.original.width as f32, l.scale_y * l.original.height as f32);
    LetterboxShares { scale, pad: (l.pad_x, l.pad_y) }
}

#[test]
fn a_configuration_without_changes_is_no_augmentation() {
    let (_, spec, vocabulary) = study();
    assert!(StudyAugment::new(&training(&OFF), spec, &vocabulary, None).unwrap().is_none());
}

#[test]
fn boxes_follow_their_pixels() {
    let config = AugmentConfig { scale: 0.1, shift: 0.05, hflip: true, ..OFF };
    for index in 0..12 {
        let changed = augmented(&config, index);
        let visual = changed.visual.get().unwrap();
        let region = visual.regions.last().unwrap();
        let (x, y) = bright_centre(&visual);
        let [_, box_x, box_y, ..] = region.scored_box;
        assert!((x - box_x).abs() < 0.03 && (y - box_y).abs() < 0.04, "({x}, {y}) and {:?}", region.scored_box);
    }
}

#[test]
fn a_flipped_image_has_flipped_crops_and_swapped_laterality() {
    let config = AugmentConfig { hflip: true, ..OFF };
    let (before, _, vocabulary) = study();
    let (mut flipped, mut kept) = (0, 0);
    for index in 0..12 {
        let changed = augmented(&config, index);
        let text = vocabulary.decode(&changed.ids);
        let visual = changed.visual.get().unwrap();
        if visual.regions[1].scored_box[1] > 0.5 {
            flipped += 1;
            assert_eq!(text, "there is a nodule in the left lung . the right lung is clear .");
            assert_eq!(changed.reference, text);
            assert_eq!(changed.texts, TextTokens::from_vocabulary(&vocabulary).report(&text, 40));
            let original = before.visual.get().unwrap();
            for (a, b) in visual.regions[1].crop.chunks(16).zip(original.regions[1].crop.chunks(16)) {
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
fn a_region_that_leaves_the_image_is_no_longer_named() {
    let config = AugmentConfig { shift: 0.45, ..OFF };
    let (mut dropped, mut renumbered) = (0, 0);
    for index in 0..40 {
        let changed = augmented(&config, index);
        let regions = changed.visual.regions();
        assert!(changed.named.iter().all(|n| n.regions.iter().all(|&r| r < regions)));
        dropped += usize::from(changed.named.is_empty());
        renumbered += usize::from(changed.named.first().is_some_and(|n| n.regions == [0]));
    }
    assert!(dropped > 0 && renumbered > 0, "{dropped} {renumbered}");
}

#[test]
fn a_vocabulary_with_one_laterality_cannot_be_flipped() {
    let (_, spec, _) = study();
    let one_sided = Vocabulary::build(["a nodule in the left lung ."].into_iter(), 1);
    let config = AugmentConfig { hflip: true, ..OFF };
    assert_eq!(StudyAugment::new(&training(&config), spec, &one_sided, None).unwrap_err().exit().code(), 78);
}

#[test]
fn boxes_follow_their_pixels_through_a_random_crop_and_a_flip() {
    let (example, spec, vocabulary) = study();
    let lesions = [LesionRow { score: 0.8, ..lesion("i", "b", 15, [20.0, 30.0, 52.0, 60.0]) }];
    let (visual, _) = study_visual(&radiograph(), &lesions, &prepared_spec(&spec));
    assert_eq!(visual.letterboxes[0].model, ImageSize { width: 122, height: 73 });
    let named = vec![NamedRegions { first: 0, end: 8, regions: vec![0] }];
    let example = ReportExample { visual: visual.into(), named, ..example };
    let config = ReportTrainConfig { random_crop: true, ..training(&AugmentConfig { hflip: true, ..OFF }) };
    let augment = StudyAugment::new(&config, spec, &vocabulary, None).unwrap().unwrap();
    let (mut seen, mut gone) = (0, 0);
    for index in 0..40 {
        let changed = augment.apply(&example, &mut sample_rng(4, 0, index)).unwrap();
        let visual = changed.visual.get().unwrap();
        assert_eq!((visual.pixels.len(), &visual.letterboxes[0].model), (64 * 64, &ImageSize::square(SIZE)));
        match visual.regions.as_slice() {
            [] => {
                gone += 1;
                assert!(changed.named.is_empty());
            }
            [region] => {
                seen += 1;
                let (x, y) = bright_centre(&visual);
                let [_, box_x, box_y, ..] = region.scored_box;
                assert!((x - box_x).abs() < 0.03 && (y - box_y).abs() < 0.03, "({x}, {y}) and {:?}", region.scored_box);
                assert_eq!(changed.named, example.named);
            }
            more => panic!("{more:?}"),
        }
    }
    assert!(seen > 0 && gone > 0, "{seen} {gone}");
}
