//! Whole audits of small lakes whose pictures are phantoms.

use d2r_contracts::tables::ImageRow;
use d2r_phantom::PlannedImage;
use d2r_phantom::study::{PhantomStudy, PlanOptions};
use image::{GrayImage, imageops};

use super::*;
use crate::exit::Exit;
use crate::lake::digest::sha256_file;
use crate::lake::store::tests::provenance;
use crate::lake::{Partition, Shard};
use crate::test_fixtures::{self, context};

const SIZE: u32 = 256;

/// Phantom `index` and its patient.
fn drawn(index: u64, lateral: bool) -> (GrayImage, String) {
    let options = PlanOptions { size: SIZE, lateral, ..PlanOptions::default() };
    let plan = PhantomStudy::draw_plan(11, "audit", index, &options);
    let patient = format!("p{}", plan.subject);
    let pixels = PlannedImage::new(index.to_string(), plan).pixels();
    (GrayImage::from_raw(SIZE, SIZE, pixels).unwrap(), patient)
}

/// A lake whose dataset `d` has PNG files.
struct Fixture {
    folder: tempfile::TempDir,
    rows: BTreeMap<&'static str, Vec<ImageRow>>,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), rows: BTreeMap::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn add(&mut self, split: &'static str, id: &str, patient: &str, picture: &GrayImage) {
        let path = self.path(&format!("{id}.png"));
        picture.save(&path).unwrap();
        let row = ImageRow {
            subject_id: patient.into(),
            width: Some(picture.width() as i32),
            height: Some(picture.height() as i32),
            sha256: Some(sha256_file(&path).unwrap()),
            ..test_fixtures::image(id)
        };
        self.rows.entry(split).or_default().push(row);
    }

    fn lake(&self) -> Lake {
        let lake = Lake::create(&self.path("lake")).unwrap();
        lake.register_dataset("d", self.folder.path(), "coco").unwrap();
        for (split, rows) in &self.rows {
            let partition = Partition::new("d", *split);
            lake.write(&partition, Shard::default(), rows.clone(), &provenance("t")).unwrap();
        }
        lake
    }

    fn args(&self) -> Args {
        Args {
            lake: self.path("lake"),
            pictures: true,
            html: Some(self.path("out/audit.html")),
            out: Some(self.path("out/audit.json")),
            ..Args::default()
        }
    }

    /// The lines of all issues in the written list.
    fn listed(&self) -> Vec<String> {
        let list: serde_json::Value =
            serde_json::from_slice(&std::fs::read(self.path("out/audit.json")).unwrap()).unwrap();
        let word = |v: &serde_json::Value, key: &str| v[key].as_str().unwrap_or_default().to_owned();
        let line = |i: &serde_json::Value| {
            let other = if i["other"].is_object() { format!(" {}", word(&i["other"], "id")) } else { String::new() };
            format!("{} {}{other}", word(i, "kind"), word(i, "id"))
        };
        list["issues"].as_array().unwrap().iter().map(line).collect()
    }
}

#[test]
fn phantoms_of_many_patients_and_visits_are_usual_and_no_copies() {
    let mut fixture = Fixture::new();
    let mut patients = Vec::new();
    for index in 0..24 {
        let (picture, patient) = drawn(index, false);
        fixture.add("train", &format!("f{index:02}"), &patient, &picture);
        patients.push(patient);
    }
    fixture.add("train", "lateral", "p0", &drawn(0, true).0);
    let visits = patients.len();
    patients.sort();
    patients.dedup();
    assert!(patients.len() < visits, "some patients come twice");
    fixture.lake();
    let result = run(&context(&[]), fixture.args()).unwrap();
    assert_eq!(fixture.listed(), Vec::<String>::new());
    assert_eq!(result.figures["pictures_read"], 25.0);
    assert!(result.figures.values().filter(|v| **v != 0.0).count() == 1, "{:?}", result.figures);
    assert_eq!(result.files.len(), 2);
}

#[test]
fn a_cropped_and_a_brightened_copy_in_the_test_split_are_leaks() {
    let mut fixture = Fixture::new();
    let (one, _) = drawn(0, false);
    let (two, _) = drawn(3, false);
    fixture.add("train", "one", "p1", &one);
    fixture.add("train", "two", "p2", &two);
    fixture.add("train", "other", "p3", &drawn(6, false).0);
    let crop = imageops::crop_imm(&one, 12, 20, 230, 224).to_image();
    fixture.add("test", "crop", "q1", &imageops::resize(&crop, 300, 310, imageops::FilterType::Triangle));
    let mut inverted = two.clone();
    inverted.pixels_mut().for_each(|p| p.0[0] = 255 - (255.0 * (f64::from(p.0[0]) / 255.0).powf(0.8)) as u8);
    fixture.add("test", "inverted", "q2", &inverted);
    fixture.lake();
    let error = run(&context(&[]), fixture.args()).unwrap_err();
    assert_eq!(error.exit(), Exit::BadData);
    assert!(error.to_string().contains("2 leaks") && error.to_string().contains("audit.html"), "{error}");
    let mut listed = fixture.listed();
    for line in &mut listed {
        // Either image of a pair may be the first one.
        let mut words: Vec<&str> = line.split(' ').collect();
        words[1..].sort_unstable();
        *line = words.join(" ");
    }
    listed.sort();
    let expected = [
        "image_inverted inverted",
        "near_duplicate_in_two_splits crop one",
        "near_duplicate_in_two_splits inverted two",
    ];
    assert_eq!(listed, expected);
    let page = std::fs::read_to_string(fixture.path("out/audit.html")).unwrap();
    assert_eq!(page.matches("data:image/jpeg").count(), 5, "two pairs and the inverted one");

    let tables_only = run(&context(&[]), Args { pictures: false, ..fixture.args() }).unwrap();
    assert!(!tables_only.figures.contains_key("near_duplicate_image"), "{:?}", tables_only.figures);
}

#[test]
fn unusual_and_unreadable_pictures_are_counted_and_do_not_end_the_audit() {
    let mut fixture = Fixture::new();
    let (picture, _) = drawn(0, false);
    fixture.add("train", "usual", "p1", &picture);
    fixture.add("train", "black", "p2", &GrayImage::new(SIZE, SIZE));
    let mut pale = drawn(3, false).0;
    pale.pixels_mut().for_each(|p| p.0[0] = 90 + p.0[0] / 8);
    fixture.add("train", "pale", "p3", &pale);
    let mut framed = GrayImage::from_pixel(400, 256, image::Luma([255]));
    imageops::replace(&mut framed, &drawn(6, false).0, 72, 0);
    fixture.add("train", "framed", "p4", &framed);
    fixture.add("train", "gone", "p5", &drawn(9, false).0);
    fixture.add("train", "cut", "p6", &drawn(12, false).0);
    fixture.lake();
    std::fs::remove_file(fixture.path("gone.png")).unwrap();
    let bytes = std::fs::read(fixture.path("cut.png")).unwrap();
    std::fs::write(fixture.path("cut.png"), &bytes[..bytes.len() / 2]).unwrap();
    let result = run(&context(&[]), fixture.args()).unwrap();
    let expected = [
        "image_constant black",
        "image_low_contrast pale",
        "image_wide_border framed",
        "image_unreadable cut",
        "image_unreadable gone",
    ];
    assert_eq!(fixture.listed(), expected);
    assert_eq!((result.figures["image_unreadable"], result.figures["pictures_read"]), (2.0, 4.0));
    let page = std::fs::read_to_string(fixture.path("out/audit.html")).unwrap();
    assert!(page.contains(">missing_file<") && page.contains(">truncated<"));
}

#[test]
fn without_pictures_no_file_is_opened() {
    let mut fixture = Fixture::new();
    fixture.add("train", "a", "p1", &drawn(0, false).0);
    fixture.lake();
    std::fs::remove_file(fixture.path("a.png")).unwrap();
    let args = Args { pictures: false, html: None, out: None, ..fixture.args() };
    let result = run(&context(&[]), args).unwrap();
    assert_eq!((result.rows["images"], result.files.len()), (1, 0));
    assert!(!result.figures.contains_key("image_unreadable"));
}

#[test]
fn only_the_named_datasets_are_audited() {
    let mut fixture = Fixture::new();
    fixture.add("train", "a", "p1", &drawn(0, false).0);
    let lake = fixture.lake();
    let rows = vec![ImageRow { image_id: "b".into(), ..fixture.rows["train"][0].clone() }];
    lake.write(&Partition::new("e", "test"), Shard::default(), rows, &provenance("t")).unwrap();
    let of = |names: &[&str]| Args {
        datasets: names.iter().map(|n| (*n).to_owned()).collect(),
        pictures: false,
        ..fixture.args()
    };
    let error = run(&context(&[]), of(&[])).unwrap_err().to_string();
    assert!(error.contains("1 image_in_two_splits in e") && !error.contains("test b"), "{error}");
    assert_eq!(run(&context(&[]), of(&["d"])).unwrap().rows["images"], 1);
    assert_eq!(run(&context(&[]), of(&["f"])).unwrap_err().exit(), Exit::InputMissing);
}
