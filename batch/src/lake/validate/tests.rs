//! One broken example per rule, each found for its own reason.

use std::fs::File;

use d2r_contracts::contract::TableContract;
use d2r_contracts::tables::{FailureRow, LesionRow, ReportSentenceRow};

use super::violations;
use crate::lake::parquet_file::encode;
use crate::lake::store::tests::{lake, provenance};
use crate::lake::{Lake, PartManifest, Partition, Shard};
use crate::test_fixtures::{self, image};

fn partition() -> Partition {
    Partition::new("d", "train")
}

fn lesion(image_id: &str, box_id: &str) -> LesionRow {
    let corners = [1.0, 2.0, 30.0, 40.0];
    LesionRow { source: "fused".into(), n_readers: Some(1), ..test_fixtures::lesion(image_id, box_id, 3, corners) }
}

fn with_lesion(change: impl FnOnce(&mut LesionRow)) -> (tempfile::TempDir, Lake) {
    let (folder, lake) = lake();
    let mut row = lesion("a", "b");
    change(&mut row);
    lake.write(&partition(), Shard::default(), vec![image("a")], &provenance("ingest")).unwrap();
    lake.write(&partition(), Shard::default(), vec![row], &provenance("ingest")).unwrap();
    (folder, lake)
}

fn only(lake: &Lake) -> (String, &'static str, Option<String>) {
    let mut found = violations(lake, &[]).unwrap();
    assert_eq!(found.len(), 1, "{found:#?}");
    let v = found.remove(0);
    (v.table, v.rule, v.column)
}

fn expect(lake: &Lake, rule: &'static str, column: Option<&str>) {
    assert_eq!(only(lake), ("lesions".to_owned(), rule, column.map(str::to_owned)));
}

#[test]
fn a_sound_lake_has_no_violation() {
    let (_folder, lake) = with_lesion(|_| {});
    assert_eq!(violations(&lake, &[]).unwrap(), []);
}

#[test]
fn a_value_outside_its_enumeration() {
    let (_folder, lake) = with_lesion(|row| row.source = "guess".into());
    expect(&lake, "value", Some("source"));
}

#[test]
fn a_number_outside_its_range() {
    let (_folder, lake) = with_lesion(|row| row.score = 1.5);
    expect(&lake, "range", Some("score"));
}

#[test]
fn an_inverted_box() {
    let (_folder, lake) = with_lesion(|row| row.x_max = 0.5);
    expect(&lake, "geometry", Some("x_max"));
}

#[test]
fn a_reference_to_nothing() {
    let (_folder, lake) = with_lesion(|row| row.image_id = "missing".into());
    expect(&lake, "reference", Some("image_id"));
}

#[test]
fn a_sentence_that_ends_before_it_begins() {
    let (_folder, lake) = lake();
    let row = ReportSentenceRow {
        report_id: "r".into(),
        sentence_id: 0,
        char_start: 5,
        char_end: 5,
        text: "x".into(),
        logprob: -1.0,
    };
    lake.write(&partition(), Shard::default(), vec![row], &provenance("report")).unwrap();
    let rules: Vec<_> = violations(&lake, &["report_sentences".into()]).unwrap().into_iter().map(|v| v.rule).collect();
    assert_eq!(rules, ["geometry", "reference"]);
}

#[test]
fn a_damaged_part_and_a_file_without_a_manifest() {
    let (_folder, lake) = with_lesion(|_| {});
    let part = lake.parts("lesions", &partition()).unwrap().remove(0);
    let path = lake.root().join(&part.file);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&path, &bytes).unwrap();
    std::fs::copy(&path, path.with_file_name("part-stray.parquet")).unwrap();
    let found = violations(&lake, &["lesions".into()]).unwrap();
    let rules: Vec<_> = found.iter().map(|v| v.rule).collect();
    assert!(rules.contains(&"part") && rules.contains(&"unowned"), "{found:#?}");
    assert!(found.iter().all(|v| v.file.contains("lesions")), "{found:#?}");
}

#[test]
fn one_key_of_two_stages() {
    let (_folder, lake) = with_lesion(|_| {});
    for stage in ["ingest", "annotate"] {
        lake.write(&partition(), Shard::WHOLE, vec![lesion("a", "b")], &provenance(stage)).unwrap();
    }
    expect(&lake, "key", None);
}

#[test]
fn shards_of_two_models_and_missing_shards_of_older_lakes() {
    let (_folder, lake) = with_lesion(|_| {});
    let part = lake.write(&partition(), Shard::WHOLE, vec![lesion("a", "c")], &provenance("annotate")).unwrap();
    let manifests = lake.manifest_folder("lesions", &partition()).join("annotate");
    let put = |index, model: &str| {
        let shard = Shard { index, count: 3 };
        let part = PartManifest { shard, model_sha256: Some(model.repeat(64)), ..part.clone() };
        std::fs::write(manifests.join(PartManifest::file_name(shard)), part.to_json().unwrap()).unwrap();
    };
    std::fs::remove_file(manifests.join(PartManifest::file_name(Shard::WHOLE))).unwrap();
    put(0, "a");
    put(1, "b");
    let found = violations(&lake, &[]).unwrap();
    let problem = |rule: &str| found.iter().find(|v| v.rule == rule).map(|v| v.problem.clone()).unwrap_or_default();
    assert!(problem("models").contains("aaaaaaaaaaaa, bbbbbbbbbbbb"), "{found:#?}");
    assert!(problem("shard").contains("shard 2/3 of annotate"), "{found:#?}");
}

#[test]
fn tables_of_two_runs_of_one_stage_do_not_fit_together() {
    let (_folder, lake) = with_lesion(|_| {});
    let failure = FailureRow {
        stage: "annotate".into(),
        path: None,
        image_id: Some("a".into()),
        code: "c".into(),
        message: "m".into(),
    };
    let run = |id: &str| provenance(&format!("annotate-{id}"));
    lake.write(&partition(), Shard::WHOLE, vec![lesion("a", "c")], &run("aaaaaaaaaaaa")).unwrap();
    lake.write(&partition(), Shard::WHOLE, vec![failure.clone()], &run("aaaaaaaaaaaa")).unwrap();
    assert!(violations(&lake, &[]).unwrap().iter().all(|v| v.rule != "run"));
    lake.write(&partition(), Shard::WHOLE, vec![failure], &run("bbbbbbbbbbbb")).unwrap();
    expect(&lake, "run", None);
    let error = crate::lake::validate::consistency::check_partition(&lake, &partition()).unwrap_err().to_string();
    assert!(error.contains("run annotate again"), "{error}");
}

/// Puts these rows into the producer's part as they stand, repeated and unsorted ones too.
fn put_as_they_are(lake: &Lake, producer: &str, rows: Vec<LesionRow>) -> PartManifest {
    let mut part = lake.write(&partition(), Shard::WHOLE, Vec::<LesionRow>::new(), &provenance(producer)).unwrap();
    let contract = TableContract::of("lesions").unwrap();
    let identity = [("d2r.contract.id", contract.id.clone()), ("d2r.contract.version", contract.version.clone())];
    let path = lake.root().join(&part.file);
    let mut file = File::create(&path).unwrap();
    let written = encode(rows.into_iter().map(Ok), contract, &identity, (&path, &mut file), |_, _| Ok(())).unwrap();
    (part.rows, part.bytes, part.sha256) = (written.rows, written.bytes, written.sha256);
    let manifest = lake.manifest_folder("lesions", &partition()).join(producer);
    std::fs::write(manifest.join(PartManifest::file_name(Shard::WHOLE)), part.to_json().unwrap()).unwrap();
    part
}

/// Boxes of image `a`.
fn rows(ids: &[&str]) -> Vec<LesionRow> {
    ids.iter().map(|id| lesion("a", id)).collect()
}

fn keys_found(lake: &Lake) -> Vec<(String, Option<usize>, String)> {
    let found = violations(lake, &["lesions".into()]).unwrap().into_iter().filter(|v| v.rule == "key");
    found.map(|v| (v.file, v.row, v.problem)).collect()
}

#[test]
fn repeated_keys_are_found_across_batches_and_parts() {
    let (_folder, lake) = lake();
    lake.write(&partition(), Shard::WHOLE, vec![image("a")], &provenance("ingest")).unwrap();
    // Batches have two rows: one repetition lies within a batch, one in two of them.
    let first = put_as_they_are(&lake, "annotate", rows(&["b", "b", "c", "d", "d"])).file;
    let second = put_as_they_are(&lake, "ingest", rows(&["a", "d", "e", "e", "e"])).file;
    let found = keys_found(&lake);
    let places: Vec<_> = found.iter().map(|(file, row, _)| (file.as_str(), row.unwrap())).collect();
    assert_eq!(places, [(&*first, 1), (&*first, 4), (&*second, 1), (&*second, 3), (&*second, 4)]);
    assert!(
        found[2].2.contains("key image_id=a, box_id=d stands already in") && found[2].2.contains(&first),
        "{found:?}"
    );
    assert!(violations(&lake, &[]).unwrap().iter().all(|v| v.rule == "key"));
}

#[test]
fn repeated_keys_of_a_part_that_is_out_of_order_are_found_too() {
    let (_folder, lake) = lake();
    lake.write(&partition(), Shard::WHOLE, vec![image("a")], &provenance("ingest")).unwrap();
    let first = put_as_they_are(&lake, "annotate", rows(&["c", "b", "e", "d", "b"])).file;
    let second = put_as_they_are(&lake, "ingest", rows(&["a", "e"])).file;
    let places: Vec<_> = keys_found(&lake).into_iter().map(|(file, row, _)| (file, row.unwrap())).collect();
    assert_eq!(places, [(first.clone(), 4), (second, 1)]);
    let order = violations(&lake, &[]).unwrap().into_iter().filter(|v| v.rule == "order");
    // The last row follows one of the batch before.
    assert_eq!(order.map(|v| v.row.unwrap()).collect::<Vec<_>>(), [1, 3, 4]);
}

#[test]
fn references_are_found_in_all_blocks() {
    let (_folder, lake) = lake();
    let names: Vec<String> = (0..10).map(|i| format!("i{i}")).collect();
    // Blocks have three keys.
    let images = names.iter().filter(|name| !["i4", "i9"].contains(&name.as_str())).map(|name| image(name)).collect();
    lake.write(&partition(), Shard::WHOLE, images, &provenance("ingest")).unwrap();
    let lesions = names.iter().flat_map(|n| [lesion(n, &format!("{n}-0")), lesion(n, &format!("{n}-1"))]).collect();
    lake.write(&partition(), Shard::WHOLE, lesions, &provenance("ingest")).unwrap();
    let mut found: Vec<String> = violations(&lake, &[]).unwrap().into_iter().map(|v| v.problem).collect();
    found.dedup();
    assert_eq!(found, ["image_id=i4 is not in table images", "image_id=i9 is not in table images"]);
    // In another split the images are no counterpart.
    let other = Partition::new("d", "test");
    lake.write(&other, Shard::WHOLE, vec![lesion("i1", "i1-2")], &provenance("ingest")).unwrap();
    assert_eq!(violations(&lake, &[]).unwrap().iter().filter(|v| v.file == "dataset=d/split=test").count(), 1);
}
