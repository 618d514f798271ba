//! Where rows belong: the partition, the shard and the producer.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A dataset and its split: the folders `dataset=<dataset>/split=<split>` of every table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// For instance `vindr`.
    pub dataset: String,
    /// `train`, `val` or `test`.
    pub split: String,
}

impl Partition {
    /// A partition by its two names.
    pub fn new(dataset: impl Into<String>, split: impl Into<String>) -> Self {
        Self { dataset: dataset.into(), split: split.into() }
    }

    /// `dataset=<dataset>/split=<split>`.
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(format!("dataset={}", self.dataset)).join(format!("split={}", self.split))
    }

    /// Rejects names that cannot be part of a folder name.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the offending part.
    pub fn check(&self) -> Result<()> {
        check_name("dataset", &self.dataset)?;
        check_name("split", &self.split)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dataset, self.split)
    }
}

/// Letters, digits, `_`, `-` and `.`, beginning with a letter or digit: safe in a folder name and in SQL globs.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if fits && name.len() <= 100 && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{what} `{name}`: use up to 100 letters, digits, `_`, `-` and `.`, beginning with a letter or digit"
    )))
}

/// Largest number of shards: file names have five digits for it.
const MAX_SHARDS: u32 = 100_000;

/// Part `index` of `count` equal parts of the work; written `index/count`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shard {
    /// Counted from 0.
    pub index: u32,
    /// At least 1.
    pub count: u32,
}

impl Shard {
    /// All the work in one part: `0/1`.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Shard `index` of `count`.
    ///
    /// # Errors
    /// [`Error::Usage`] unless `index < count`.
    pub fn new(index: u32, count: u32) -> Result<Self> {
        if index < count && count <= MAX_SHARDS {
            return Ok(Self { index, count });
        }
        let problem = format!("shard {index}/{count}: the index stays below the count, the count at most {MAX_SHARDS}");
        Err(Error::Usage(problem))
    }

    /// This shard's part of a list: a contiguous run, so that sorted input stays sorted over shards.
    pub fn of<T>(self, mut items: Vec<T>) -> Vec<T> {
        let n = items.len() as u64;
        let at = |i: u32| (n * u64::from(i) / u64::from(self.count.max(1))) as usize;
        items.truncate(at(self.index + 1));
        items.drain(..at(self.index).min(items.len()));
        items
    }

    /// The same in whole groups of `size` items: a model sees the same batches, whatever the number of shards.
    pub fn of_groups<T>(self, mut items: Vec<T>, size: usize) -> Vec<T> {
        let range = self.range_of_groups(items.len() as u64, size);
        items.truncate(range.end as usize);
        items.drain(..range.start as usize);
        items
    }

    /// The places of these items among all `n`.
    pub fn range_of_groups(self, n: u64, size: usize) -> Range<u64> {
        let size = size.max(1) as u64;
        let groups = n.div_ceil(size);
        let at = |i: u32| (groups * u64::from(i) / u64::from(self.count.max(1)) * size).min(n);
        at(self.index)..at(self.index + 1)
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, count)) if index < count && count <= MAX_SHARDS => Ok(Self { index, count }),
            _ => Err(format!("`{text}` is no shard: expected I/N with 0 <= I < N, for instance 0/4")),
        }
    }
}

/// Whether the rows of a table with this key belong to a run and stay when it is over.
pub(crate) fn is_history(key: &[impl AsRef<str>]) -> bool {
    key.first().is_some_and(|column| column.as_ref() == "run_id")
}

/// What produced a part: run, model and inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The run: `<verb>-<first 12 hex of the work key>`.
    pub run_id: String,
    /// Digest of the model's weights, where a model made the rows.
    pub model_sha256: Option<String>,
    /// Digest of everything that decides the rows.
    pub work_key: String,
    /// What the shards of one work have in common; the work key itself unless each shard has its own.
    pub group: String,
}

impl Provenance {
    /// The provenance of a verb's work that this key identifies.
    pub fn of_work(verb: &str, work_key: String, model_sha256: Option<&str>) -> Self {
        let run_id = format!("{verb}-{}", work_key.get(..12).unwrap_or(&work_key));
        Self { run_id, model_sha256: model_sha256.map(str::to_owned), group: work_key.clone(), work_key }
    }

    /// The part's producer in a table. The verb, so that a stage run again replaces its own rows and leaves other
    /// stages' alone; the run itself in tables keyed by run, whose rows are a history.
    pub fn producer(&self, key: &[&str]) -> &str {
        if is_history(key) {
            return &self.run_id;
        }
        match self.run_id.rsplit_once('-') {
            Some((verb, key)) if key.len() == 12 && key.bytes().all(|b| b.is_ascii_hexdigit()) => verb,
            _ => &self.run_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_written_index_slash_count() {
        let shard: Shard = "2/5".parse().unwrap();
        assert_eq!(shard, Shard { index: 2, count: 5 });
        assert_eq!(shard.to_string(), "2/5");
        for wrong in ["", "1", "5/5", "0/0", "-1/2", "a/b", "1/2/3"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shards_cover_the_work_once_in_order() {
        for n in [0usize, 1, 3, 10, 17] {
            let all: Vec<usize> = (0..n).collect();
            let joined: Vec<usize> = (0..4).flat_map(|index| Shard { index, count: 4 }.of(all.clone())).collect();
            assert_eq!(joined, all);
        }
    }

    #[test]
    fn shards_of_groups_keep_the_groups_of_the_whole() {
        for (n, count) in [(0usize, 3u32), (7, 2), (40, 3), (16, 8)] {
            let all: Vec<usize> = (0..n).collect();
            let whole: Vec<Vec<usize>> = all.chunks(8).map(<[usize]>::to_vec).collect();
            let shards = (0..count).map(|index| Shard { index, count }.of_groups(all.clone(), 8));
            let parts: Vec<Vec<usize>> =
                shards.flat_map(|items| items.chunks(8).map(<[usize]>::to_vec).collect::<Vec<_>>()).collect();
            assert_eq!(parts, whole);
        }
    }

    #[test]
    fn names_that_leave_the_lake_are_refused() {
        for wrong in ["", "..", "a/b", "a=b", "_a", "a b", "a\0"] {
            assert!(Partition::new(wrong, "train").check().is_err(), "{wrong:?}");
            assert!(Partition::new("vindr", wrong).check().is_err(), "{wrong:?}");
        }
        assert!(Partition::new("iu_xray", "val").check().is_ok());
    }

    #[test]
    fn a_stage_owns_its_part_and_a_run_its_history() {
        let run = |id: &str| Provenance { run_id: id.into(), ..Provenance::default() };
        assert_eq!(run("train-detector-0123456789ab").producer(&["image_id"]), "train-detector");
        assert_eq!(run("annotate-0123456789ab").producer(&["run_id", "step"]), "annotate-0123456789ab");
        assert_eq!(run("by-hand").producer(&["image_id"]), "by-hand");
    }
}
