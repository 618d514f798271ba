//! Tests of the loader and of the batches made from what it loads: cache, failures, sizes, streams.

use std::path::Path;
use std::sync::Arc;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::preprocess::InputSpec;
use d2r_contracts::space::ImageSize;

use super::*;
use crate::config::detector::{AugmentConfig, ShortEdges};
use crate::datasets::prepared::PreparedStore;
use crate::detector::batches::batch_plan::{BatchPlan, PlainBatch};
use crate::progress::Progress;
use crate::test_fixtures;
use crate::training::prefetch::prefetched;

fn image(id: &str) -> ImageRow {
    ImageRow {
        image_id: id.into(),
        study_id: id.into(),
        subject_id: id.into(),
        view: "PA".into(),
        path: format!("{id}.png"),
        width: None,
        height: None,
        sha256: None,
        n_boxes: None,
        burned_in_annotation: None,
    }
}

fn lesion(image_id: &str, class_id: i32, source: &str, accepted: bool) -> LesionRow {
    let box_id = format!("{image_id}-{class_id}-{source}");
    let lesion = test_fixtures::lesion(image_id, &box_id, class_id, [10.0, 20.0, 30.0, 60.0]);
    LesionRow { source: source.into(), accepted, score: 1.0, ..lesion }
}

/// A folder with the images a, b, c (128 x 64, grey ramps) and a damaged file.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        let pixels = image::GrayImage::from_fn(128, 64, |x, _| image::Luma([(x as u8).wrapping_mul(i as u8 + 1)]));
        pixels.save(dir.path().join(format!("{name}.png"))).unwrap();
    }
    std::fs::write(dir.path().join("torn.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    dir
}

/// An image that was ingested: its size and digest are known.
fn ingested(dir: &Path, id: &str) -> ImageRow {
    let sha256 = crate::lake::digest::sha256_file(&dir.join(format!("{id}.png"))).unwrap();
    ImageRow { width: Some(128), height: Some(64), sha256: Some(sha256), ..image(id) }
}

#[test]
fn a_prepared_image_is_not_decoded_again_and_has_the_same_pixels() {
    let input = |fit| InputSpec { size: 64, fit, mean: 0.5, std: 0.25 };
    prepared_images_are_used(input(Fit::Letterbox), None);
    prepared_images_are_used(input(Fit::ShortEdge), None);
    // Kept at 80 x 40, and as they are.
    prepared_images_are_used(input(Fit::ShortEdge), Some(ShortEdges { least: 20, most: 40 }));
    prepared_images_are_used(input(Fit::ShortEdge), Some(ShortEdges { least: 32, most: 96 }));
}

fn prepared_images_are_used(input: InputSpec, short_edges: Option<ShortEdges>) {
    let dir = folder();
    let load = |prepared: Option<PreparedStore>, cache_bytes| {
        let source = RadiographSource {
            root: dir.path().into(),
            decode: ImageDecodeOptions::default(),
            input,
            prepared,
            short_edges,
        };
        let task = Progress::Quiet.task("load", 3, "images");
        let options = LoadOptions { cache_bytes, stage: "train-detector", progress: &task, stop: &StopFlag::default() };
        let images = ["a", "b", "c"].map(|id| ingested(dir.path(), id)).to_vec();
        let (set, failures) = DetectionSet::load(source, images, &[], options).unwrap();
        assert!(failures.is_empty(), "{failures:?}");
        set
    };
    let pixels = |set: &DetectionSet| (0..3).map(|i| set.radiograph(i).unwrap().into_owned()).collect::<Vec<_>>();
    let letterboxes = |set: &DetectionSet| set.examples.iter().map(|e| e.letterbox).collect::<Vec<_>>();
    let decoded = load(None, u64::MAX);
    let ingested_rows = ["a", "b", "c"].map(|id| ingested(dir.path(), id));
    let store = PreparedStore::at(dir.path().join("prepared"));
    let first = load(Some(store.clone()), 0);
    assert!(first.times.decode_ms > 0.0);
    assert_eq!(store.holdings().unwrap().files, 3);
    // The files are gone: whatever is read now was prepared.
    let taken: Vec<_> =
        ["a", "b", "c"].map(|id| (id, std::fs::read(dir.path().join(format!("{id}.png"))).unwrap())).into();
    taken.iter().for_each(|(id, _)| std::fs::write(dir.path().join(format!("{id}.png")), "gone").unwrap());
    let again = |cache_bytes| {
        let source = RadiographSource {
            root: dir.path().into(),
            decode: ImageDecodeOptions::default(),
            input,
            prepared: Some(store.clone()),
            short_edges,
        };
        let task = Progress::Quiet.task("load", 3, "images");
        let options = LoadOptions { cache_bytes, stage: "train-detector", progress: &task, stop: &StopFlag::default() };
        DetectionSet::load(source, ingested_rows.to_vec(), &[], options).unwrap()
    };
    for cache_bytes in [0, u64::MAX] {
        let (set, failures) = again(cache_bytes);
        assert!(failures.is_empty() && set.times.decode_ms == 0.0, "{failures:?}");
        assert_eq!((pixels(&set), letterboxes(&set)), (pixels(&decoded), letterboxes(&decoded)));
    }
    // What was pruned is decoded again, and a file with other bytes is a failure then.
    store.prune(0).unwrap();
    let (set, failures) = again(0);
    assert_eq!((set.examples.len(), failures.len()), (0, 3));
    taken.iter().for_each(|(id, bytes)| std::fs::write(dir.path().join(format!("{id}.png")), bytes).unwrap());
    assert_eq!(pixels(&again(0).0), pixels(&decoded));
}

fn load(dir: &Path, cache_bytes: u64) -> (DetectionSet, Vec<FailureRow>) {
    let input = InputSpec { size: 64, fit: Fit::Letterbox, mean: 0.5, std: 0.25 };
    let source = RadiographSource {
        root: dir.to_path_buf(),
        decode: ImageDecodeOptions::default(),
        input,
        prepared: None,
        short_edges: None,
    };
    let images = ["a", "torn", "b", "c", "gone"].map(image).to_vec();
    let lesions = [
        lesion("a", 1, "fused", true),
        lesion("a", 2, "fused", false),
        lesion("a", 3, "reader", true),
        lesion("b", 4, "pseudo", true),
    ];
    let task = Progress::Quiet.task("load", 5, "images");
    let options = LoadOptions { cache_bytes, stage: "train-detector", progress: &task, stop: &StopFlag::default() };
    DetectionSet::load(source, images, &lesions, options).unwrap()
}

#[test]
fn boxes_are_the_fused_ones_and_failures_are_rows() {
    let dir = folder();
    let (set, failures) = load(dir.path(), u64::MAX);
    let ids: Vec<&str> = set.examples.iter().map(|e| e.image.image_id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(set.examples[0].truths.len(), 1);
    // 128 x 64 in 64 x 64: half size, 16 rows of padding above.
    let b = set.examples[0].boxes[0];
    assert_eq!((b.class_id, b.region.to_array()), (1, [5.0, 26.0, 15.0, 46.0]));
    assert!(set.examples[1].boxes.is_empty() && set.examples[2].boxes.is_empty());
    let codes: Vec<(&str, Option<&str>)> = failures.iter().map(|f| (f.code.as_str(), f.image_id.as_deref())).collect();
    assert_eq!(codes[1], ("missing_file", Some("gone")));
    assert_eq!(codes[0].1, Some("torn"));
}

#[test]
fn a_full_cache_does_not_change_pixels() {
    let dir = folder();
    let (cached, _) = load(dir.path(), u64::MAX);
    let (some, _) = load(dir.path(), 64 * 64 * 2);
    assert!(some.examples[2].kept.is_none() && cached.examples[2].kept.is_some());
    for i in 0..3 {
        assert_eq!(cached.radiograph(i).unwrap(), some.radiograph(i).unwrap());
    }
    std::fs::remove_file(dir.path().join("c.png")).unwrap();
    let message = some.radiograph(2).unwrap_err().to_string();
    assert!(message.contains("c.png"), "{message}");
}

#[test]
fn repeat_factors_follow_the_published_formula() {
    let dir = folder();
    let (mut set, _) = load(dir.path(), u64::MAX);
    let labelled = |class_id| LabelledBox { class_id, region: BoxXyxy::new(0.0, 0.0, 4.0, 4.0) };
    set.examples[0].boxes = vec![labelled(1), labelled(1)];
    set.examples[1].boxes = vec![labelled(1), labelled(2)];
    // Class 1 is in 2 of 3 images, class 2 in one.
    let factors = set.repeat_factors(0.75);
    assert!((factors[0] - (0.75f64 * 1.5).sqrt()).abs() < 1e-12);
    assert!((factors[1] - 1.5).abs() < 1e-12);
    assert_eq!(factors[2], 1.0);
    assert_eq!(set.repeat_factors(0.0), [1.0; 3]);
}

#[test]
fn batches_of_the_thread_are_in_order_and_equal_single_ones() {
    let dir = folder();
    let (set, _) = load(dir.path(), u64::MAX);
    let augment =
        AugmentConfig { scale: 0.1, shift: 0.1, hflip: true, brightness: 0.1, contrast: 0.1, gamma: 0.1, noise: 0.01 };
    let plan = BatchPlan { seed: 3, sampler: BatchSampler::mixed(3, &[1.0; 3]), size: 2, places: 0..2, augment };
    let set = Arc::new(set);
    let (theirs, shared) = (plan.clone(), Arc::clone(&set));
    let ahead = prefetched(4..9, move |step| theirs.batch(&shared, step)).unwrap();
    let ahead: Vec<PlainBatch> = ahead.map(Result::unwrap).collect();
    assert_eq!(ahead.iter().map(|b| b.step).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
    assert_eq!(ahead[2], plan.batch(&set, 6).unwrap());
    assert!(ahead[0].images.iter().all(|image| image.size() == ImageSize::square(64)));
}

#[test]
fn a_share_is_chosen_by_the_seed_and_the_rest_has_no_boxes() {
    let dir = folder();
    let ids = |set: &DetectionSet| set.examples.iter().map(|e| e.image.image_id.clone()).collect::<Vec<_>>();
    let split = |share: f64, seed: u64| {
        let (mut set, _) = load(dir.path(), u64::MAX);
        let rest = set.take_share(share, seed);
        (set, rest)
    };
    let (all, none) = split(1.0, 3);
    assert_eq!((ids(&all).len(), ids(&none).len()), (3, 0));
    let (taken, rest) = split(0.34, 3);
    assert_eq!((ids(&taken).len(), ids(&rest).len()), (1, 2));
    assert!(ids(&rest).iter().all(|id| !ids(&taken).contains(id)));
    assert_eq!(ids(&taken), ids(&split(0.34, 3).0));
    let chosen: std::collections::BTreeSet<Vec<String>> = (0..20).map(|seed| ids(&split(0.34, seed).0)).collect();
    assert_eq!(chosen.len(), 3, "every example is chosen by some seed");
    for seed in 0..6 {
        let (_, rest) = split(0.34, seed);
        assert!(rest.examples.iter().all(|e| e.boxes.is_empty() && e.truths.is_empty()));
    }
    assert_eq!(ids(&split(0.0, 1).0).len(), 1, "one is always left");
}

#[test]
fn strong_and_weak_augmentation_share_their_geometry_and_unlabelled_images_have_no_boxes() {
    use crate::config::semi::{StrongConfig, StrongLabelled};
    use crate::detector::batches::semi_batch::{SemiPlan, SemiSets};

    let dir = folder();
    let set = Arc::new(load(dir.path(), u64::MAX).0);
    let sets = SemiSets { labelled: Arc::clone(&set), unlabelled: set };
    let augment = crate::config::resolve(&crate::config::Layers::default()).unwrap().config.detector.train.augment;
    let stream = || BatchPlan {
        seed: 5,
        sampler: BatchSampler::mixed(5, &[1.0; 3]),
        size: 3,
        places: 0..3,
        augment: augment.clone(),
    };
    let none = StrongConfig::none();
    let of =
        |strong_labelled| SemiPlan { labelled: stream(), unlabelled: stream(), strong: none.clone(), strong_labelled };
    let plan = of(StrongLabelled::Always);
    let batch = plan.batch(&sets, 4, true).unwrap();
    assert_eq!(batch.labelled.weak, batch.labelled.strong, "without strong operations both are equal");
    assert_eq!(batch.labelled.weak.len(), 3);
    assert!(batch.labelled.boxes.iter().any(|b| !b.is_empty()));
    assert!(batch.unlabelled.boxes.iter().all(Vec::is_empty));
    assert_ne!(batch.unlabelled.weak, batch.labelled.weak, "the streams are drawn independently");
    assert_eq!(batch, plan.batch(&sets, 4, true).unwrap());
    let burn_in = plan.batch(&sets, 4, false).unwrap();
    assert!(burn_in.unlabelled.weak.is_empty() && burn_in.labelled == batch.labelled);
    for (when, mutual, drawn) in [
        (StrongLabelled::Mutual, false, false),
        (StrongLabelled::Mutual, true, true),
        (StrongLabelled::Never, true, false),
    ] {
        let other = of(when).batch(&sets, 4, mutual).unwrap();
        assert_eq!(other.labelled.strong.is_empty(), !drawn, "{when:?}");
        assert_eq!(other.labelled.weak, batch.labelled.weak);
        assert_eq!(other.unlabelled.strong.is_empty(), !mutual);
        assert_eq!(other.trained_images(), 3 + 3 * usize::from(drawn) + 3 * usize::from(mutual));
    }
}

/// Four wide and two high images with a bright rectangle each, for multi-scale training of inputs of 64 pixels.
fn of_two_orientations(dir: &Path) -> DetectionSet {
    let (mut images, mut lesions) = (Vec::new(), Vec::new());
    for i in 0..6u32 {
        let (width, height) = if i < 4 { (150 + i, 100) } else { (100, 130 + i) };
        let picture = image::GrayImage::from_fn(width, height, |x, y| {
            image::Luma([if (20..60).contains(&x) && (30..70).contains(&y) { 255 } else { 0 }])
        });
        picture.save(dir.join(format!("{i}.png"))).unwrap();
        images.push(image(&i.to_string()));
        let lesion = test_fixtures::lesion(&i.to_string(), &i.to_string(), 1, [20.0, 30.0, 60.0, 70.0]);
        lesions.push(LesionRow { source: "fused".into(), accepted: true, score: 1.0, ..lesion });
    }
    let source = RadiographSource {
        root: dir.to_path_buf(),
        decode: ImageDecodeOptions::default(),
        input: InputSpec { size: 64, fit: Fit::ShortEdge, mean: 0.5, std: 0.25 },
        prepared: None,
        short_edges: Some(ShortEdges { least: 32, most: 96 }),
    };
    let task = Progress::Quiet.task("load", 6, "images");
    let options = LoadOptions { cache_bytes: u64::MAX, stage: "test", progress: &task, stop: &StopFlag::default() };
    let (set, failures) = DetectionSet::load(source, images, &lesions, options).unwrap();
    assert!(failures.is_empty());
    set
}

#[test]
fn multi_scale_batches_have_drawn_sizes_one_orientation_and_boxes_where_the_pixels_are() {
    let dir = tempfile::tempdir().unwrap();
    let set = of_two_orientations(dir.path());
    let kept = set.examples[0].letterbox;
    assert_eq!(kept.model, ImageSize { width: 107, height: 71 }, "no larger than the largest size");
    let plan = |places: std::ops::Range<usize>| BatchPlan {
        seed: 5,
        sampler: set.sampler(5, 0.0),
        size: 4,
        places,
        augment: AugmentConfig::none(true),
    };
    let mut edges = BTreeSet::new();
    let mut flipped = 0;
    for step in 0..24 {
        let batch = plan(0..4).batch(&set, step).unwrap();
        let wide = batch.images[0].width > batch.images[0].height;
        for (image, boxes) in batch.images.iter().zip(&batch.boxes) {
            assert_eq!(image.width > image.height, wide, "step {step}");
            let edge = image.width.min(image.height);
            assert!(
                (32..=96).contains(&edge) && image.width.max(image.height) <= 107,
                "{} x {}",
                image.width,
                image.height
            );
            edges.insert(edge);
            let bright: Vec<usize> = (0..image.pixels.len()).filter(|&i| image.pixels[i] > 127).collect();
            let columns = bright.iter().map(|i| i % image.width as usize);
            let rows = bright.iter().map(|i| i / image.width as usize);
            let found = [
                columns.clone().min().unwrap() as f32,
                rows.clone().min().unwrap() as f32,
                columns.max().unwrap() as f32 + 1.0,
                rows.max().unwrap() as f32 + 1.0,
            ];
            for (pixel, edge) in found.iter().zip(boxes[0].region.to_array()) {
                assert!((pixel - edge).abs() <= 1.0, "pixels {found:?}, box {:?}", boxes[0].region);
            }
            flipped += usize::from(boxes[0].region.x_min > image.width as f32 * 0.25);
        }
        // A function of the step, and of the place for any division of the batch among processes.
        assert_eq!(batch, plan(0..4).batch(&set, step).unwrap());
        let (first, rest) = (plan(0..1).batch(&set, step).unwrap(), plan(1..4).batch(&set, step).unwrap());
        assert_eq!([first.images, rest.images].concat(), batch.images);
        assert_eq!([first.boxes, rest.boxes].concat(), batch.boxes);
    }
    assert!(edges.len() > 20 && flipped > 10 && flipped < 86, "{edges:?}, {flipped} flipped");
}

#[test]
fn both_views_of_a_multi_scale_step_have_one_size() {
    use crate::config::semi::{StrongConfig, StrongLabelled};
    use crate::detector::batches::semi_batch::{SemiPlan, SemiSets};

    let dir = tempfile::tempdir().unwrap();
    let set = Arc::new(of_two_orientations(dir.path()));
    let sets = SemiSets { labelled: Arc::clone(&set), unlabelled: Arc::clone(&set) };
    let stream = || BatchPlan {
        seed: 5,
        sampler: set.sampler(5, 0.0),
        size: 2,
        places: 0..2,
        augment: AugmentConfig::none(true),
    };
    let plan = SemiPlan {
        labelled: stream(),
        unlabelled: stream(),
        strong: StrongConfig::published(),
        strong_labelled: StrongLabelled::Always,
    };
    let mut different = 0;
    for step in 0..12 {
        let batch = plan.batch(&sets, step, true).unwrap();
        for images in [&batch.labelled, &batch.unlabelled] {
            let sizes = |images: &[Radiograph]| images.iter().map(Radiograph::size).collect::<Vec<_>>();
            assert_eq!(sizes(&images.weak), sizes(&images.strong));
        }
        let sizes = |images: &[Radiograph]| images.iter().map(|i| i.width.min(i.height)).collect::<Vec<_>>();
        different += usize::from(sizes(&batch.labelled.weak) != sizes(&batch.unlabelled.weak));
    }
    assert!(different > 6, "each stream draws its own sizes");
}
