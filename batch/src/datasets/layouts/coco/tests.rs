//! COCO files as other tools write them, and TBX11K's folder.

use std::fs;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::space::ImageSize;
use serde_json::{Value, json};

use super::*;
use crate::datasets::label_sets::LabelChoice;
use crate::datasets::lesion_rows::{FusionRule, lesion_rows};

const OPTIONS: ListOptions =
    ListOptions { seed: 1, val_share: 0.0, frontal_only: true, labels_only: false, labels: LabelChoice::Vindr };
const FILE: &str = "annotations/instances_train.json";

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

/// Three images; two boxes in `a`, none in `b`, one in `c`.
fn document() -> Value {
    let image = |id: u32, name: &str| json!({"id": id, "file_name": name, "width": 120, "height": 96});
    let annotation = |id: u32, image: u32, category: u32, bbox: [f64; 4]| json!({"id": id, "image_id": image, "category_id": category, "bbox": bbox, "area": 720, "iscrowd": 0});
    json!({
        "images": [image(1, "a.png"), image(2, "b.png"), image(3, "c.png")],
        "annotations": [
            annotation(1, 1, 1, [30.0, 24.0, 30.0, 24.0]),
            annotation(2, 1, 2, [5.0, 5.0, 20.0, 10.0]),
            annotation(3, 3, 2, [60.5, 40.25, 20.0, 10.0]),
        ],
        "categories": [{"id": 1, "name": "Cardiomegaly"}, {"id": 2, "name": "Pleural effusion"}],
    })
}

fn read(text: &[u8]) -> Listing {
    let dir = folder(&[(FILE, text), ("images/a.png", b"x"), ("images/b.png", b"x"), ("images/c.png", b"x")]);
    list(dir.path(), &OPTIONS).unwrap()
}

/// Image to the corners of its boxes; `None` when it is unread.
fn boxes(listing: &Listing) -> Vec<(&str, Option<Vec<[f32; 4]>>)> {
    let of = |labels: &Labels| match labels {
        Labels::Consensus(boxes) => Some(boxes.iter().map(|b| b.bbox.to_array()).collect()),
        _ => None,
    };
    listing.images.iter().map(|i| (i.image_id.as_str(), of(&i.labels))).collect()
}

fn codes(listing: &Listing) -> Vec<(&str, &'static str)> {
    listing.failures.iter().map(|f| (f.path.strip_prefix(FILE).unwrap_or(&f.path), f.code)).collect()
}

fn all() -> Vec<(&'static str, Option<Vec<[f32; 4]>>)> {
    vec![
        ("a", Some(vec![[30.0, 24.0, 60.0, 48.0], [5.0, 5.0, 25.0, 15.0]])),
        ("b", Some(vec![])),
        ("c", Some(vec![[60.5, 40.25, 80.5, 50.25]])),
    ]
}

#[test]
fn fields_that_are_not_used_and_spellings_of_those_that_are() {
    let each = |change: fn(&mut Value)| {
        let mut document = document();
        change(&mut document);
        document
    };
    fn on(d: &mut Value, list: &str, change: fn(&mut Value)) {
        d[list].as_array_mut().unwrap().iter_mut().for_each(change);
    }
    let documents = [
        each(|_| {}),
        each(|d| (d["info"], d["licenses"]) = (Value::Null, Value::Null)),
        each(|d| (d["info"], d["licenses"]) = (json!([]), json!("none"))),
        each(|d| on(d, "images", |i| (i["width"], i["height"]) = (json!(-1), json!(-1)))),
        each(|d| on(d, "images", |i| (i["width"], i["height"]) = (Value::Null, json!("unknown")))),
        each(|d| on(d, "images", |i| (i["width"], i["height"]) = (json!(120.0), json!("96")))),
        each(|d| {
            on(d, "images", |i| {
                i.as_object_mut().unwrap().retain(|k, _| k != "width" && k != "height");
            });
        }),
        each(|d| {
            on(d, "images", |i| i["id"] = json!(i["id"].to_string()));
            on(d, "annotations", |a| a["image_id"] = json!(a["image_id"].to_string()));
        }),
        each(|d| {
            on(d, "categories", |c| c["id"] = json!(c["id"].to_string()));
            on(d, "annotations", |a| a["image_id"] = json!(a["image_id"].as_f64().unwrap()));
        }),
        each(|d| on(d, "annotations", |a| (a["area"], a["id"]) = (Value::Null, json!("x")))),
        each(|d| on(d, "annotations", |a| a["area"] = json!([1, 2]))),
        each(|d| on(d, "annotations", |a| a["iscrowd"] = json!(false))),
        each(|d| on(d, "annotations", |a| (a["iscrowd"], a["segmentation"]) = (Value::Null, json!({"counts": "x"})))),
        each(|d| {
            on(d, "annotations", |a| {
                a["bbox"].as_array_mut().unwrap().iter_mut().for_each(|v| *v = json!(v.to_string()))
            })
        }),
        each(|d| on(d, "categories", |c| c["supercategory"] = Value::Null)),
        each(|d| on(d, "images", |i| i["file_name"] = json!(format!("images\\{}", i["file_name"].as_str().unwrap())))),
        each(|d| {
            on(d, "images", |i| i["file_name"] = json!(format!("..\\images\\{}", i["file_name"].as_str().unwrap())))
        }),
        each(|d| on(d, "images", |i| i["file_name"] = json!(format!("./{}", i["file_name"].as_str().unwrap())))),
    ];
    for document in documents {
        let listing = read(document.to_string().as_bytes());
        assert_eq!(codes(&listing), [], "{document}");
        let found: Vec<_> = boxes(&listing).into_iter().map(|(id, b)| (id.rsplit('/').next().unwrap(), b)).collect();
        assert_eq!(found, all(), "{document}");
    }
    let marked = [b"\xef\xbb\xbf", document().to_string().as_bytes()].concat();
    assert_eq!(boxes(&read(&marked)), all());
    let nan = document().to_string().replace("720", "NaN");
    assert_eq!(boxes(&read(nan.as_bytes())), all());
}

#[test]
fn a_bad_annotation_costs_only_itself_and_names_its_field() {
    let bad = [
        (json!({"image_id": 2, "category_id": 1, "bbox": null}), "bad_annotation", "`bbox` is absent"),
        (json!({"image_id": 2, "category_id": 1, "bbox": [1, 2, 3]}), "bad_annotation", "`bbox` is a list"),
        (json!({"image_id": 2, "category_id": 1, "bbox": [1, 2, "x", 4]}), "bad_annotation", "four numbers"),
        (json!({"image_id": 2, "category_id": [1], "bbox": [1, 2, 3, 4]}), "bad_annotation", "`category_id` is a list"),
        (json!({"image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4], "score": "high"}), "bad_annotation", "`score`"),
        (json!({"image_id": 2, "category_id": 9, "bbox": [1, 2, 3, 4]}), "unknown_class", "category 9"),
        (json!({"image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": true}), "crowd", "crowd"),
        (json!({"image_id": 2, "category_id": 1, "bbox": [1, 2, -3, 4]}), "inverted_box", "no area"),
    ];
    for (annotation, code, words) in bad {
        let mut document = document();
        document["annotations"].as_array_mut().unwrap().push(annotation);
        let listing = read(document.to_string().as_bytes());
        assert_eq!(codes(&listing), [("#annotations[3]", code)], "{words}");
        assert!(listing.failures[0].message.contains(words), "{}", listing.failures[0].message);
        let mut expected = all();
        expected[1].1 = None;
        assert_eq!(boxes(&listing), expected, "b is unread, not normal");
    }
    for (annotation, words) in [(json!({"category_id": 1}), "`image_id` is absent"), (json!(7), "an object is needed")]
    {
        let mut document = document();
        document["annotations"].as_array_mut().unwrap().push(annotation);
        let listing = read(document.to_string().as_bytes());
        assert_eq!(codes(&listing), [("#annotations[3]", "bad_entry")]);
        assert!(listing.failures[0].message.contains(words), "{}", listing.failures[0].message);
        assert_eq!(boxes(&listing), all());
    }
}

#[test]
fn polygons_without_a_box_give_their_extent() {
    let mut document = document();
    for annotation in document["annotations"].as_array_mut().unwrap() {
        let [x, y, w, h] = serde_json::from_value::<[f64; 4]>(annotation["bbox"].take()).unwrap();
        annotation["segmentation"] = json!([[x, y, x + w, y, x + w, y + h], [x, y + h, x, y]]);
    }
    let listing = read(document.to_string().as_bytes());
    assert_eq!((codes(&listing), boxes(&listing)), (vec![], all()));
    assert_eq!(listing.notes["boxes_from_polygons"], 3);
    document["annotations"][2]["segmentation"] = json!({"counts": [1, 2], "size": [3, 4]});
    let listing = read(document.to_string().as_bytes());
    assert_eq!(codes(&listing), [("#annotations[2]", "bad_annotation")]);
}

#[test]
fn entries_and_lists_of_another_kind() {
    let mut document = document();
    document["images"].as_array_mut().unwrap().extend([json!({"id": 4}), json!({"file_name": "a.png"}), Value::Null]);
    let listing = read(document.to_string().as_bytes());
    assert_eq!(codes(&listing), ["#images[3]", "#images[4]", "#images[5]"].map(|p| (p, "bad_entry")));
    assert!(listing.failures[0].message.contains("`file_name` is absent"), "{}", listing.failures[0].message);
    assert_eq!(boxes(&listing), all());
    for (field, value) in
        [("images", json!({"1": {}})), ("images", Value::Null), ("annotations", json!("x")), ("categories", json!(3))]
    {
        let mut document = self::document();
        document[field] = value;
        let dir = folder(&[(FILE, document.to_string().as_bytes()), ("images/a.png", b"x")]);
        let error = list(dir.path(), &OPTIONS).unwrap_err();
        assert_eq!(error.exit().code(), 65);
        assert!(error.to_string().contains(&format!("`{field}` is")), "{error}");
    }
    // No list of annotations at all: unlabelled images.
    for missing in ["null", "absent"] {
        let mut document = self::document();
        if missing == "null" {
            document["annotations"] = Value::Null;
        } else {
            document.as_object_mut().unwrap().remove("annotations");
        }
        assert!(boxes(&read(document.to_string().as_bytes())).iter().all(|(_, b)| b.is_none()));
    }
}

#[test]
fn one_id_for_two_images_leaves_both_out() {
    let mut document = document();
    document["images"][1]["id"] = json!(1);
    let listing = read(document.to_string().as_bytes());
    assert_eq!(codes(&listing), [("#images[id=1]", "ambiguous_id"), ("#images[id=1]", "ambiguous_id")]);
    assert_eq!(boxes(&listing).iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn the_same_image_twice_keeps_the_annotations_of_both_entries() {
    let mut document = document();
    document["images"][1]["file_name"] = json!("c.png");
    document["annotations"][0]["image_id"] = json!(2);
    let listing = read(document.to_string().as_bytes());
    assert_eq!(codes(&listing), [("#images[id=3]", "duplicate_id")]);
    let c = &boxes(&listing)[1];
    assert_eq!(c.1.as_ref().map(Vec::len), Some(2));
    document["images"][1]["width"] = json!(60);
    let listing = read(document.to_string().as_bytes());
    assert_eq!(boxes(&listing)[1], ("c", None), "boxes of two frames cannot be joined");
}

#[test]
fn names_without_extension_are_ids() {
    let mut document = document();
    let names = ["1.2.840.113.7", "1.2.840.113.8", "1.2.840.113.9"];
    for (image, name) in document["images"].as_array_mut().unwrap().iter_mut().zip(names) {
        image["file_name"] = json!(name);
    }
    let dir = folder(&[
        (FILE, document.to_string().as_bytes()),
        ("images/1.2.840.113.7", b"x"),
        ("images/1.2.840.113.8", b"x"),
        ("images/1.2.840.113.9", b"x"),
    ]);
    let listing = list(dir.path(), &OPTIONS).unwrap();
    assert_eq!(codes(&listing), []);
    assert_eq!(listing.images.iter().map(|i| i.image_id.as_str()).collect::<Vec<_>>(), names);
}

#[test]
fn an_image_has_one_id_however_its_file_is_named() {
    for prefix in ["", "images/", "images\\", "./images/", ".\\images\\"] {
        let mut document = document();
        for image in document["images"].as_array_mut().unwrap() {
            image["file_name"] = json!(format!("{prefix}{}", image["file_name"].as_str().unwrap()));
        }
        let dir = folder(&[
            (FILE, document.to_string().as_bytes()),
            ("images/a.png", b"x"),
            ("images/b.png", b"x"),
            ("images/c.png", b"x"),
        ]);
        let listing = list(dir.path(), &OPTIONS).unwrap();
        assert_eq!(codes(&listing), [], "{prefix}");
        assert_eq!(listing.images.iter().map(|i| i.image_id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"], "{prefix}");
    }
}

#[test]
fn files_that_differ_by_their_extension_are_two_images() {
    let mut document = document();
    document["images"][1]["file_name"] = json!("a.jpg");
    let dir = folder(&[
        (FILE, document.to_string().as_bytes()),
        ("images/a.png", b"x"),
        ("images/a.jpg", b"x"),
        ("images/c.png", b"x"),
    ]);
    let listing = list(dir.path(), &OPTIONS).unwrap();
    assert_eq!(codes(&listing), []);
    let found: Vec<_> = boxes(&listing).into_iter().map(|(id, b)| (id, b.map(|b| b.len()))).collect();
    assert_eq!(found, [("a.jpg", Some(0)), ("a.png", Some(2)), ("c", Some(1))]);
}

#[test]
fn a_path_that_leaves_the_root_is_missing() {
    let outer = tempfile::tempdir().unwrap();
    fs::write(outer.path().join("secret.png"), "x").unwrap();
    let root = outer.path().join("set");
    fs::create_dir_all(root.join("annotations")).unwrap();
    for name in ["../secret.png", "..\\secret.png", "../../secret.png", "images/../../secret.png", "/etc/hostname"] {
        let mut document = document();
        document["images"][0]["file_name"] = json!(name);
        fs::write(root.join(FILE), document.to_string()).unwrap();
        let listing = list(&root, &OPTIONS).unwrap();
        assert!(listing.images.is_empty() && listing.failures.iter().all(|f| f.code == "missing_file"), "{name}");
    }
}

#[test]
fn other_files_beside_the_annotations() {
    let text = document().to_string();
    let images: [(&str, &[u8]); 3] = [("images/a.png", b"x"), ("images/b.png", b"x"), ("images/c.png", b"x")];
    let others: [(&str, &[u8]); 4] = [
        (FILE, text.as_bytes()),
        ("annotations/._instances_train.json", b"\x00\x05\x16\x07"),
        ("annotations/captions.json", b"{\"captions\": []}"),
        ("__MACOSX/annotations/x.json", b"x"),
    ];
    let dir = folder(&[&images[..], &others].concat());
    let listing = list(dir.path(), &OPTIONS).unwrap();
    assert_eq!((codes(&listing), boxes(&listing)), (vec![("annotations/captions.json", "not_coco")], all()));
    // A torn file may be a split of the dataset: it is never left out.
    fs::write(dir.path().join("annotations/instances_val.json"), &text[..90]).unwrap();
    assert_eq!(list(dir.path(), &OPTIONS).unwrap_err().exit().code(), 65);
    let dir = folder(&[("package.json", b"{\"name\": \"x\"}")]);
    assert_eq!(list(dir.path(), &OPTIONS).unwrap_err().exit().code(), 65);
}

#[test]
fn boxes_of_a_resized_copy_are_scaled() {
    let listing = read(document().to_string().as_bytes());
    let rule = FusionRule { iou_min: 0.5, min_annotators: 1 };
    let half = lesion_rows(&listing.images[0], Some(ImageSize { width: 60, height: 48 }), &rule, &LabelSet::vindr());
    assert_eq!((half.n_boxes, half.rows[0].x_max, half.rows[0].y_max), (Some(2), 30.0, 24.0));
}

/// TBX11K: files of all images and of its own, joint ones, a test file without annotations.
#[test]
fn the_folder_of_tbx11k() {
    let categories = json!([{"id": 1, "name": "ActiveTuberculosis", "supercategory": "Tuberculosis"},
        {"id": 2, "name": "ObsoletePulmonaryTuberculosis", "supercategory": "Tuberculosis"}]);
    let image = |id: u32, name: &str| json!({"id": id, "file_name": name, "width": 512, "height": 512, "license": 1});
    let tb = json!({"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "area": 1200, "iscrowd": 0});
    let tb_val = json!({"id": 2, "image_id": 4, "category_id": 2, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0});
    let train = [image(1, "tb/tb0001.png"), image(2, "health/h0001.png"), image(3, "sick/s0001.png")];
    let (val, extra) = ([image(4, "tb/tb0002.png")], [image(5, "extra/da/1.png")]);
    let doc = |images: &[Value], annotations: &[Value]| {
        json!({"info": {}, "images": images, "annotations": annotations, "categories": categories}).to_string()
    };
    let both = [&train[..], &val].concat();
    let files = [
        ("all_train", doc(&[&train[..], &extra].concat(), std::slice::from_ref(&tb))),
        ("TBX11K_train", doc(&train, std::slice::from_ref(&tb))),
        ("all_val", doc(&val, std::slice::from_ref(&tb_val))),
        ("all_trainval", doc(&both, &[tb.clone(), tb_val.clone()])),
        ("all_test", doc(&[image(6, "test/test_0001.png")], &[])),
    ];
    let files: Vec<(String, Vec<u8>)> =
        files.into_iter().map(|(n, t)| (format!("annotations/json/{n}.json"), t.into_bytes())).collect();
    let mut all: Vec<(&str, &[u8])> = files.iter().map(|(n, t)| (n.as_str(), t.as_slice())).collect();
    for name in ["tb/tb0001", "tb/tb0002", "health/h0001", "sick/s0001", "extra/da/1", "test/test_0001"] {
        all.push((Box::leak(format!("imgs/{name}.png").into_boxed_str()), b"x"));
    }
    let listing = list(folder(&all).path(), &OPTIONS).unwrap();
    assert_eq!(codes(&listing), []);
    let found: Vec<_> = boxes(&listing)
        .into_iter()
        .zip(&listing.images)
        .map(|((id, boxes), i)| (id, i.split, boxes.map(|b| b.len()), i.path.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("extra/da/1", Split::Train, None, "imgs/extra/da/1.png"),
            ("health/h0001", Split::Train, Some(0), "imgs/health/h0001.png"),
            ("sick/s0001", Split::Train, None, "imgs/sick/s0001.png"),
            ("tb/tb0001", Split::Train, Some(1), "imgs/tb/tb0001.png"),
            ("tb/tb0002", Split::Val, Some(1), "imgs/tb/tb0002.png"),
            ("test/test_0001", Split::Test, None, "imgs/test/test_0001.png"),
        ]
    );
    assert_eq!(listing.notes["repeated_images"], 7);
}
