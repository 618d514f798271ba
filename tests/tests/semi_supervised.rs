//! Semi-supervised training as a process: teacher and student, pseudo-labels in the lake, and errors for missing inputs.

use d2r_acceptance::{outcome, run};
use serde_json::{Value, json};

fn done(folder: &std::path::Path, args: &[&str]) -> Value {
    let (code, out, err) = outcome(&run(folder, args));
    assert_eq!(code, 0, "{args:?}: {err}");
    serde_json::from_str(out.lines().last().unwrap_or("null")).unwrap_or(Value::Null)
}

/// `--set` before each of these.
fn set<'a>(pairs: &[&'a str]) -> Vec<&'a str> {
    pairs.iter().flat_map(|pair| ["--set", pair]).collect()
}

#[test]
fn a_teacher_labels_unlabelled_images() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let quick = ["--preset", "tiny", "--lake", "lake", "--runs", "runs", "--json"];
    done(folder, &["phantom", "--out", "phantom", "--preset", "tiny", "--quiet"]);
    done(folder, &[&["ingest", "vindr", "--root", "phantom/vindr"], &quick[..]].concat());
    done(folder, &[&["ingest", "mimic", "--root", "phantom/mimic"], &quick[..]].concat());
    let settings = set(&[
        "semi.burn_in_steps=4",
        "semi.threshold=0.02",
        "semi.guard_rails=off",
        "detector.train.eval_every=4",
        "detector.train.optimizer=adam",
        "detector.train.lr=0.02",
        "detector.model.profile=utv2",
        "annotate.threshold=0.02",
        "annotate.score_floor=0.005",
    ]);
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
    let by_class = set(&["semi.report_threshold=0.1", "annotate.threshold=by_class"]);
    let chosen = done(folder, &[&train[..], &quick[..], &settings[..], &by_class[..]].concat());
    let card = chosen["files"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|f| f["path"].as_str().filter(|p| p.ends_with("card.json")));
    let card = folder.join(card.unwrap());
    let thresholds: Value = serde_json::from_slice(&std::fs::read(&card).unwrap()).unwrap();
    let thresholds = thresholds["model"]["class_thresholds"].as_array().unwrap();
    assert_eq!(thresholds.len(), 22);
    assert!(thresholds.iter().any(|t| t != &thresholds[0]), "{thresholds:?}");
    let chosen_run = card.parent().unwrap().to_str().unwrap();
    done(
        folder,
        &[
            &["annotate", "--dataset", "mimic", "--detector", chosen_run, "--lake", "lake"][..],
            &set(&["annotate.score_floor=0.005"]),
        ]
        .concat(),
    );
    let (accepted, rows) = pseudo_boxes(&folder.join("lake"));
    assert!(0 < accepted && accepted < rows, "{accepted} of {rows}");
    let on_a_run_without =
        [&["annotate", "--dataset", "mimic", "--detector", run_folder, "--lake", "lake"][..], &by_class[2..]].concat();
    let (code, _, err) = outcome(&run(folder, &on_a_run_without));
    assert!(code == 78 && err.contains("holds no thresholds by class") && err.contains("set a number"), "{code} {err}");
    let alone = ["train-detector", "--dataset", "vindr"];
    let (code, _, err) = outcome(&run(folder, &[&alone[..], &quick[..], &settings[..], &by_class[2..]].concat()));
    assert!(code == 0 && err.contains("images with annotators' boxes of vindr/val"), "{code} {err}");
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

/// A COCO dataset of images of two orientations, each with a bright square.
fn of_two_orientations(root: &std::path::Path) {
    for (split, count) in [("train", 40u32), ("val", 7)] {
        let folder = root.join(split);
        std::fs::create_dir_all(&folder).unwrap();
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for i in 0..count {
            let (width, height) = if i % 3 == 0 { (150 + i, 100) } else { (100, 128 + 3 * i) };
            let inside = |x, y| (10 + i..50 + i).contains(&x) && (30..70).contains(&y);
            let grey = |x, y| if inside(x, y) { 220 } else { 30 + ((x * 3 + y * 5 + 7 * i) % 40) as u8 };
            let name = format!("{split}{i}.png");
            image::GrayImage::from_fn(width, height, |x, y| image::Luma([grey(x, y)]))
                .save(folder.join(&name))
                .unwrap();
            images.push(json!({"id": i, "file_name": name, "width": width, "height": height}));
            let bbox = [10 + i, 30, 40, 40];
            annotations
                .push(json!({"id": i + 1, "image_id": i, "category_id": 7, "bbox": bbox, "area": 1600, "iscrowd": 0}));
        }
        let categories = [json!({"id": 7, "name": "Mass"})];
        let document = json!({"images": images, "categories": categories, "annotations": annotations});
        std::fs::write(folder.join("_annotations.coco.json"), document.to_string()).unwrap();
    }
}

/// The published input pipeline: multi-scale training of both architectures, and boxes of any shards in original pixels.
#[test]
fn short_edge_inputs_are_trained_on_and_annotated_by_any_number_of_shards() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    of_two_orientations(&folder.join("mine"));
    for lake in ["whole", "shards"] {
        done(folder, &["ingest", "coco", "--root", "mine", "--dataset", "mine", "--labels", "dataset", "--lake", lake]);
    }
    let train = [
        &["train-detector", "--preset", "tiny", "--lake", "whole", "--json", "--dataset", "mine"][..],
        &set(&[
            "detector.model.input_size=96",
            "detector.train.augment=multi_scale",
            "detector.train.hflip=true",
            "detector.model.profile=utv2",
        ]),
    ]
    .concat();
    let (code, _, err) = outcome(&run(folder, &train));
    assert!(code == 78 && err.contains("detector.train.augment") && err.contains("short_edge"), "{code} {err}");
    let short_edge = [&train[..], &["--set", "detector.model.input=short_edge"]].concat();
    let semi = [
        &["--unlabelled", "mine"][..],
        &set(&[
            "detector.train.labelled_share=0.5",
            "semi.burn_in_steps=4",
            "semi.threshold=0.02",
            "semi.guard_rails=off",
            "detector.train.steps=6",
            "detector.train.eval_every=4",
            "detector.model.architecture=faster_rcnn",
        ]),
    ]
    .concat();
    let detector = |runs: &str, more: &[&str]| {
        done(folder, &[&short_edge[..], &["--runs", runs], more].concat());
        std::fs::read_dir(folder.join(runs)).unwrap().next().unwrap().unwrap().path()
    };
    for (runs, more) in [("fcos", &[][..]), ("rcnn", &semi[..])] {
        let detector = detector(runs, more);
        let card: Value = serde_json::from_slice(&std::fs::read(detector.join("card.json")).unwrap()).unwrap();
        assert_eq!(card["model"]["input"]["fit"], "short_edge");
        let annotate = |lake: &str, shard: &str| {
            let args =
                ["annotate", "--preset", "tiny", "--dataset", "mine", "--lake", lake, "--shard", shard, "--json"];
            let settings = ["--set", "annotate.batch_size=4", "--set", "annotate.score_floor=0.0"];
            let run_folder = ["--detector", detector.to_str().unwrap()];
            done(folder, &[&args[..], &settings, &run_folder].concat())
        };
        annotate("whole", "0/1");
        for shard in ["1/3", "2/3", "0/3"] {
            annotate("shards", shard);
        }
        for split in ["train", "val"] {
            let part = format!("v1/lesions/dataset=mine/split={split}/part-annotate.parquet");
            let file = |lake: &str| std::fs::read(folder.join(lake).join(&part)).unwrap();
            assert!(file("whole") == file("shards"), "{runs}, {split}");
        }
        assert_eq!(annotate("shards", "0/1")["cached"], true);
        // Boxes are within their images, whatever the padding was.
        let (code, _, err) = outcome(&run(folder, &["validate", "--lake", "whole"]));
        assert_eq!(code, 0, "{err}");
        let furthest = furthest_edges(&folder.join("whole/v1/lesions/dataset=mine/split=val/part-annotate.parquet"));
        assert!(
            furthest[0] > 100.0 && furthest[0] <= 156.0 && furthest[1] > 128.0 && furthest[1] <= 146.0,
            "{furthest:?}"
        );
    }
}

/// The largest right and lower edge in a table of boxes, original pixels.
fn furthest_edges(file: &std::path::Path) -> [f32; 2] {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;
    let reader = SerializedFileReader::new(std::fs::File::open(file).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let at = ["x_max", "y_max"].map(|name| schema.columns().iter().position(|c| c.name() == name).unwrap());
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    rows.fold([0.0, 0.0], |furthest: [f32; 2], row| [0, 1].map(|i| furthest[i].max(row.get_float(at[i]).unwrap())))
}
