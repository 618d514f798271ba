//! Semi-supervised training as a process: teacher and student, pseudo-labels in the lake, and errors for missing inputs.

use d2r_acceptance::{outcome, run};
use serde_json::Value;

fn done(folder: &std::path::Path, args: &[&str]) -> Value {
    let (code, out, err) = outcome(&run(folder, args));
    assert_eq!(code, 0, "{args:?}: {err}");
    serde_json::from_str(out.lines().last().unwrap_or("null")).unwrap_or(Value::Null)
}

#[test]
fn a_teacher_labels_unlabelled_images() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let quick = ["--preset", "tiny", "--lake", "lake", "--runs", "runs", "--json"];
    done(folder, &["phantom", "--out", "phantom", "--preset", "tiny", "--quiet"]);
    done(folder, &[&["ingest", "vindr", "--root", "phantom/vindr"], &quick[..]].concat());
    done(folder, &[&["ingest", "mimic", "--root", "phantom/mimic"], &quick[..]].concat());
    let settings = [
        "--set",
        "semi.burn_in_steps=4",
        "--set",
        "semi.threshold=0.02",
        "--set",
        "semi.guard_rails=off",
        "--set",
        "detector.train.eval_every=4",
        "--set",
        "detector.train.optimizer=adam",
        "--set",
        "detector.train.lr=0.02",
        "--set",
        "detector.model.profile=utv2",
        "--set",
        "annotate.threshold=0.02",
        "--set",
        "annotate.score_floor=0.005",
    ];
    let train = ["train-detector", "--dataset", "vindr", "--unlabelled", "mimic"];
    let trained = done(folder, &[&train[..], &quick[..], &settings[..]].concat());
    let again = done(folder, &[&train[..], &quick[..], &settings[..]].concat());
    assert_eq!((&trained["cached"], &again["cached"]), (&Value::Bool(false), &Value::Bool(true)));
    let detector = std::fs::read_dir(folder.join("runs")).unwrap().next().unwrap().unwrap().path();
    assert!(detector.join("student.safetensors").is_file());
    let log = std::fs::read_to_string(detector.join("metrics.jsonl")).unwrap();
    for phase in ["burn_in", "mutual", "validation", "validation_student"] {
        assert!(log.contains(&format!("\"phase\":\"{phase}\"")), "{phase} is not in {log}");
    }
    let run_folder = detector.to_str().unwrap();
    done(folder, &[&["annotate", "--dataset", "mimic", "--detector", run_folder], &quick[..], &settings[..]].concat());
    let (accepted, rows) = pseudo_boxes(&folder.join("lake"));
    assert!(rows > 0 && accepted > 0, "{accepted} of {rows}");
    // Without a preset the threshold is the one that the run was trained with, not the default's 0.5.
    let again = ["annotate", "--dataset", "mimic", "--detector", run_folder, "--lake", "lake"];
    done(folder, &[&again[..], &["--set", "annotate.score_floor=0.005", "--json"]].concat());
    assert_eq!(pseudo_boxes(&folder.join("lake")), (accepted, rows));
    done(
        folder,
        &[
            "export",
            "coco",
            "--dataset",
            "mimic",
            "--split",
            "train",
            "--pseudo",
            "--lake",
            "lake",
            "--out",
            "coco.json",
        ],
    );
    assert!(std::fs::read_to_string(folder.join("coco.json")).unwrap().contains("\"bbox\""));
    done(folder, &["export", "annotation-json", "--dataset", "mimic", "--lake", "lake", "--out", "annotation.json"]);
    let (code, _, err) = outcome(&run(folder, &["validate", "--lake", "lake"]));
    assert_eq!(code, 0, "{err}");

    let labeller = [&train[..], &["--labeller", run_folder], &quick[..], &settings[..]].concat();
    let by_another = done(folder, &labeller);
    assert_eq!(by_another["cached"], Value::Bool(false), "the labeller is part of the work key");
    let larger = [&labeller[..], &["--set", "detector.model.input_size=96"]].concat();
    let (code, _, err) = outcome(&run(folder, &larger));
    assert!(code == 65 && err.contains("input or classes of this labeller differ"), "{code} {err}");
    let absent = [&train[..], &["--labeller", "runs/absent"], &quick[..]].concat();
    let (code, _, err) = outcome(&run(folder, &absent));
    assert!(code == 66 && err.contains("absent"), "{code} {err}");

    let read = ["--set", "semi.report_threshold=0.1"];
    let by_reports = done(folder, &[&train[..], &read[..], &quick[..], &settings[..]].concat());
    assert_eq!(by_reports["cached"], Value::Bool(false), "the use of reports is part of the work key");
    let without_reports = ["train-detector", "--dataset", "vindr", "--unlabelled", "vindr"];
    let half = ["--set", "detector.train.labelled_share=0.5"];
    let (code, _, err) =
        outcome(&run(folder, &[&without_reports[..], &read[..], &half[..], &quick[..], &settings[..]].concat()));
    assert!(code == 78 && err.contains("no training image of dataset `vindr` has a report"), "{code} {err}");

    let (code, _, err) = outcome(&run(folder, &[&["train-detector", "--unlabelled", "nowhere"], &quick[..]].concat()));
    assert!(code == 99 || code == 66, "{code} {err}");
}

/// Accepted and all pseudo-boxes; the accepted ones are those above the threshold, row for row.
fn pseudo_boxes(lake: &std::path::Path) -> (usize, usize) {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;
    let (mut accepted, mut rows) = (0, 0);
    for entry in walkdir::WalkDir::new(lake.join("v1/lesions/dataset=mimic")).into_iter().filter_map(Result::ok) {
        if entry.path().extension().is_none_or(|e| e != "parquet") {
            continue;
        }
        let reader = SerializedFileReader::new(std::fs::File::open(entry.path()).unwrap()).unwrap();
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let at = |name: &str| schema.columns().iter().position(|c| c.name() == name).unwrap();
        let (score, flag, threshold) = (at("score"), at("accepted"), at("threshold"));
        let (iou, std) = (at("student_iou"), at("std_x_min"));
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let above = row.get_float(score).unwrap() > row.get_float(threshold).unwrap();
            assert_eq!(row.get_bool(flag).unwrap(), above);
            assert!((0.0..=1.0).contains(&row.get_float(iou).unwrap()) && row.get_float(std).unwrap() > 0.0);
            rows += 1;
            accepted += usize::from(above);
        }
    }
    (accepted, rows)
}
