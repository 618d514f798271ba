//! Rows of several sorted runs in one order, whatever their number: a run is a file or a list of rows in key order, and few
//! rows of each are in memory. A file is opened when the order reaches its first row, so that of files whose keys follow
//! each other one is open at a time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fs::File;
use std::iter::{Skip, Take};
use std::path::PathBuf;

use d2r_contracts::rows::Row;

use crate::error::{Error, Result};
use crate::lake::manifest::PartManifest;
use crate::lake::parquet_file::{Batches, PartFile};
use crate::lake::part::key_text;
use crate::lake::partition::Partition;
use crate::lake::read::check_contract;
use crate::lake::store::Lake;

/// Rows of an open file in memory.
const READ_ROWS: usize = 1024;
/// Above this number of files, none stays open between two reads.
const MAX_OPEN: usize = 64;

/// Rows in key order.
pub(crate) enum Run<R> {
    Rows(Vec<R>),
    /// A file that stays as it is: its bytes were found intact, and no other process changes it.
    File(PathBuf),
    /// An open file, from a place on.
    Open(File, PathBuf, Start),
}

/// Where the rows of a file begin.
#[derive(Debug, Clone)]
pub(crate) enum Start {
    /// This row, counted from 0.
    Row(u64),
    /// The row group where the texts of a column reach this one.
    Text(&'static str, String),
}

/// The rows of all runs in key order; ends with the first error.
pub(crate) struct SortedRows<R: Row> {
    sources: Vec<Source<R>>,
    /// The next row of each run.
    next: BinaryHeap<Head<R>>,
}

impl<R: Row> SortedRows<R> {
    /// # Errors
    /// [`Error::BadData`] naming a file that cannot be read.
    pub(crate) fn of(runs: Vec<Run<R>>) -> Result<Self> {
        let stays_open = runs.iter().filter(|run| !matches!(run, Run::Rows(_))).count() <= MAX_OPEN;
        let mut sorted = Self { sources: Vec::new(), next: BinaryHeap::new() };
        for run in runs {
            let (file, start, rows) = match run {
                Run::Rows(rows) => (None, Start::Row(0), rows),
                Run::File(path) => (Some((None, path)), Start::Row(0), Vec::new()),
                Run::Open(file, path, start) => (Some((Some(file), path)), start, Vec::new()),
            };
            let (at, from) = match start {
                Start::Row(row) => (row, None),
                Start::Text(column, least) => (0, Some((column, least))),
            };
            let mut source = Source { file, from, at, stays_open, open: None, ready: rows.into_iter() };
            let number = sorted.sources.len();
            if let Some(row) = source.first()? {
                sorted.next.push(Head { row, source: number });
            }
            sorted.sources.push(source);
        }
        Ok(sorted)
    }

    fn advance(&mut self) -> Result<Option<R>> {
        let Some(Head { row, source }) = self.next.pop() else { return Ok(None) };
        if let Some(following) = self.sources[source].following()? {
            if following.key_cmp(&row).is_lt() {
                let problem = format!("the key ({}) is not in order; run its stage again", key_text(&following));
                return Err(Error::bad_data(self.sources[source].name(), problem));
            }
            self.next.push(Head { row: following, source });
        }
        match self.next.peek() {
            Some(head) if head.row.key_cmp(&row).is_eq() => {
                let problem = format!("two rows have the same key ({}); `d2r validate` names them", key_text(&row));
                Err(Error::bad_data(format!("table {}", R::TABLE), problem))
            }
            _ => Ok(Some(row)),
        }
    }
}

impl<R: Row> Iterator for SortedRows<R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.advance().transpose();
        if matches!(row, Some(Err(_))) {
            self.next.clear();
        }
        row
    }
}

/// A run that is being read.
struct Source<R> {
    /// The file, open or not, and its path; `None` for rows that are in memory.
    file: Option<(Option<File>, PathBuf)>,
    /// Only row groups from this text of a column on.
    from: Option<(&'static str, String)>,
    /// Rows of these that were read or passed over.
    at: u64,
    stays_open: bool,
    open: Option<Batches>,
    ready: std::vec::IntoIter<R>,
}

impl<R: Row> Source<R> {
    /// The first row; the file is read on when its turn comes.
    fn first(&mut self) -> Result<Option<R>> {
        let Some(file) = self.part_file(1)? else { return Ok(self.ready.next()) };
        let mut rows: Vec<R> = file.read()?;
        self.at += rows.len() as u64;
        Ok(rows.pop())
    }

    fn following(&mut self) -> Result<Option<R>> {
        if let Some(row) = self.ready.next() {
            return Ok(Some(row));
        }
        let count = if self.stays_open { u64::MAX } else { READ_ROWS as u64 };
        let mut batches = match self.open.take() {
            Some(open) => open,
            None => match self.part_file(count)? {
                Some(file) => file.batches(READ_ROWS)?,
                None => return Ok(None),
            },
        };
        let Some(batch) = batches.next().transpose()? else { return Ok(None) };
        let rows = R::from_batch(&batch).map_err(|e| Error::bad_data(self.name(), e))?;
        self.at += rows.len() as u64;
        self.ready = rows.into_iter();
        self.open = self.stays_open.then_some(batches);
        Ok(self.ready.next())
    }

    /// The next `count` rows of the file; `None` for rows that are in memory.
    fn part_file(&self, count: u64) -> Result<Option<PartFile>> {
        let Some((open, path)) = &self.file else { return Ok(None) };
        let part = match open {
            Some(file) => PartFile::of_file(file.try_clone().map_err(|e| Error::io("read", path, e))?, path)?,
            None => PartFile::open(path, None)?,
        };
        let part = match &self.from {
            Some((column, least)) => part.groups_from(column, least)?,
            None => part,
        };
        Ok(Some(part.rows_from(self.at, count)))
    }

    fn name(&self) -> String {
        self.file.as_ref().map_or_else(|| format!("table {}", R::TABLE), |(_, path)| path.display().to_string())
    }
}

/// The next row of a run. The greatest head of the heap has the least key.
struct Head<R> {
    row: R,
    source: usize,
}

impl<R: Row> Ord for Head<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.row.key_cmp(&self.row).then(other.source.cmp(&self.source))
    }
}

impl<R: Row> PartialOrd for Head<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Row> PartialEq for Head<R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<R: Row> Eq for Head<R> {}

/// A range of the rows of a partition.
pub(crate) type SomeRows<R> = Take<Skip<SortedRows<R>>>;

impl Lake {
    /// The rows of a partition in key order, from number `first` on and at most `count` of them, read as they are asked for.
    ///
    /// # Errors
    /// As [`Lake::read`]; what is wrong inside a file is an error of the row.
    pub(crate) fn rows_in_order<R: Row>(&self, partition: &Partition, first: u64, count: u64) -> Result<SomeRows<R>> {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let (sorted, from) = self.undisturbed(R::TABLE, partition, |parts| {
            // One part is read from its place on; the rows of several ones are counted as they come.
            let from = if parts.len() == 1 { first } else { 0 };
            Ok((self.sorted_parts(parts, &Start::Row(from))?, from))
        })?;
        Ok(sorted.skip(number(first - from)).take(number(count)))
    }

    /// The rows of a partition in key order, which begin where the first column of the key reaches a text, or before.
    ///
    /// # Errors
    /// Those of [`Self::rows_in_order`].
    pub(crate) fn rows_from_text<R: Row>(
        &self,
        partition: &Partition,
        column: &'static str,
        least: &str,
    ) -> Result<SortedRows<R>> {
        let start = Start::Text(column, least.to_owned());
        self.undisturbed(R::TABLE, partition, |parts| self.sorted_parts(parts, &start))
    }

    fn sorted_parts<R: Row>(&self, parts: &[PartManifest], start: &Start) -> Result<SortedRows<R>> {
        let run = |part: &PartManifest| {
            check_contract(self, part)?;
            Ok(Run::Open(self.intact_file(part)?, self.root().join(&part.file), start.clone()))
        };
        SortedRows::of(parts.iter().map(run).collect::<Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use d2r_contracts::tables::TruthFindingRow;

    use super::*;
    use crate::lake::store::tests::{finding, lake, provenance};
    use crate::lake::{Lake, Shard};

    fn rows(studies: &[&str]) -> Vec<TruthFindingRow> {
        studies.iter().map(|s| finding(s, "Edema")).collect()
    }

    fn file(lake: &Lake, number: usize, studies: &[&str]) -> PathBuf {
        let partition = Partition::new("d", format!("p{number}"));
        let part = lake.write(&partition, Shard::WHOLE, rows(studies), &provenance("phantom")).unwrap();
        lake.root().join(part.file)
    }

    fn studies(runs: Vec<Run<TruthFindingRow>>) -> Result<Vec<String>> {
        SortedRows::of(runs)?.map(|row| row.map(|r| r.study_id)).collect()
    }

    #[test]
    fn rows_of_files_and_lists_come_in_one_order() {
        let (_folder, lake) = lake();
        let runs = vec![
            Run::File(file(&lake, 0, &["b", "f"])),
            Run::Rows(rows(&["a", "c", "g"])),
            Run::File(file(&lake, 1, &[])),
            Run::File(file(&lake, 2, &["d", "e"])),
        ];
        assert_eq!(studies(runs).unwrap(), ["a", "b", "c", "d", "e", "f", "g"]);
    }

    #[test]
    fn files_whose_keys_follow_each_other_are_open_one_at_a_time() {
        let (_folder, lake) = lake();
        let runs = (0..3).map(|i| Run::File(file(&lake, i, &[&format!("{i}a"), &format!("{i}b")]))).collect();
        let mut sorted = SortedRows::<TruthFindingRow>::of(runs).unwrap();
        while let Some(row) = sorted.next() {
            row.unwrap();
            assert!(sorted.sources.iter().filter(|s| s.open.is_some()).count() <= 1);
        }
        assert!(sorted.sources.iter().all(|s| s.at == 2), "all rows were read");
    }

    #[test]
    fn more_files_than_may_be_open_are_read_a_piece_at_a_time() {
        let (_folder, lake) = lake();
        let n = MAX_OPEN + 6;
        // Every file reaches over all others.
        let names: Vec<Vec<String>> = (0..n).map(|i| (0..3).map(|k| format!("{k}-{i:03}")).collect()).collect();
        let path =
            |(i, names): (usize, &Vec<String>)| file(&lake, i, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut sorted =
            SortedRows::<TruthFindingRow>::of(names.iter().enumerate().map(path).map(Run::File).collect()).unwrap();
        let mut found = Vec::new();
        while let Some(row) = sorted.next() {
            found.push(row.unwrap().study_id);
            assert!(sorted.sources.iter().all(|s| s.open.is_none()));
        }
        let mut expected: Vec<String> = names.into_iter().flatten().collect();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_key_in_two_runs_and_rows_out_of_order_are_errors() {
        let error = studies(vec![Run::Rows(rows(&["a", "b"])), Run::Rows(rows(&["b"]))]).unwrap_err().to_string();
        assert!(error.contains("two rows have the same key (study_id=b"), "{error}");
        let error = studies(vec![Run::Rows(rows(&["b", "a"]))]).unwrap_err().to_string();
        assert!(error.contains("not in order"), "{error}");
    }

    #[test]
    fn a_range_of_a_partition_is_that_of_all_its_rows() {
        let (_folder, lake) = lake();
        let partition = Partition::new("d", "train");
        for (by, studies) in [("phantom", ["a", "d"]), ("ingest", ["b", "c"])] {
            lake.write(&partition, Shard::WHOLE, rows(&studies), &provenance(by)).unwrap();
        }
        let all: Vec<TruthFindingRow> = lake.read(&partition).unwrap();
        for (first, count) in [(0, 4), (1, 2), (3, 9), (4, 1)] {
            let found: Vec<TruthFindingRow> =
                lake.rows_in_order(&partition, first, count).unwrap().collect::<Result<_>>().unwrap();
            let end = (first + count).min(4) as usize;
            assert_eq!(found, all[(first as usize).min(end)..end]);
        }
    }
}
