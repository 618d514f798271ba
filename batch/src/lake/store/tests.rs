//! The lake's guarantees: what is written is read, a killed or failed writer leaves the old part or the new one,
//! damage is an error that names the file.

use std::path::{Path, PathBuf};

use d2r_contracts::rows::Row;
use d2r_contracts::tables::*;

use crate::error::Error;
use crate::exit::Exit;
use crate::lake::store::wait_for;
use crate::lake::{Lake, PartManifest, Partition, Provenance, Shard};
use crate::stop::StopFlag;

pub(crate) fn provenance(run_id: &str) -> Provenance {
    Provenance {
        run_id: run_id.into(),
        work_key: format!("key of {run_id}"),
        group: format!("group of {run_id}"),
        ..Provenance::default()
    }
}

pub(crate) fn lake() -> (tempfile::TempDir, Lake) {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(&folder.path().join("lake")).unwrap();
    (folder, lake)
}

fn train() -> Partition {
    Partition::new("vindr", "train")
}

fn whole() -> Shard {
    Shard { index: 0, count: 1 }
}

pub(crate) fn finding(study: &str, label: &str) -> TruthFindingRow {
    TruthFindingRow { study_id: study.into(), label: label.into(), state: "positive".into() }
}

fn studies(lake: &Lake) -> Vec<String> {
    lake.read::<TruthFindingRow>(&train()).unwrap().into_iter().map(|r| r.study_id).collect()
}

fn rows_of(studies: &[&str]) -> Vec<TruthFindingRow> {
    studies.iter().map(|s| finding(s, "Edema")).collect()
}

fn part_files(lake: &Lake) -> Vec<PathBuf> {
    let folder = lake.part_folder("truth_findings", &train());
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

fn write(lake: &Lake, studies: &[&str], shard: Shard) -> PartManifest {
    lake.write(&train(), shard, rows_of(studies), &provenance("phantom-0123456789ab")).unwrap()
}

#[test]
fn rows_come_back_in_key_order_from_all_shards() {
    let (_folder, lake) = lake();
    write(&lake, &["d", "b"], Shard { index: 0, count: 2 });
    write(&lake, &["c", "a"], Shard { index: 1, count: 2 });
    assert_eq!(studies(&lake), ["a", "b", "c", "d"]);
    assert_eq!(lake.rows("truth_findings").unwrap(), 4);
    assert_eq!(lake.partitions("truth_findings").unwrap(), [train()]);
    assert!(lake.read::<TruthFindingRow>(&Partition::new("vindr", "test")).unwrap().is_empty());
}

#[test]
fn the_same_rows_in_any_order_are_the_same_bytes() {
    let (_one, first) = lake();
    let (_two, second) = lake();
    let a = write(&first, &["a", "b", "c"], whole());
    let b = write(&second, &["c", "a", "b"], whole());
    assert_eq!(a, b);
    assert_eq!(std::fs::read(first.root().join(&a.file)).unwrap(), std::fs::read(second.root().join(&b.file)).unwrap());
}

#[test]
fn an_empty_part_keeps_its_columns() {
    let (_folder, lake) = lake();
    let part = write(&lake, &[], whole());
    assert_eq!(part.rows, 0);
    assert!(studies(&lake).is_empty());
    let file = crate::lake::parquet_file::PartFile::open(&lake.root().join(&part.file), None).unwrap();
    assert_eq!(file.schema().fields(), TruthFindingRow::schema().fields());
}

#[test]
fn files_carry_their_identity_and_their_order() {
    let (_folder, lake) = lake();
    let mut by = provenance("annotate-0123456789ab");
    by.model_sha256 = Some("f".repeat(64));
    let part = lake.write(&train(), whole(), rows_of(&["a"]), &by).unwrap();
    let file = crate::lake::parquet_file::PartFile::open(&lake.root().join(&part.file), None).unwrap();
    assert_eq!(file.metadata("d2r.contract.id"), Some("urn:d2r:truth_findings"));
    assert_eq!(file.metadata("d2r.contract.version"), Some(part.contract_version.as_str()));
    assert_eq!(file.metadata("d2r.run.id"), Some("annotate-0123456789ab"));
    assert_eq!(file.metadata("d2r.code.version"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(file.metadata("d2r.model.sha256"), Some("f".repeat(64).as_str()));
    assert_eq!(file.sorting_columns(), Some(vec![0, 1]));
}

#[test]
fn a_repeated_key_names_the_key_and_both_rows() {
    let (_folder, lake) = lake();
    let error = lake.write(&train(), whole(), rows_of(&["b", "a", "b"]), &provenance("x")).unwrap_err();
    assert_eq!(error.exit(), Exit::BadData);
    let text = error.to_string();
    for part in ["truth_findings", "rows 0 and 2", "study_id=b", "label=Edema"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(studies(&lake).is_empty());
}

#[test]
fn a_float_that_is_no_number_is_refused_with_its_row() {
    let (_folder, lake) = lake();
    let metric = |metric: &str, value| MetricRow {
        run_id: "r".into(),
        stage: "detector".into(),
        metric: metric.into(),
        signature: "s".into(),
        value,
        ci_low: None,
        ci_high: None,
        n: 1,
    };
    let rows = vec![metric("z", f64::NAN), metric("a", 0.5)];
    let error = lake.write(&train(), whole(), rows, &provenance("r")).unwrap_err().to_string();
    assert!(error.contains("column value of row 0 is NaN"), "{error}");
}

#[test]
fn stages_share_a_table_and_replace_only_their_own_part() {
    let (_folder, lake) = lake();
    let failure = |stage: &str, code: &str| FailureRow {
        stage: stage.into(),
        path: None,
        image_id: Some("i".into()),
        code: code.into(),
        message: "m".into(),
    };
    let put = |stage: &str, code: &str, run: &str| {
        lake.write(&train(), whole(), vec![failure(stage, code)], &provenance(run)).unwrap()
    };
    put("ingest", "truncated", "ingest-000000000000");
    put("annotate", "too_small", "annotate-000000000000");
    put("annotate", "truncated", "annotate-111111111111");
    let rows = lake.read::<FailureRow>(&train()).unwrap();
    let found: Vec<_> = rows.iter().map(|r| (r.stage.as_str(), r.code.as_str())).collect();
    assert_eq!(found, [("annotate", "truncated"), ("ingest", "truncated")]);
}

#[test]
fn shards_change_the_table_when_the_last_of_them_is_finished() {
    let (_folder, lake) = lake();
    lake.write(&train(), whole(), rows_of(&["old"]), &provenance("phantom-ffffffffffff")).unwrap();
    for (index, rows) in [(0, &["a", "b"][..]), (2, &[])] {
        write(&lake, rows, Shard { index, count: 3 });
        assert_eq!(studies(&lake), ["old"]);
    }
    assert_eq!(lake.waiting().unwrap().iter().map(|w| (w.1, w.2)).collect::<Vec<_>>(), [(2, 3)]);
    write(&lake, &["c"], Shard { index: 1, count: 3 });
    assert_eq!(studies(&lake), ["a", "b", "c"]);
    assert_eq!((part_files(&lake).len(), lake.waiting().unwrap().len()), (1, 0));
}

#[test]
fn shards_are_put_together_to_the_bytes_of_one_process() {
    let (_folder, one) = lake();
    write(&one, &["a", "b", "c"], whole());
    let (_other, many) = lake();
    for (index, row) in [(1, "b"), (0, "c"), (2, "a")] {
        write(&many, &[row], Shard { index, count: 3 });
    }
    let bytes = |lake: &Lake| std::fs::read(&part_files(lake)[0]).unwrap();
    assert_eq!(bytes(&one), bytes(&many));
    let by = provenance("phantom-0123456789ab");
    let partition = train();
    let found = |shard| many.finished(&[(&partition, "truth_findings")], shard, &by).unwrap().map(|c| c.parts.len());
    assert_eq!(found(whole()), Some(1), "the work of the shards is that of one process");
    assert_eq!((found(Shard { index: 0, count: 3 }), found(Shard { index: 1, count: 3 })), (Some(1), Some(0)));
}

#[test]
fn shards_of_two_works_are_never_put_together() {
    let (_folder, lake) = lake();
    let shard = |index| Shard { index, count: 2 };
    let by = |run: &str, index, row: &str| {
        lake.write(&train(), shard(index), rows_of(&[row]), &provenance(run)).unwrap();
    };
    by("annotate-aaaaaaaaaaaa", 0, "a0");
    by("annotate-bbbbbbbbbbbb", 1, "b1");
    assert!(studies(&lake).is_empty());
    by("report-cccccccccccc", 0, "c0");
    by("annotate-aaaaaaaaaaaa", 1, "a1");
    assert_eq!(studies(&lake), ["a0", "a1"]);
    // The other work's shard is gone with it, that of another stage waits.
    assert_eq!(lake.waiting().unwrap().len(), 1);
    by("annotate-bbbbbbbbbbbb", 0, "b0");
    assert_eq!(studies(&lake), ["a0", "a1"]);
    by("annotate-bbbbbbbbbbbb", 1, "b1");
    assert_eq!(studies(&lake), ["b0", "b1"]);
}

#[test]
fn a_damaged_shard_that_waits_is_done_again() {
    let (_folder, lake) = lake();
    let part = write(&lake, &["a"], Shard { index: 0, count: 2 });
    flip(&lake.root().join(&part.file), 40);
    let by = provenance("phantom-0123456789ab");
    let (partition, shard) = (train(), Shard { index: 0, count: 2 });
    assert!(lake.finished(&[(&partition, "truth_findings")], shard, &by).unwrap().is_none());
    write(&lake, &["b"], Shard { index: 1, count: 2 });
    assert!(studies(&lake).is_empty());
    write(&lake, &["a"], shard);
    assert_eq!(studies(&lake), ["a", "b"]);
}

#[test]
fn opening_leaves_a_living_writers_file_alone() {
    let (_folder, lake) = lake();
    let mut commit = lake.begin(whole(), &provenance("x")).unwrap();
    commit.add(&train(), rows_of(&["new"])).unwrap();
    Lake::open(lake.root()).unwrap();
    commit.finish().unwrap();
    assert_eq!(studies(&lake), ["new"]);
}

#[test]
fn only_intact_parts_of_the_same_work_are_current() {
    let (_folder, lake) = lake();
    let part = write(&lake, &["a"], whole());
    let current = |key: &str| lake.current("truth_findings", &train(), key, whole()).unwrap();
    assert_eq!(current(&part.work_key), Some(part.clone()));
    assert_eq!(current("another"), None);
    flip(&lake.root().join(&part.file), 40);
    assert_eq!(current(&part.work_key), None);
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn every_damaged_byte_is_an_error_that_names_the_file() {
    let (_folder, lake) = lake();
    let part = write(&lake, &["a", "b"], whole());
    let partition = train();
    let manifest = lake.manifest_files("truth_findings", &partition).unwrap().remove(0).path;
    for path in [lake.root().join(&part.file), manifest] {
        let good = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut damaged: Vec<Vec<u8>> = [0, 1, good.len() / 2, good.len() - 2].map(|n| good[..n].to_vec()).into();
        for at in (0..good.len() - 1).step_by(7) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x55;
            damaged.push(bytes);
        }
        for bytes in damaged {
            std::fs::write(&path, &bytes).unwrap();
            let error = lake.read::<TruthFindingRow>(&partition).unwrap_err();
            assert_eq!(error.exit(), Exit::BadData, "{error}");
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(lake.current("truth_findings", &partition, &part.work_key, whole()).unwrap(), None);
        }
        std::fs::write(&path, good).unwrap();
        assert_eq!(studies(&lake).len(), 2);
    }
    std::fs::remove_file(lake.root().join(&part.file)).unwrap();
    let error = lake.read::<TruthFindingRow>(&partition).unwrap_err();
    assert!(matches!(error, Error::InputMissing { .. }), "{error}");
}

#[test]
fn writing_the_shard_again_replaces_a_damaged_manifest() {
    let (_folder, lake) = lake();
    write(&lake, &["a"], whole());
    let manifest = lake.manifest_files("truth_findings", &train()).unwrap().remove(0).path;
    std::fs::write(manifest, "{").unwrap();
    write(&lake, &["b"], whole());
    assert_eq!(studies(&lake), ["b"]);
}

#[test]
fn a_full_disk_ends_in_try_again() {
    let path = Path::new("/dev/full");
    if !path.exists() {
        return;
    }
    let mut device = std::fs::File::options().write(true).open(path).unwrap();
    let error = crate::lake::parquet_file::write_bytes(&[1; 10], path)(&mut device).unwrap_err();
    assert_eq!(error.exit(), Exit::Temporary, "{error}");
}

fn timing(stage: &str, shard: &str, n: i64, read_ms: f64) -> TimingRow {
    TimingRow {
        run_id: "r".into(),
        stage: stage.into(),
        shard: shard.into(),
        n,
        read_ms,
        decode_ms: 1.0,
        model_ms: 1.0,
        write_ms: 1.0,
        waiting_ms: None,
    }
}

#[test]
fn the_content_digest_leaves_out_measurements_and_nothing_else() {
    let (_folder, lake) = lake();
    let timing = |n, read_ms| timing("annotate", "0/1", n, read_ms);
    let digest = |row: TimingRow| {
        lake.write(&train(), whole(), vec![row], &provenance("r")).unwrap();
        lake.content_digest("timings", &train()).unwrap()
    };
    let first = digest(timing(5, 1.0));
    assert_eq!(digest(timing(5, 2.0)), first);
    assert_ne!(digest(timing(6, 1.0)), first);
}

#[test]
fn datasets_are_remembered_with_absolute_folders() {
    let (folder, lake) = lake();
    assert!(matches!(lake.dataset_root("vindr"), Err(Error::NoRows { .. })));
    lake.register_dataset("vindr", folder.path(), "vindr").unwrap();
    lake.register_dataset("mimic", Path::new("relative"), "mimic").unwrap();
    assert_eq!(lake.dataset_root("vindr").unwrap(), folder.path());
    assert!(lake.dataset_root("mimic").unwrap().is_absolute());
    assert!(lake.register_dataset("../x", folder.path(), "vindr").is_err());
}

#[test]
fn parallel_writers_of_different_shards_all_arrive() {
    let (_folder, lake) = lake();
    std::thread::scope(|scope| {
        for index in 0..8 {
            let lake = &lake;
            scope.spawn(move || {
                write(&Lake::open(lake.root()).unwrap(), &[&format!("s{index}")], Shard { index, count: 8 })
            });
        }
    });
    assert_eq!(studies(&lake).len(), 8);
    assert_eq!(part_files(&lake).len(), 1);
}

#[test]
fn there_is_no_lake_in_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Lake::open(folder.path()), Err(Error::InputMissing { .. })));
}

#[test]
fn waiting_for_a_lock_hears_a_signal_and_a_file_system_without_locks_is_tolerated() {
    use std::fs::TryLockError;
    let (path, stop) = (Path::new("lock"), StopFlag::default());
    for code in [rustix::io::Errno::NOLCK, rustix::io::Errno::BADF, rustix::io::Errno::OPNOTSUPP] {
        let refused = || Err(TryLockError::Error(std::io::Error::from_raw_os_error(code.raw_os_error())));
        wait_for(refused, path, &stop).unwrap();
    }
    let broken = || Err(TryLockError::Error(std::io::Error::from_raw_os_error(5)));
    assert_eq!(wait_for(broken, path, &stop).unwrap_err().exit(), Exit::Temporary);
    stop.request(15);
    assert_eq!(wait_for(|| Err(TryLockError::WouldBlock), path, &stop).unwrap_err().exit(), Exit::Terminated);
    // What NFS refuses: a shared lock on a file that is not open for reading.
    let (_folder, lake) = lake();
    let (_, mut file) = lake.lock_file("writers").unwrap();
    assert_eq!(std::io::Read::read(&mut file, &mut [0u8]).unwrap(), 0);
}

#[test]
fn the_history_of_a_sharded_stage_can_be_read() {
    let (_folder, lake) = lake();
    for index in 0..2 {
        let run = format!("report-0123456789a{index}");
        let row = TimingRow { run_id: run.clone(), ..timing("report", &format!("{index}/2"), 1, 0.0) };
        // Each shard of a folder's images has a key of its own.
        let by = Provenance { group: "all images".into(), ..provenance(&run) };
        lake.write(&train(), Shard { index, count: 2 }, vec![row], &by).unwrap();
    }
    let (partition, second) = (train(), Shard { index: 1, count: 2 });
    let by = Provenance { group: "all images".into(), ..provenance("report-0123456789a1") };
    assert!(lake.finished(&[(&partition, "timings")], second, &by).unwrap().is_some());
    let other = Provenance { work_key: "other contents".into(), ..by };
    assert!(lake.finished(&[(&partition, "timings")], second, &other).unwrap().is_none());
    assert_eq!(lake.read::<TimingRow>(&train()).unwrap().len(), 2);
}
