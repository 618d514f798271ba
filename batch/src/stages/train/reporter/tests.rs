//! The stage on drawn images: unusual reports and images, sources of boxes and texts, several views, and that the
//! test split has no influence.

use std::io::Cursor;
use std::path::Path;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::labels::LESION_CLASSES;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use tempfile::TempDir;

use super::*;
use crate::lake::{Provenance, Shard};
use crate::reporter::batches::examples::examples_read_by;
use crate::reporter::batches::given_boxes::given_boxes;
use crate::reporter::batches::visual_handle::VisualHandle;
use crate::reporter::batches::visual_reader::VisualReader;
use crate::stages::report::{self, ImageSource, WritingModel};
use crate::test_fixtures::{self, context};

const SIDE: u32 = 96;
const NORMAL: &str = "the heart size is normal . the lungs are clear . no pneumothorax is seen .";
const PRIOR: &str = "there is a nodule in the left lung . the effusion is unchanged . the heart is large .";

/// A lake with images whose grey levels are `grey(x, y)`.
struct Fixture {
    dir: TempDir,
    lake: Lake,
    images: BTreeMap<&'static str, Vec<ImageRow>>,
    reports: BTreeMap<&'static str, Vec<ReportRow>>,
    lesions: BTreeMap<&'static str, Vec<LesionRow>>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::create(&dir.path().join("lake")).unwrap();
        let root = dir.path().join("images");
        std::fs::create_dir(&root).unwrap();
        lake.register_dataset("mimic", &root, "mimic").unwrap();
        Self { dir, lake, images: BTreeMap::new(), reports: BTreeMap::new(), lesions: BTreeMap::new() }
    }

    fn image(&mut self, split: &'static str, study: &str, view: usize, grey: impl Fn(u32, u32) -> u8) {
        let image_id = format!("{study}-{view}");
        let pixels: Vec<u8> = (0..SIDE * SIDE).map(|p| grey(p % SIDE, p / SIDE)).collect();
        let mut png = Cursor::new(Vec::new());
        PngEncoder::new(&mut png).write_image(&pixels, SIDE, SIDE, ExtendedColorType::L8).unwrap();
        std::fs::write(self.dir.path().join("images").join(format!("{image_id}.png")), png.get_ref()).unwrap();
        self.images.entry(split).or_default().push(ImageRow {
            path: format!("{image_id}.png"),
            image_id,
            study_id: study.into(),
            subject_id: format!("p-{study}"),
            view: "PA".into(),
            width: Some(SIDE as i32),
            height: Some(SIDE as i32),
            sha256: Some(crate::lake::digest::sha256_hex(png.get_ref())),
            n_boxes: None,
            burned_in_annotation: None,
        });
    }

    fn report(&mut self, split: &'static str, study: &str, text: &str) {
        let (text, section) = (text.to_owned(), "findings".to_owned());
        let row = ReportRow { study_id: study.into(), section, text_clean: text.clone(), text };
        self.reports.entry(split).or_default().push(row);
    }

    fn boxes(&mut self, split: &'static str, study: &str, count: usize) {
        for i in 0..count {
            let (x, y) = (4.0 + (i % 8) as f32 * 10.0, 4.0 + (i / 8) as f32 * 10.0);
            let class_id = (i % LESION_CLASSES.len()) as i32;
            let image_id = format!("{study}-0");
            self.lesions.entry(split).or_default().push(LesionRow {
                score: 0.9 - 0.01 * i as f32,
                threshold: Some(0.5),
                model_sha256: Some("d".repeat(64)),
                ..test_fixtures::lesion(&image_id, &format!("{image_id}-p{i:03}"), class_id, [x, y, x + 12.0, y + 12.0])
            });
        }
    }

    fn study(&mut self, split: &'static str, study: &str, text: &str, boxes: usize) {
        self.image(split, study, 0, |x, y| (x * 2 + y) as u8);
        self.report(split, study, text);
        self.boxes(split, study, boxes);
    }

    fn write(&self) {
        let provenance = || Provenance::of_work("ingest", "0123456789ab".into(), None);
        for split in ["train", "val", "test"] {
            let (part, whole) = (Partition::new("mimic", split), Shard::default());
            self.lake.write(&part, whole, self.images.get(split).cloned().unwrap_or_default(), &provenance()).unwrap();
            self.lake.write(&part, whole, self.reports.get(split).cloned().unwrap_or_default(), &provenance()).unwrap();
            self.lake.write(&part, whole, self.lesions.get(split).cloned().unwrap_or_default(), &provenance()).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn train(&self, ctx: &Context) -> Result<StageResult> {
        let args = Args {
            lake: self.path("lake"),
            dataset: "mimic".into(),
            detector: None,
            init: None,
            boxes: BoxesFrom::Detector,
            runs: self.path("runs"),
        };
        run(ctx, args)
    }

    fn report_on_test(&self, ctx: &Context, run: &Path) -> StageResult {
        let source = ImageSource::Lake { lake: self.path("lake"), dataset: "mimic".into(), split: "test".into() };
        let model = WritingModel::ReportModel { run: run.into(), explain: None, boxes: BoxesFrom::Detector };
        report::run(ctx, report::Args { source, model, shard: Shard::default(), refuse_burned_in: false }).unwrap()
    }

    fn only_run(&self) -> PathBuf {
        std::fs::read_dir(self.path("runs")).unwrap().next().unwrap().unwrap().path()
    }
}

/// Unusual reports and images.
fn unusual() -> Fixture {
    let mut f = Fixture::new();
    f.study("train", "normal", NORMAL, 2);
    f.study("train", "empty", ".", 1);
    f.study("train", "nostop", "the lungs are clear", 1);
    f.study("train", "oneword", "normal .", 0);
    f.study("train", "many", NORMAL, 50);
    f.image("train", "grey", 0, |_, _| 77);
    f.report("train", "grey", NORMAL);
    f.boxes("train", "grey", 1);
    f.image("train", "black", 0, |_, _| 0);
    f.report("train", "black", "");
    f.study("val", "v", NORMAL, 1);
    f.study("val", "w", "", 0);
    f.image("test", "t", 0, |_, _| 255);
    f.boxes("test", "t", 50);
    f.write();
    f
}

fn reporter_card(ctx: &Context) -> ReporterCard {
    let model = ctx.config.report.model.clone();
    let vocabulary = Vocabulary::build([NORMAL, PRIOR].into_iter(), 1);
    ReporterCard {
        visual: visual_spec(&model),
        config: model,
        vocabulary,
        labels: LabelSet::vindr(),
        align: None,
        detector_sha256: None,
    }
}

#[test]
fn unusual_reports_and_images_are_trained_on_and_reported() {
    let f = unusual();
    let aligned = ["report.align.lab_weight=1", "report.align.gab_weight=1", "generate.similarity_share=0.5"];
    let cropped = ["report.train.augment=r2gen", "report.train.hflip=true", "report.model.regions=crops"];
    for set in [&[][..], &aligned, &cropped] {
        let ctx = context(set);
        let result = f.train(&ctx).unwrap();
        assert!(result.figures["steps"] >= 2.0);
        assert_eq!(result.rows["failures"], 0);
        let run = f.only_run();
        let result = f.report_on_test(&ctx, &run);
        assert_eq!((result.rows["generated_reports"], result.rows["failures"]), (1, 0));
        let rows: Vec<d2r_contracts::tables::GeneratedReportRow> =
            f.lake.read(&Partition::new("mimic", "test")).unwrap();
        let boxes = ctx.config.report.model.max_regions as i32;
        assert_eq!(rows[0].n_boxes, boxes);
        assert!((0..=boxes).contains(&rows[0].box_without_sentence.unwrap()));
        assert!((0..=rows[0].n_sentences).contains(&rows[0].sentence_without_box.unwrap()));
        std::fs::remove_dir_all(run).unwrap();
    }
}

#[test]
fn a_prepared_study_is_not_decoded_again_and_has_the_same_pixels() {
    let (f, ctx) = (unusual(), context(&[]));
    let card = reporter_card(&ctx);
    let read_within = |kept_bytes| {
        let train = Partition::new("mimic", "train");
        let visuals = VisualReader::new(&ctx, &f.lake, "mimic", card.visual, kept_bytes).unwrap();
        let (found, failures) =
            examples_read_by(visuals, &ctx, &f.lake, &train, &card, None, BoxesFrom::Detector).unwrap();
        assert!(failures.is_empty(), "{failures:?}");
        let stored = found.iter().filter(|e| matches!(e.visual, VisualHandle::Stored(_))).count();
        assert_eq!(stored, if kept_bytes == 0 { found.len() } else { 0 });
        found.iter().map(|e| ((*e.visual.get().unwrap()).clone(), e.named.clone())).collect::<Vec<_>>()
    };
    let read = || read_within(usize::MAX >> 1);
    let first = read();
    assert_eq!(read_within(0), first);
    let prepared = f.lake.root().join("prepared");
    assert!(prepared.is_dir() && first.iter().any(|(visual, _)| !visual.regions.is_empty()));
    let images = f.lake.dataset_root("mimic").unwrap();
    let aside = images.with_extension("aside");
    std::fs::rename(&images, &aside).unwrap();
    assert_eq!(read(), first);
    std::fs::rename(&aside, &images).unwrap();
    std::fs::remove_dir_all(&prepared).unwrap();
    assert_eq!(read(), first);
}

#[test]
fn regions_are_the_highest_scoring_boxes_and_may_be_none() {
    let (f, ctx) = (unusual(), context(&[]));
    let (examples, failures) =
        examples(&ctx, &f.lake, &Partition::new("mimic", "train"), &reporter_card(&ctx), None, BoxesFrom::Detector)
            .unwrap();
    assert!(failures.is_empty());
    let of = |study: &str| examples.iter().find(|e| e.study_id == study).unwrap();
    assert_eq!(of("many").visual.regions(), ctx.config.report.model.max_regions);
    assert_eq!(of("oneword").visual.regions(), 0);
    assert_eq!(of("black").ids, [0, 0]);
    assert!(of("empty").named.is_empty());
}

#[test]
fn references_stay_whole_where_targets_are_cut() {
    let mut f = Fixture::new();
    f.study("val", "v", NORMAL, 0);
    f.write();
    let ctx = context(&["report.train.max_tokens=5"]);
    let (examples, _) =
        examples(&ctx, &f.lake, &Partition::new("mimic", "val"), &reporter_card(&ctx), None, BoxesFrom::Detector)
            .unwrap();
    assert_eq!(examples[0].ids.len(), 5);
    assert_eq!(examples[0].reference, NORMAL);
}

#[test]
fn mentions_of_earlier_examinations_are_left_out_of_the_training_split() {
    let mut f = Fixture::new();
    f.study("train", "t", PRIOR, 1);
    f.study("train", "u", "unchanged .", 0);
    f.study("val", "v", PRIOR, 0);
    f.write();
    let texts = |rule: &str, split: &str| -> Vec<String> {
        let ctx = context(&[&format!("report.train.prior_mentions=\"{rule}\"")]);
        let found =
            examples(&ctx, &f.lake, &Partition::new("mimic", split), &reporter_card(&ctx), None, BoxesFrom::Detector)
                .unwrap()
                .0;
        found.into_iter().map(|e| e.reference).collect()
    };
    assert_eq!(texts("keep", "train"), [PRIOR, "unchanged ."]);
    assert_eq!(texts("drop_sentences", "train"), ["there is a nodule in the left lung . the heart is large ."]);
    assert!(texts("drop_reports", "train").is_empty());
    assert_eq!(texts("drop_reports", "val"), [PRIOR]);
    let ctx = context(&["report.train.prior_mentions=\"drop_reports\""]);
    assert_eq!(f.train(&ctx).unwrap_err().exit().code(), 66);
}

#[test]
fn a_study_of_several_views_is_one_example() {
    let mut f = Fixture::new();
    for (study, views) in [("a", 2), ("b", 1), ("c", 3)] {
        for view in 0..views {
            f.image("train", study, view, move |_, _| 10 + 60 * view as u8);
        }
        f.report("train", study, NORMAL);
    }
    for study in ["x", "y", "z"] {
        f.image("test", study, 0, |x, _| x as u8);
    }
    f.write();
    let ctx = context(&["report.model.views=2"]);
    let card = reporter_card(&ctx);
    let (found, _) =
        examples(&ctx, &f.lake, &Partition::new("mimic", "train"), &card, None, BoxesFrom::Detector).unwrap();
    assert_eq!(found.iter().map(|e| e.study_id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    let area = (card.visual.image.size * card.visual.image.size) as usize;
    let greys = |i: usize| {
        let visual = found[i].visual.get().unwrap();
        visual.pixels.chunks(area).map(|view| view[area / 2]).collect::<Vec<_>>()
    };
    assert_eq!((greys(0), greys(1), greys(2)), (vec![10, 70], vec![10, 10], vec![10, 70]));
    f.train(&ctx).unwrap();
    assert_eq!(f.report_on_test(&ctx, &f.only_run()).rows["generated_reports"], 3);
}

#[test]
fn several_reports_of_an_image_are_separate_rows() {
    let f = unusual();
    f.train(&context(&[])).unwrap();
    let ctx = context(&["generate.method=sample", "generate.reports=3", "generate.top_p=0.9"]);
    assert_eq!(f.report_on_test(&ctx, &f.only_run()).rows["generated_reports"], 3);
    let rows: Vec<d2r_contracts::tables::GeneratedReportRow> = f.lake.read(&Partition::new("mimic", "test")).unwrap();
    assert_eq!(rows.iter().map(|r| r.report_id.as_str()).collect::<Vec<_>>(), ["t-0-r", "t-0-r1", "t-0-r2"]);
}

#[test]
fn the_test_split_has_no_influence_on_training() {
    let mut f = unusual();
    let ctx = context(&[]);
    let first = f.train(&ctx).unwrap();
    f.study("test", "another", PRIOR, 3);
    f.write();
    let again = f.train(&ctx).unwrap();
    assert!(!first.cached && again.cached, "other test images do not change the work key");
    assert_eq!(again.figures, first.figures);
    f.study("val", "more", PRIOR, 3);
    f.write();
    assert!(!f.train(&ctx).unwrap().cached);
}

#[test]
fn a_damaged_image_is_a_failure_row() {
    let f = unusual();
    std::fs::write(Path::new(&f.path("images")).join("many-0.png"), b"no picture").unwrap();
    let ctx = context(&[]);
    let (examples, failures) =
        examples(&ctx, &f.lake, &Partition::new("mimic", "train"), &reporter_card(&ctx), None, BoxesFrom::Detector)
            .unwrap();
    assert_eq!((examples.len(), failures.len()), (6, 1));
    assert_eq!(failures[0].image_id.as_deref(), Some("many-0"));
}

#[test]
fn boxes_are_those_of_one_detector_and_annotators_boxes_are_asked_for() {
    let mut f = Fixture::new();
    f.study("train", "t", NORMAL, 2);
    f.write();
    let partition = Partition::new("mimic", "train");
    let given = |f: &Fixture, from| given_boxes(&f.lake, &partition, from);
    assert_eq!(given(&f, BoxesFrom::Detector).unwrap().values().map(Vec::len).sum::<usize>(), 2);
    let rows = f.lesions.get_mut("train").unwrap();
    rows[0].model_sha256 = Some("b".repeat(64));
    f.write();
    assert_eq!(given(&f, BoxesFrom::Detector).unwrap_err().exit().code(), 65);
    for row in f.lesions.get_mut("train").unwrap() {
        (row.source, row.model_sha256) = ("fused".into(), None);
    }
    f.write();
    let error = given(&f, BoxesFrom::Detector).unwrap_err();
    assert_eq!(error.exit().code(), 66);
    assert!(error.to_string().contains("--boxes annotators"), "{error}");
    assert_eq!(given(&f, BoxesFrom::Annotators).unwrap().values().map(Vec::len).sum::<usize>(), 2);
}

#[test]
fn a_trunk_of_a_detector_or_an_import_is_not_left_to_chance() {
    let mut f = Fixture::new();
    f.study("train", "t", NORMAL, 0);
    f.write();
    for trunk in ["detector", "imported"] {
        let error = f.train(&context(&[&format!("report.model.trunk=\"{trunk}\"")])).unwrap_err();
        assert_eq!(error.exit().code(), 78, "{error}");
        assert!(error.to_string().contains("report.model.trunk"), "{error}");
    }
}

#[test]
fn a_model_without_regions_needs_no_boxes() {
    let mut f = Fixture::new();
    for (split, study) in [("train", "t"), ("train", "u"), ("test", "x")] {
        f.study(split, study, NORMAL, 1);
        f.lesions.get_mut(split).unwrap().iter_mut().for_each(|row| row.source = "fused".into());
    }
    f.write();
    let ctx = context(&["report.model.regions=off"]);
    f.train(&ctx).unwrap();
    assert_eq!(f.report_on_test(&ctx, &f.only_run()).rows["generated_reports"], 1);
}
