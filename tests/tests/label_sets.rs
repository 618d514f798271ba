//! Boxes of any label set as a process: a COCO dataset keeps its categories from ingest through training, annotation
//! and export, and categories that a label set does not know stop an ingest.

use std::fs;
use std::path::Path;

use d2r_acceptance::{outcome, run};
use image::{GrayImage, Luma};
use serde_json::{Value, json};

/// Edge of the images, pixels.
const SIZE: u32 = 128;
/// Image id of the first image; ids fall, so that they are not in the order of the files.
const FIRST_ID: i64 = 900;

/// Writes a COCO dataset of two categories: dim images with a large or a small bright square.
fn dataset(root: &Path, [large, small]: [(i64, &str); 2]) {
    for split in ["train", "val"] {
        fs::create_dir_all(root.join(split)).unwrap();
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for i in 0..6i64 {
            let (category, edge) = if i % 2 == 0 { (large.0, 40) } else { (small.0, 16) };
            let (x0, y0) = (8 + 11 * i as u32, 70 - 9 * i as u32);
            let name = format!("{split}{i}.png");
            let image = GrayImage::from_fn(SIZE, SIZE, |x, y| {
                let inside = (x0..x0 + edge).contains(&x) && (y0..y0 + edge).contains(&y);
                Luma([if inside { 220 } else { 40 + ((x * 3 + y * 5 + 7 * i as u32) % 40) as u8 }])
            });
            image.save(root.join(split).join(&name)).unwrap();
            let id = FIRST_ID - i;
            images.push(json!({"id": id, "file_name": name, "width": SIZE, "height": SIZE}));
            let bbox = [x0, y0, edge, edge];
            let area = edge * edge;
            annotations.push(
                json!({"id": i + 1, "image_id": id, "category_id": category, "bbox": bbox, "area": area, "iscrowd": 0}),
            );
        }
        let categories = [large, small].map(|(id, name)| json!({"id": id, "name": name}));
        let document = json!({"images": images, "categories": categories, "annotations": annotations});
        fs::write(root.join(split).join("_annotations.coco.json"), document.to_string()).unwrap();
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// `(image id, category id, box)` of all annotations, sorted.
fn boxes(document: &Value) -> Vec<(i64, i64, Vec<i64>)> {
    let id = |value: &Value| value.as_i64().unwrap();
    let number = |value: &Value| value.as_f64().unwrap().round() as i64;
    let all = document["annotations"].as_array().unwrap().iter().map(|a| {
        (id(&a["image_id"]), id(&a["category_id"]), a["bbox"].as_array().unwrap().iter().map(number).collect())
    });
    let mut all: Vec<_> = all.collect();
    all.sort();
    all
}

#[test]
fn a_dataset_keeps_its_own_categories_from_ingest_to_export() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    dataset(&at.join("mine"), [(7, "Mass"), (12, "Nodule")]);
    let done = |args: &[&str]| {
        let (code, out, err) = outcome(&run(at, args));
        assert_eq!(code, 0, "{args:?}: {out}{err}");
    };
    done(&["ingest", "coco", "--root", "mine", "--dataset", "mine", "--labels", "dataset"]);
    let few = ["--preset", "tiny", "--device", "cpu", "--set", "detector.train.steps=3"];
    done(&[&["train-detector", "--dataset", "mine"], &few[..]].concat());
    let detector = fs::read_dir(at.join("runs")).unwrap().next().unwrap().unwrap().path();
    let card = read(&detector.join("card.json"));
    let classes = card["model"]["labels"]["classes"].as_array().unwrap();
    let classes: Vec<_> = classes.iter().map(|c| (c["source_id"].as_i64(), c["name"].as_str())).collect();
    assert_eq!(classes, [(Some(7), Some("Mass")), (Some(12), Some("Nodule"))]);

    let detector = detector.to_str().unwrap();
    let all = ["--set", "annotate.score_floor=0.0", "--set", "annotate.threshold=0.0"];
    let annotate = ["annotate", "--preset", "tiny", "--device", "cpu", "--detector", detector, "--dataset"];
    done(&[&annotate[..], &["mine"], &all[..]].concat());
    done(&["validate"]);
    let original = "mine/val/_annotations.coco.json";
    let export = ["export", "coco", "--dataset", "mine", "--split", "val", "--image-ids", original, "--out"];
    done(&[&export[..], &["labelled.json"]].concat());
    done(&[&export[..], &["detected.json", "--pseudo"]].concat());
    let (original, labelled, detected) =
        (read(&at.join(original)), read(&at.join("labelled.json")), read(&at.join("detected.json")));
    assert_eq!(boxes(&labelled), boxes(&original));
    let detected_boxes = boxes(&detected);
    assert!(!detected_boxes.is_empty());
    for (image, category, _) in detected_boxes {
        assert!((FIRST_ID - 5..=FIRST_ID).contains(&image) && [7, 12].contains(&category), "{image} {category}");
    }
    let categories = detected["categories"].as_array().unwrap();
    let categories: Vec<_> = categories.iter().map(|c| (c["id"].as_i64(), c["name"].as_str())).collect();
    assert_eq!(categories, [(Some(7), Some("Mass")), (Some(12), Some("Nodule"))]);

    // Read as VinDr-CXR classes both are nodules and masses; boxes of the two sets do not mix.
    done(&["ingest", "coco", "--root", "mine", "--dataset", "other"]);
    let (code, _, err) = outcome(&run(at, &[&annotate[..], &["other"], &all[..]].concat()));
    assert_eq!(code, 65, "{err}");
    assert!(err.contains("`vindr` (22 classes") && err.contains("`mine` (2 classes: Mass, Nodule)"), "{err}");
    // A detector of two classes gives the one of 22 everything but its class layers.
    let args = [&["train-detector", "--dataset", "other", "--init", detector], &few[..]].concat();
    let (code, _, err) = outcome(&run(at, &args));
    assert!(code == 0 && err.contains("cls_logits.weight keep their initial values"), "{code}: {err}");
}

#[test]
fn unknown_categories_end_an_ingest_with_a_label_set_to_copy() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    dataset(&at.join("mine"), [(3, "Widget"), (5, "Gadget")]);
    let ingest = ["ingest", "coco", "--root", "mine", "--dataset", "mine"];
    let (code, _, err) = outcome(&run(at, &ingest));
    assert_eq!(code, 65, "{err}");
    for words in ["12 of 12 boxes", "`Gadget` (6), `Widget` (6)", "--labels dataset", "label set `vindr`"] {
        assert!(err.contains(words), "{words}: {err}");
    }
    assert!(!at.join("lake").exists(), "nothing is written");
    let text = &err[err.find("name = ").unwrap()..=err.find("ignore = []").unwrap() + "ignore = []".len() - 1];
    fs::write(at.join("mine.toml"), text).unwrap();
    let (code, _, err) = outcome(&run(at, &[&ingest[..], &["--labels", "mine.toml"]].concat()));
    assert_eq!(code, 0, "{err}");
    // A set with one of them needs the other one among the ignored.
    fs::write(at.join("one.toml"), "name = \"one\"\nclasses = [{ name = \"Widget\" }]\n").unwrap();
    let (code, _, err) = outcome(&run(at, &[&ingest[..], &["--labels", "one.toml"]].concat()));
    assert!(code == 65 && err.contains("6 of 12 boxes") && err.contains("`Gadget` (6);"), "{code}: {err}");
    fs::write(at.join("one.toml"), "name = \"one\"\nclasses = [{ name = \"Widget\" }]\nignore = [\"gadget\"]\n")
        .unwrap();
    let (code, _, err) = outcome(&run(at, &[&ingest[..], &["--labels", "one.toml"]].concat()));
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = outcome(&run(at, &[&ingest[..], &["--labels", "martian"]].concat()));
    assert!(code == 2 && err.contains("vindr, coco, nih, rsna, chestx_det"), "{code}: {err}");
}
