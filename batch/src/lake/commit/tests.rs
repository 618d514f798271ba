//! A commit of two tables is seen whole or not at all, whatever change of the file system fails.

use std::io::ErrorKind;

use d2r_contracts::rows::Row;
use d2r_contracts::tables::*;

use crate::error::Result;
use crate::exit::Exit;
use crate::lake::atomic_file::{self, TemporaryFile, faults};
use crate::lake::commit::journal::Journal;
use crate::lake::commit::pending::waiting;
use crate::lake::store::tests::{finding, lake, provenance};
use crate::lake::{Lake, Partition, Shard};

fn train() -> Partition {
    Partition::new("vindr", "train")
}

fn failure(text: &str) -> FailureRow {
    FailureRow {
        stage: "phantom".into(),
        path: None,
        image_id: Some("i".into()),
        code: "c".into(),
        message: text.into(),
    }
}

fn write(lake: &Lake, text: &str) -> Result<()> {
    let mut commit = lake.begin(Shard::WHOLE, &provenance("phantom-0123456789ab"))?;
    commit.add(&train(), vec![finding(text, "Edema")])?;
    commit.add(&train(), vec![failure(text)])?;
    commit.finish().map(|_| ())
}

/// What a reader through the manifests sees of both tables.
fn state(lake: &Lake) -> [String; 2] {
    let texts = lake.read::<TruthFindingRow>(&train()).unwrap().into_iter().map(|r| r.study_id);
    let messages = lake.read::<FailureRow>(&train()).unwrap().into_iter().map(|r| r.message);
    [texts.collect(), messages.collect()]
}

/// What a scan of the folders sees.
fn scanned(lake: &Lake) -> usize {
    let files = |table: &str| std::fs::read_dir(lake.part_folder(table, &train())).unwrap().count();
    files(TruthFindingRow::TABLE).max(files(FailureRow::TABLE))
}

#[test]
fn whatever_change_fails_both_tables_are_old_or_both_are_new() {
    let (mut old, mut new) = (0, 0);
    for changes in 0.. {
        let (_folder, lake) = lake();
        write(&lake, "old").unwrap();
        faults::fail_after(Some(changes));
        let written = write(&lake, "new");
        faults::fail_after(None);
        let found = state(&lake);
        assert!(found == ["old", "old"] || found == ["new", "new"], "after {changes} changes: {found:?}");
        assert_eq!(scanned(&lake), 1, "a scan sees one part of each table");
        if found[0] == "old" {
            old += 1
        } else {
            new += 1
        }
        // Opening finishes what was decided, and changes nothing that a reader sees.
        let again = Lake::open(lake.root()).unwrap();
        assert_eq!(state(&again), found);
        assert!(!again.root().join("commit.json").exists());
        assert_eq!(std::fs::read_dir(again.temporary_folder()).unwrap().count(), 0);
        assert!(crate::lake::validate::violations(&again, &[]).unwrap().iter().all(|v| v.rule == "reference"));
        write(&again, "new").unwrap();
        assert_eq!(state(&again), ["new", "new"]);
        if written.is_ok() {
            break;
        }
    }
    assert!(old > 5 && new > 5, "{old} failures before the commit, {new} after it");
}

#[test]
fn every_kind_of_failure_has_its_exit_code_at_every_change() {
    for (kind, code) in [
        (ErrorKind::StorageFull, 75),
        (ErrorKind::QuotaExceeded, 75),
        (ErrorKind::StaleNetworkFileHandle, 75),
        (ErrorKind::ReadOnlyFilesystem, 78),
        (ErrorKind::PermissionDenied, 78),
    ] {
        let mut failed = 0;
        for changes in 0.. {
            let (_folder, lake) = lake();
            write(&lake, "old").unwrap();
            faults::fail_after_with(changes, kind);
            let written = write(&lake, "new");
            faults::fail_after(None);
            let found = state(&Lake::open(lake.root()).unwrap());
            assert!(found == ["old", "old"] || found == ["new", "new"], "{kind}, {changes} changes: {found:?}");
            let Err(error) = written else { break };
            assert_eq!(error.exit().code(), code, "{kind} after {changes} changes: {error}");
            failed += 1;
        }
        assert!(failed > 5, "{kind}");
    }
}

#[test]
fn a_commit_whose_temporary_files_another_machine_cleared_is_not_decided() {
    let (_folder, lake) = lake();
    write(&lake, "old").unwrap();
    let mut commit = lake.begin(Shard::WHOLE, &provenance("phantom-0123456789ab")).unwrap();
    commit.add(&train(), vec![finding("new", "Edema")]).unwrap();
    atomic_file::remove_temporary(&lake.temporary_folder()).unwrap();
    assert_eq!(commit.finish().unwrap_err().exit(), Exit::Temporary);
    assert!(!lake.root().join("commit.json").exists());
    assert_eq!(state(&lake), ["old", "old"]);
    // While it is written.
    let mut temporary = TemporaryFile::create(&lake.temporary_folder(), "part").unwrap();
    atomic_file::remove_temporary(&lake.temporary_folder()).unwrap();
    assert_eq!(temporary.fill(|_| Ok(())).unwrap_err().exit(), Exit::Temporary);
    // A shard's files wait elsewhere; they are checked as they go there.
    let mut commit = lake.begin(Shard { index: 0, count: 2 }, &provenance("phantom-ffffffffffff")).unwrap();
    commit.add(&train(), vec![finding("new", "Edema")]).unwrap();
    atomic_file::remove_temporary(&lake.temporary_folder()).unwrap();
    assert_eq!(commit.finish().unwrap_err().exit(), Exit::Temporary);
}

#[test]
fn a_lake_that_cannot_be_changed_shows_a_decided_commit() {
    let (_folder, lake) = lake();
    write(&lake, "old").unwrap();
    let by = provenance("phantom-0123456789ab");
    let staged = vec![
        lake.stage(&train(), Shard::WHOLE, vec![finding("new", "Edema")], &by).unwrap(),
        lake.stage(&train(), Shard::WHOLE, vec![failure("new")], &by).unwrap(),
    ];
    Journal::decide(&lake, staged, Vec::new()).unwrap();
    // `at` finishes nothing, as a reader without permission to write.
    let reader = Lake::at(lake.root()).unwrap();
    assert_eq!(state(&reader), ["new", "new"]);
    assert!(lake.root().join("commit.json").exists());
    Lake::open(lake.root()).unwrap();
    assert_eq!(state(&reader), ["new", "new"]);
    assert!(!lake.root().join("commit.json").exists());
}

#[test]
fn a_table_that_a_stage_no_longer_writes_goes_with_its_commit() {
    let (_folder, lake) = lake();
    write(&lake, "old").unwrap();
    let mut commit = lake.begin(Shard::WHOLE, &provenance("phantom-0123456789ab")).unwrap();
    commit.add(&train(), vec![failure("new")]).unwrap();
    commit.remove::<TruthFindingRow>(&train());
    commit.finish().unwrap();
    assert_eq!(state(&lake), ["", "new"]);
    assert!(lake.partitions(TruthFindingRow::TABLE).unwrap().is_empty());
}

#[test]
fn a_killed_last_shard_is_done_again_and_puts_all_together() {
    let (_folder, lake) = lake();
    let by = provenance("phantom-0123456789ab");
    let shard = |index| Shard { index, count: 2 };
    let run = |index, text: &str| {
        let mut commit = lake.begin(shard(index), &by)?;
        commit.add(&train(), vec![finding(text, "Edema")])?;
        commit.finish()
    };
    run(0, "a").unwrap();
    for changes in 0.. {
        faults::fail_after(Some(changes));
        let done = run(1, "b").is_ok();
        faults::fail_after(None);
        let rows = lake.read::<TruthFindingRow>(&train()).unwrap().len();
        assert!(rows == 0 || rows == 2, "{rows} rows after {changes} changes");
        if done {
            break;
        }
        let again = Lake::open(lake.root()).unwrap();
        let (partition, table) = (train(), TruthFindingRow::TABLE);
        if again.finished(&[(&partition, table)], shard(1), &by).unwrap().is_none() {
            continue;
        }
        assert_eq!(again.read::<TruthFindingRow>(&train()).unwrap().len(), 2);
    }
    assert_eq!(lake.read::<TruthFindingRow>(&train()).unwrap().len(), 2);
}

#[test]
fn a_second_process_of_a_shard_leaves_nothing_behind() {
    let (_folder, lake) = lake();
    let by = provenance("phantom-0123456789ab");
    let begun = |index, text: &str| {
        let mut commit = lake.begin(Shard { index, count: 2 }, &by).unwrap();
        commit.add(&train(), vec![finding(text, "Edema")]).unwrap();
        commit
    };
    let (first, second) = (begun(1, "b"), begun(1, "b"));
    assert_eq!(begun(0, "a").finish().unwrap().missing, [1]);
    assert!(first.finish().unwrap().missing.is_empty(), "the last shard puts all together");
    assert!(second.finish().unwrap().missing.is_empty(), "another process did the same meanwhile");
    assert_eq!(lake.read::<TruthFindingRow>(&train()).unwrap().len(), 2);
    assert!(waiting(&lake).unwrap().is_empty(), "what is stored now would wait for ever");
}
