use std::path::Path;

use d2r_contracts::labels::{LESION_CLASSES, lesion_class_id};
use d2r_contracts::tables::*;
use tempfile::TempDir;

use super::*;
use crate::test_fixtures;

fn context() -> Context {
    let mut ctx = test_fixtures::context(&["evaluate.bootstrap_draws=20"]);
    ctx.config.evaluate.gallery_studies = 3;
    ctx
}

fn provenance(verb: &str) -> Provenance {
    Provenance::of_work(verb, "0123456789abcdef".into(), None)
}

fn put<R: Row>(lake: &Lake, verb: &str, split: &str, rows: Vec<R>) {
    lake.write(&Partition { dataset: "mimic".into(), split: split.into() }, WHOLE, rows, &provenance(verb)).unwrap();
}

const ABNORMAL: &str =
    "there is a small nodule in the left lung . the heart size is normal . no pneumothorax is seen .";
const NORMAL: &str = "the lungs are clear . the heart size is normal . no pneumothorax is seen .";

fn image(i: usize) -> ImageRow {
    ImageRow { study_id: format!("s{i}"), width: Some(64), height: Some(64), ..test_fixtures::image(&format!("i{i}")) }
}

fn lesion(i: usize, class: &str, x: f32, source: &str) -> LesionRow {
    let (image_id, box_id) = (format!("i{i}"), format!("i{i}-{source}-{x}"));
    let corners = [x, 10.0, x + 20.0, 30.0];
    LesionRow {
        source: source.into(),
        threshold: Some(0.5),
        model_sha256: Some("d".repeat(64)),
        ..test_fixtures::lesion(&image_id, &box_id, lesion_class_id(class).unwrap(), corners)
    }
}

fn report(i: usize, text: &str) -> ReportRow {
    ReportRow { study_id: format!("s{i}"), section: "findings".into(), text: text.into(), text_clean: text.into() }
}

fn generated(i: usize, text: &str) -> (GeneratedReportRow, Vec<ReportSentenceRow>) {
    let spans = d2r_contracts::report_text::sentences(text);
    let row = GeneratedReportRow {
        report_id: format!("r{i}"),
        image_id: format!("i{i}"),
        study_id: format!("s{i}"),
        text: text.into(),
        n_sentences: spans.len() as i32,
        n_boxes: 1,
        mean_logprob: -0.5,
        mentions_prior: false,
        laterality_conflict: false,
        needs_review: i == 0,
        beam_size: 1,
        max_words: 60,
        model_sha256: "e".repeat(64),
        box_without_sentence: None,
        sentence_without_box: None,
    };
    let sentence = |(k, s): (usize, d2r_contracts::report_text::SentenceSpan)| ReportSentenceRow {
        report_id: format!("r{i}"),
        sentence_id: k as i32,
        char_start: s.char_start as i32,
        char_end: s.char_end as i32,
        text: s.text,
        logprob: -1.0,
    };
    (row, spans.into_iter().enumerate().map(sentence).collect())
}

/// A lake with three test studies (one with a nodule that is detected, named and linked), and the truth beside it.
fn lake_with_truth() -> (TempDir, Args) {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(&dir.path().join("lake")).unwrap();
    put(&lake, "ingest", "test", (0..3).map(image).collect());
    put(&lake, "ingest", "train", (5..8).map(|i| report(i, NORMAL)).collect::<Vec<_>>());
    put(&lake, "ingest", "test", vec![report(0, ABNORMAL), report(1, NORMAL), report(2, NORMAL)]);
    put(&lake, "annotate", "test", vec![lesion(0, "Nodule/Mass", 30.0, "pseudo"), lesion(1, "Edema", 5.0, "pseudo")]);
    let (rows, sentences): (Vec<_>, Vec<_>) =
        [(0, ABNORMAL), (1, NORMAL), (2, NORMAL)].map(|(i, t)| generated(i, t)).into_iter().unzip();
    put(&lake, "report", "test", rows);
    put(&lake, "report", "test", sentences.concat());
    let link = |sentence_id: i32| SentenceBoxRow {
        report_id: "r0".into(),
        sentence_id,
        box_id: "i0-pseudo-30".into(),
        weight: 0.9,
    };
    put(&lake, "report", "test", vec![link(0), link(2)]);
    let truth = Lake::create(&dir.path().join("truth")).unwrap();
    let drawn = TruthLesionRow {
        image_id: "i0".into(),
        box_id: "t0".into(),
        class_name: "Nodule/Mass".into(),
        class_id: lesion_class_id("Nodule/Mass").unwrap(),
        x_min: 31.0,
        y_min: 10.0,
        x_max: 51.0,
        y_max: 30.0,
        side: "left".into(),
        small: true,
    };
    put(&truth, "phantom", "test", vec![drawn]);
    let state = |study: usize, label: &str| TruthFindingRow {
        study_id: format!("s{study}"),
        label: label.into(),
        state: "positive".into(),
    };
    put(&truth, "phantom", "test", vec![state(0, "Lung Lesion"), state(1, "No Finding"), state(2, "No Finding")]);
    let args = Args {
        lake: dir.path().join("lake"),
        dataset: "mimic".into(),
        split: "test".into(),
        truth: Some(dir.path().join("truth")),
    };
    (dir, args)
}

fn metrics(args: &Args) -> Vec<MetricRow> {
    EvaluatedSplit::open(args).unwrap().read().unwrap()
}

#[test]
fn figures_of_both_evaluations_are_kept_side_by_side() {
    let (_dir, args) = lake_with_truth();
    let boxes = run_detector(&context(), args.clone()).unwrap();
    let texts = run_reports(&context(), args.clone()).unwrap();
    assert!((boxes.figures["detector.ap50"] - 1.0).abs() < 1e-12 && !boxes.cached);
    for name in [
        "bleu1",
        "bleu2",
        "bleu3",
        "bleu4",
        "rouge_l",
        "bleu4_constant",
        "label_f1_micro",
        "label_f1_macro",
        "distinct_share",
        "distinct_share_all",
    ] {
        assert!(texts.figures.contains_key(&format!("reports.{name}")), "{name}");
    }
    assert_eq!(texts.figures["reports.label_f1_micro_truth"], 1.0);
    assert_eq!(
        (texts.figures["links.precision"], texts.figures["links.recall"], texts.figures["links.small_lesion_recall"]),
        (0.5, 1.0, 1.0)
    );
    let before = metrics(&args);
    assert!(["detector", "reports", "links"].iter().all(|s| before.iter().any(|r| r.stage == *s)));
    let again = [run_detector(&context(), args.clone()).unwrap(), run_reports(&context(), args.clone()).unwrap()];
    assert!(again.iter().all(|r| r.cached));
    assert_eq!(again[1].figures, texts.figures);
    assert_eq!(metrics(&args), before);
}

#[test]
fn changed_inputs_replace_figures() {
    let (_dir, args) = lake_with_truth();
    run_reports(&context(), args.clone()).unwrap();
    run_detector(&context(), args.clone()).unwrap();
    let lake = Lake::open(&args.lake).unwrap();
    put(&lake, "annotate", "test", vec![lesion(0, "Edema", 30.0, "pseudo")]);
    let changed = run_detector(&context(), args.clone()).unwrap();
    assert_eq!((changed.figures["detector.ap50"], changed.cached), (0.0, false));
    assert!(!run_reports(&context(), args.clone()).unwrap().cached, "links depend on the boxes");
    assert!(run_detector(&context(), args.clone()).unwrap().cached);
}

#[test]
fn labels_of_generated_and_reference_reports_become_rows_once() {
    let (_dir, args) = lake_with_truth();
    for _ in 0..2 {
        run_reports(&context(), args.clone()).unwrap();
        let rows: Vec<FindingRow> = EvaluatedSplit::open(&args).unwrap().read().unwrap();
        let count = |origin: &str| rows.iter().filter(|r| r.origin == origin).count();
        assert_eq!((count("generated"), count("reference")), (3 * 14, 3 * 14));
        // The second call evaluates again.
        put(
            &Lake::open(&args.lake).unwrap(),
            "report",
            "test",
            vec![generated(0, NORMAL).0, generated(1, ABNORMAL).0, generated(2, ABNORMAL).0],
        );
    }
}

#[test]
fn labels_of_references_come_from_the_text_as_it_stands_in_the_source() {
    let (_dir, args) = lake_with_truth();
    let reports = [
        (0, "Bibasilar opacities/atelectasis.", "bibasilar opacitiesatelectasis ."),
        (
            1,
            "Pneumothorax: None.\nCan\u{2019}t exclude pneumonia.",
            "pneumothorax none . can\u{2019}t exclude pneumonia .",
        ),
        (2, "Atelectasis vs. pneumonia.", "atelectasis vs . pneumonia ."),
    ];
    let rows = reports.map(|(i, text, clean)| ReportRow { text_clean: clean.into(), ..report(i, text) });
    put(&Lake::open(&args.lake).unwrap(), "ingest", "test", rows.to_vec());
    run_reports(&context(), args.clone()).unwrap();
    let rows: Vec<FindingRow> = EvaluatedSplit::open(&args).unwrap().read().unwrap();
    let state = |study: &str, label: &str| {
        let mut found = rows.iter().filter(|r| r.origin == "reference" && r.study_id == study && r.label == label);
        found.next().map(|r| r.state.clone()).unwrap_or_default()
    };
    for (study, label, expected) in [
        ("s0", "Lung Opacity", "positive"),
        ("s0", "Atelectasis", "positive"),
        ("s1", "Pneumothorax", "negative"),
        ("s1", "Pneumonia", "uncertain"),
        ("s2", "Atelectasis", "uncertain"),
    ] {
        assert_eq!(state(study, label), expected, "{study} {label}");
    }
}

#[test]
fn labels_that_ingest_read_stay_as_they_are() {
    let (_dir, args) = lake_with_truth();
    let from_csv = FindingRow {
        study_id: "s0".into(),
        report_id: None,
        origin: "reference".into(),
        label: "Edema".into(),
        state: "uncertain".into(),
    };
    put(&Lake::open(&args.lake).unwrap(), "ingest", "test", vec![from_csv.clone()]);
    run_reports(&context(), args.clone()).unwrap();
    let rows: Vec<FindingRow> = EvaluatedSplit::open(&args).unwrap().read().unwrap();
    assert_eq!(rows.iter().filter(|r| r.origin == "reference").collect::<Vec<_>>(), [&from_csv]);
}

#[test]
fn annotators_are_the_reference_without_truth() {
    let (_dir, args) = lake_with_truth();
    let args = Args { truth: None, ..args };
    let unannotated = run_detector(&context(), args.clone()).unwrap_err();
    assert!(
        matches!(unannotated, Error::NoRows { .. }) && unannotated.to_string().contains("--truth"),
        "{unannotated}"
    );
    let lake = Lake::open(&args.lake).unwrap();
    put(&lake, "ingest", "test", (0..3).map(|i| ImageRow { n_boxes: Some(i32::from(i == 0)), ..image(i) }).collect());
    let both = vec![lesion(0, "Nodule/Mass", 30.0, "pseudo"), lesion(0, "Nodule/Mass", 29.0, "fused")];
    put(&lake, "annotate", "test", both);
    let result = run_detector(&context(), args.clone()).unwrap();
    assert!((result.figures["detector.ap50"] - 1.0).abs() < 1e-12);
    assert!(metrics(&args)[0].signature.contains("truth:readers"));
    assert!(!run_reports(&context(), args).unwrap().figures.contains_key("links.precision"));
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let args = Args { lake: dir.path().to_path_buf(), dataset: "mimic".into(), split: "test".into(), truth: None };
    assert!(matches!(run_reports(&context(), args.clone()), Err(Error::InputMissing { .. })));
    Lake::create(dir.path()).unwrap();
    let text = |e: Error| e.to_string();
    assert!(text(run_detector(&context(), args.clone()).unwrap_err()).contains("d2r ingest"));
    assert!(text(run_reports(&context(), args.clone()).unwrap_err()).contains("d2r report"));
    let (_other, with_truth) = lake_with_truth();
    let elsewhere = Args { dataset: "mimic".into(), truth: Some(dir.path().to_path_buf()), ..with_truth };
    assert!(
        text(run_detector(&context(), elsewhere).unwrap_err()).contains("truth_lesions has no usable rows of mimic")
    );
}

#[test]
fn the_page_shows_studies_and_survives_an_empty_lake() {
    let (dir, args) = lake_with_truth();
    let path = dir.path().join("page/report.html");
    write_report_html(&context(), &args, &path).unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    for words in
        ["not a medical device", "Study ", "file cannot be read", "needs review", "data-boxes", "Link precision"]
    {
        assert!(page.contains(words), "{words}");
    }
    assert!(LESION_CLASSES.iter().all(|c| page.contains(c)));
    assert!(page.contains("There is a small nodule in the left lung."), "reports are written as a person writes them");
    assert!(!page.contains("in the left lung ."));
    let place = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words}"));
    assert!(place("class=\"case\"") < place("id=\"figures\""), "pictures come first");
    let empty = Args { lake: dir.path().join("empty"), truth: None, ..args };
    Lake::create(Path::new(&empty.lake)).unwrap();
    write_report_html(&context(), &empty, &path).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("No input failed."));
}

#[test]
fn the_page_of_a_folder_has_the_folders_name() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(&dir.path().join("lake")).unwrap();
    lake.register_dataset("folder", &dir.path().join("incoming"), "folder").unwrap();
    let lake = dir.path().join("lake");
    let args = Args { lake, dataset: "folder".into(), split: "test".into(), truth: None };
    let path = dir.path().join("report.html");
    write_report_html(&context(), &args, &path).unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.contains("<h1>Radiographs of incoming</h1>") && page.contains("D2R reports"));
    assert!(!page.contains("test split"));
}
