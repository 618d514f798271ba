//! A shard that ends early continues after its last sub-part, to the bytes of an undisturbed run, whatever change of the file
//! system fails.

use std::io::Read;
use std::path::PathBuf;

use d2r_contracts::rows::Row;
use d2r_contracts::tables::TruthFindingRow;

use super::place::folder;
use super::*;
use crate::exit::Exit;
use crate::lake::atomic_file::faults;
use crate::lake::store::tests::{finding, lake, provenance};

const RUN: &str = "annotate-0123456789ab";
/// Images in one sub-part.
const STEP: u64 = 3;

fn train() -> Partition {
    Partition::new("vindr", "train")
}

/// Works through `images` images, a row each in the reverse of their order, and counts those it does. Ends with an error after
/// `most` of them.
struct Stage<'a> {
    lake: &'a Lake,
    shard: Shard,
    by: Provenance,
    images: u64,
    most: u64,
    again: Option<&'a str>,
    done: u64,
    said: Vec<String>,
}

impl<'a> Stage<'a> {
    fn new(lake: &'a Lake, shard: Shard) -> Self {
        let by = provenance(RUN);
        Self { lake, shard, by, images: 11, most: u64::MAX, again: None, done: 0, said: Vec::new() }
    }

    fn run(&mut self) -> Result<Committed> {
        let (partition, table) = (train(), TruthFindingRow::TABLE);
        if let Some(committed) = self.lake.finished(&[(&partition, table)], self.shard, &self.by)? {
            self.lake.discard_unfinished(&partition, self.shard, &self.by, &committed)?;
            return Ok(committed);
        }
        let range = self.shard.range_of_groups(self.images, 1);
        let mut kept = self.lake.unfinished(&partition, self.shard, &self.by, self.again)?;
        self.said.extend(kept.said().iter().cloned());
        let mut counted: Vec<u64> = kept.state()?.unwrap_or_default();
        assert_eq!(counted.len() as u64, kept.finished(), "what a stage counts goes with the images");
        let mut rows = Vec::new();
        for image in range.start + kept.finished()..range.end {
            if rows.len() as u64 == STEP {
                let mut sub_part = kept.begin(&self.by)?;
                sub_part.add(std::mem::take(&mut rows))?;
                sub_part.finish(STEP, &counted)?;
            }
            if self.done == self.most {
                return Err(Error::Temporary("killed".into()));
            }
            self.done += 1;
            counted.push(image);
            // Keys of neighbouring sub-parts overlap.
            rows.push(finding(&format!("{:03}", image ^ 4), "Edema"));
        }
        let mut commit = self.lake.begin(self.shard, &self.by)?;
        commit.add_all(&partition, &kept, rows)?;
        let committed = commit.finish()?;
        kept.discard(&committed)?;
        Ok(committed)
    }
}

fn bytes(lake: &Lake) -> Option<Vec<u8>> {
    let part = lake.parts(TruthFindingRow::TABLE, &train()).unwrap().pop()?;
    let mut bytes = Vec::new();
    // The file of a decided commit may still be a temporary one.
    lake.intact_file(&part).unwrap().read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// The bytes of an undisturbed process that keeps nothing.
fn undisturbed() -> Vec<u8> {
    let (_folder, lake) = lake();
    let rows = (0..11u64).map(|image| finding(&format!("{:03}", image ^ 4), "Edema")).collect();
    lake.write(&train(), Shard::WHOLE, rows, &provenance(RUN)).unwrap();
    bytes(&lake).unwrap()
}

/// Files of sub-parts.
fn kept_files(lake: &Lake) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for place in list(&folder(lake)).unwrap() {
        let place = folder(lake).join(place);
        files.extend(list(&place).unwrap().into_iter().map(|name| place.join(name)));
    }
    files
}

fn killed_after(lake: &Lake, images: u64) {
    let mut stage = Stage { most: images, ..Stage::new(lake, Shard::WHOLE) };
    assert_eq!(stage.run().unwrap_err().exit(), Exit::Temporary);
}

#[test]
fn a_killed_shard_continues_and_ends_with_the_bytes_of_an_undisturbed_one() {
    let expected = undisturbed();
    for most in 0..11 {
        let (_folder, lake) = lake();
        killed_after(&lake, most);
        // Between the two processes readers and scans see nothing.
        assert!(lake.parts(TruthFindingRow::TABLE, &train()).unwrap().is_empty());
        assert!(kept_files(&lake).iter().all(|file| file.extension().is_some_and(|e| e != "parquet")));
        assert_eq!(crate::lake::validate::violations(&lake, &[]).unwrap(), []);
        let mut stage = Stage::new(&lake, Shard::WHOLE);
        stage.run().unwrap();
        // A sub-part is kept when the image after it is at hand.
        assert_eq!(stage.done, 11 - most / STEP * STEP, "killed after {most}");
        assert_eq!((bytes(&lake).unwrap(), stage.said.len()), (expected.clone(), 0));
        assert!(list(&folder(&lake)).unwrap().is_empty());
    }
}

#[test]
fn an_undisturbed_shard_that_keeps_sub_parts_has_the_same_bytes() {
    let (_folder, lake) = lake();
    let mut stage = Stage::new(&lake, Shard::WHOLE);
    let committed = stage.run().unwrap();
    assert_eq!((bytes(&lake).unwrap(), committed.published[0].rows), (undisturbed(), 11));
    let cached = Stage { most: 0, ..Stage::new(&lake, Shard::WHOLE) }.run().unwrap();
    assert_eq!(cached.published, committed.published);
}

#[test]
fn shards_continue_each_by_itself_and_are_put_together_to_the_same_bytes() {
    let (_folder, lake) = lake();
    let shard = |index| Shard { index, count: 2 };
    for index in 0..2 {
        Stage { most: 4, ..Stage::new(&lake, shard(index)) }.run().unwrap_err();
    }
    assert_eq!(list(&folder(&lake)).unwrap().len(), 2);
    for (index, left) in [(1, 3), (0, 2)] {
        let mut stage = Stage::new(&lake, shard(index));
        stage.run().unwrap();
        assert_eq!((stage.done, stage.said.len()), (left, 0));
    }
    assert_eq!(bytes(&lake).unwrap(), undisturbed());
    assert!(list(&folder(&lake)).unwrap().is_empty());
}

#[test]
fn a_damaged_sub_part_is_done_again_with_those_after_it() {
    for (damaged, left) in [(0, 11), (1, 8), (2, 5)] {
        for extension in ["rows", "json"] {
            let (_folder, lake) = lake();
            killed_after(&lake, 10);
            let name = format!("{damaged:06}");
            let wanted = |file: &&PathBuf| {
                let of = file.file_name().unwrap().to_string_lossy().starts_with(&name);
                of && file.extension().unwrap() == extension
            };
            let file = kept_files(&lake).iter().find(wanted).unwrap().clone();
            let mut content = std::fs::read(&file).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 0x01;
            std::fs::write(&file, &content).unwrap();
            let mut stage = Stage::new(&lake, Shard::WHOLE);
            stage.run().unwrap();
            assert_eq!((stage.done, stage.said.len()), (left, 1), "{}: {:?}", file.display(), stage.said);
            assert!(stage.said[0].contains("done again") && stage.said[0].contains(&name), "{:?}", stage.said);
            assert_eq!(bytes(&lake).unwrap(), undisturbed());
        }
    }
}

#[test]
fn other_work_another_number_of_shards_and_resume_never_begin_anew() {
    let (_folder, lake) = lake();
    killed_after(&lake, 7);
    let by = Provenance { work_key: "another model".into(), ..provenance(RUN) };
    let mut other = Stage { by, most: 5, ..Stage::new(&lake, Shard::WHOLE) };
    other.run().unwrap_err();
    assert!(other.done == 5 && other.said[0].contains("settings or model were others"), "{:?}", other.said);
    let mut sharded = Stage { most: 4, ..Stage::new(&lake, Shard { index: 0, count: 2 }) };
    sharded.run().unwrap_err();
    assert!(sharded.done == 4 && sharded.said[0].contains("in other shards"), "{:?}", sharded.said);
    assert_eq!(list(&folder(&lake)).unwrap(), ["annotate=vindr=train=0-of-2"]);
    let mut never = Stage { again: Some("as asked"), ..Stage::new(&lake, Shard { index: 0, count: 2 }) };
    never.run().unwrap();
    assert!(never.done == 5 && never.said[0].ends_with("as asked"), "{:?}", never.said);
    // Another partition's and another stage's work stays.
    let kept = |verb: &str, split: &str| {
        let (by, partition) = (provenance(&format!("{verb}-0123456789ab")), Partition::new("vindr", split));
        let mut kept = lake.unfinished(&partition, Shard::WHOLE, &by, None).unwrap();
        let mut sub_part = kept.begin(&by).unwrap();
        sub_part.add(vec![finding("a", "Edema")]).unwrap();
        sub_part.finish(1, &1).unwrap();
    };
    kept("annotate", "val");
    kept("report", "train");
    Stage::new(&lake, Shard::WHOLE).run().unwrap();
    assert_eq!(list(&folder(&lake)).unwrap(), ["annotate=vindr=val=0-of-1", "report=vindr=train=0-of-1"]);
}

#[test]
fn a_second_process_of_the_same_shard_is_refused_and_its_work_stays() {
    let (_folder, lake) = lake();
    killed_after(&lake, 7);
    let by = provenance(RUN);
    let first = lake.unfinished(&train(), Shard::WHOLE, &by, None).unwrap();
    let error = Stage::new(&lake, Shard::WHOLE).run().unwrap_err();
    assert!(error.exit() == Exit::Temporary && error.to_string().contains("another process"), "{error}");
    // Nor does a process of other shards, or a repair, remove it.
    Stage { most: 0, ..Stage::new(&lake, Shard { index: 0, count: 2 }) }.run().unwrap_err();
    lake.repair(true, false).unwrap();
    assert_eq!((first.finished(), kept_files(&lake).len()), (6, 4));
}

#[test]
fn repair_removes_what_is_kept_of_finished_work_and_says_what_is_continued() {
    let (_folder, lake) = lake();
    killed_after(&lake, 7);
    let done = lake.repair(false, false).unwrap();
    assert_eq!((done.removed.len(), &done.unfinished[..]), (0, &[("annotate=vindr=train=0-of-1".to_owned(), 6)][..]));
    // As if the process had ended between the commit and the removal.
    let rows = (0..11u64).map(|image| finding(&format!("{image:03}"), "Edema")).collect();
    lake.write(&train(), Shard::WHOLE, rows, &provenance(RUN)).unwrap();
    let would = lake.repair(false, true).unwrap();
    assert_eq!(kept_files(&lake).len(), 4, "a dry run changes nothing");
    let done = lake.repair(false, false).unwrap();
    assert_eq!((&done, kept_files(&lake).len()), (&would, 0));
    assert!(done.removed[0].1.contains("its stage is finished"), "{:?}", done.removed);
    // A finished shard that waits is committed too.
    let shard = Shard { index: 0, count: 2 };
    Stage { most: 4, by: Provenance { work_key: "k".into(), ..provenance(RUN) }, ..Stage::new(&lake, shard) }
        .run()
        .unwrap_err();
    let by = Provenance { work_key: "k".into(), ..provenance(RUN) };
    lake.write(&train(), shard, vec![finding("a", "Edema")], &by).unwrap();
    assert_eq!(lake.repair(false, false).unwrap().removed.len(), 1);
    // Damaged, and with `waiting` all.
    killed_after_with_key(&lake, "other");
    assert_eq!(lake.repair(true, false).unwrap().removed.last().unwrap().1, "its shard is not finished");
    killed_after_with_key(&lake, "other");
    std::fs::write(&kept_files(&lake)[0], "x").unwrap();
    assert_eq!(lake.repair(false, false).unwrap().removed.len(), 1);
    assert!(list(&folder(&lake)).unwrap().is_empty());
}

fn killed_after_with_key(lake: &Lake, key: &str) {
    let by = Provenance { work_key: key.into(), group: key.into(), ..provenance(RUN) };
    Stage { by, most: 5, ..Stage::new(lake, Shard::WHOLE) }.run().unwrap_err();
}

#[test]
fn whatever_change_fails_the_work_continues_to_the_same_bytes() {
    let expected = undisturbed();
    let (mut ended_early, mut continued) = (0, 0);
    for changes in 0.. {
        let (_folder, lake) = lake();
        let mut first = Stage::new(&lake, Shard::WHOLE);
        faults::fail_after(Some(changes));
        let written = first.run();
        faults::fail_after(None);
        let seen = bytes(&lake);
        assert!(seen.is_none() || seen.as_ref() == Some(&expected), "after {changes} changes");
        // Opening clears what a killed process left and finishes what it decided.
        let again = Lake::open(lake.root()).unwrap();
        assert_eq!(list(&again.temporary_folder()).unwrap(), Vec::<String>::new());
        let mut second = Stage::new(&again, Shard::WHOLE);
        second.run().unwrap();
        assert_eq!(bytes(&again).unwrap(), expected);
        assert!(second.said.is_empty(), "nothing is damaged: {:?}", second.said);
        assert!(list(&folder(&again)).unwrap().is_empty(), "after {changes} changes");
        if written.is_ok() {
            break;
        }
        ended_early += 1;
        continued += u64::from(second.done < 11);
    }
    assert!(ended_early > 20 && continued > 10, "{ended_early} failures, {continued} of them after a sub-part");
}
