use d2r_contracts::rows::Row;
use d2r_contracts::tables::TruthFindingRow;

use crate::error::Error;
use crate::lake::commit::journal::{Journal, finish_open_commit};
use crate::lake::repair::Selection;
use crate::lake::store::tests::{finding, lake, provenance};
use crate::lake::{Lake, Partition, Shard};

fn write(lake: &Lake, split: &str, run: &str, study: &str) -> std::path::PathBuf {
    let rows = vec![finding(study, "Edema")];
    let part = lake.write(&Partition::new("vindr", split), Shard::WHOLE, rows, &provenance(run)).unwrap();
    lake.root().join(part.file)
}

#[test]
fn repair_removes_damaged_and_stray_parts_and_says_why() {
    let (_folder, lake) = lake();
    let sound = write(&lake, "train", "phantom-0123456789ab", "a");
    let damaged = write(&lake, "train", "annotate-0123456789ab", "b");
    std::fs::write(&damaged, "x").unwrap();
    let stray = sound.with_file_name("part-00000-0123456789ab.parquet");
    std::fs::copy(&sound, &stray).unwrap();
    let would = lake.repair(false, true).unwrap();
    assert!(damaged.exists() && stray.exists(), "a dry run changes nothing");
    let done = lake.repair(false, false).unwrap();
    assert_eq!(done, would);
    assert_eq!(done.removed.len(), 3, "{:?}", done.removed);
    assert!(
        done.removed.iter().any(|(name, why)| name.starts_with("manifests/") && why.contains("run annotate again"))
    );
    assert!(sound.exists() && !damaged.exists() && !stray.exists());
    assert_eq!(lake.read::<TruthFindingRow>(&Partition::new("vindr", "train")).unwrap().len(), 1);
    assert!(lake.repair(false, false).unwrap().removed.is_empty());
}

#[test]
fn repair_removes_a_damaged_journal_and_refuses_while_another_process_writes() {
    let (_folder, lake) = lake();
    write(&lake, "train", "phantom-0123456789ab", "a");
    std::fs::write(lake.root().join("commit.json"), "{").unwrap();
    let error = lake.read::<TruthFindingRow>(&Partition::new("vindr", "train")).unwrap_err();
    assert!(error.to_string().contains("lake repair"), "{error}");
    lake.repair(false, false).unwrap();
    assert_eq!(lake.read::<TruthFindingRow>(&Partition::new("vindr", "train")).unwrap().len(), 1);
    let _writing = lake.writers_lock().unwrap();
    assert!(matches!(lake.repair(false, false), Err(Error::Temporary(_))));
}

#[test]
fn repair_removes_a_journal_whose_temporary_files_are_gone() {
    let (_folder, lake) = lake();
    write(&lake, "train", "phantom-0123456789ab", "a");
    let partition = Partition::new("vindr", "val");
    let by = provenance("phantom-0123456789ab");
    let staged = vec![lake.stage(&partition, Shard::WHOLE, vec![finding("b", "Edema")], &by).unwrap()];
    let journal = Journal::decide(&lake, staged, Vec::new()).unwrap();
    std::fs::remove_file(lake.temporary_folder().join(&journal.parts[0].temporary)).unwrap();
    let error = finish_open_commit(&lake).unwrap_err();
    assert!(matches!(error, Error::BadData { .. }) && error.to_string().contains("lake repair"), "{error}");
    let done = lake.repair(false, false).unwrap();
    assert!(!done.finished_commit);
    assert_eq!(done.removed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["commit.json"]);
    assert_eq!(lake.rows(TruthFindingRow::TABLE).unwrap(), 1);
}

#[test]
fn waiting_shards_are_removed_when_asked() {
    let (_folder, lake) = lake();
    let (partition, shard) = (Partition::new("vindr", "train"), Shard { index: 1, count: 4 });
    lake.write(&partition, shard, vec![finding("a", "Edema")], &provenance("annotate-0123456789ab")).unwrap();
    let done = lake.repair(false, false).unwrap();
    assert_eq!(done.waiting.iter().map(|w| (w.1, w.2)).collect::<Vec<_>>(), [(1, 4)]);
    assert_eq!(lake.repair(true, false).unwrap().removed.len(), 1);
    assert!(lake.waiting().unwrap().is_empty());
}

#[test]
fn remove_takes_what_was_selected_and_nothing_else() {
    let (_folder, lake) = lake();
    for split in ["train", "val"] {
        write(&lake, split, "phantom-0123456789ab", "a");
        write(&lake, split, "annotate-0123456789ab", "b");
    }
    let table = || vec![TruthFindingRow::TABLE.to_owned()];
    let of_val = Selection {
        dataset: "vindr".into(),
        split: Some("val".into()),
        tables: table(),
        producer: Some("annotate".into()),
    };
    assert_eq!(lake.remove(&of_val, true).unwrap().len(), 1);
    assert_eq!(lake.rows(TruthFindingRow::TABLE).unwrap(), 4, "a dry run changes nothing");
    lake.remove(&of_val, false).unwrap();
    assert_eq!(lake.rows(TruthFindingRow::TABLE).unwrap(), 3);
    assert!(matches!(lake.remove(&of_val, false), Err(Error::NothingToDo(_))));
    let all = Selection { dataset: "vindr".into(), ..Selection::default() };
    assert_eq!(lake.remove(&all, false).unwrap().len(), 3);
    assert!(lake.partitions(TruthFindingRow::TABLE).unwrap().is_empty());
}
