//! Where rows belong: the partition, the shard, and who wrote them.

use std::fmt;
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

    /// Refuses names that cannot stand in a folder name.
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
        write!(f, "dataset={}/split={}", self.dataset, self.split)
    }
}

/// Letters, digits, `_`, `-` and `.`, beginning with a letter or digit: safe in a folder name and in SQL globs.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if fits && name.len() <= 100 && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Error::Usage(format!("{what} `{name}`: use up to 100 letters, digits, `_`, `-` and `.`, beginning with a letter or digit")))
}

/// Part `index` of `count` equal parts of the work; written `index/count`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shard {
    /// From 0.
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
        if index < count {
            return Ok(Self { index, count });
        }
        Err(Error::Usage(format!("shard {index}/{count}: the index counts from 0 and stays below the count")))
    }

    /// Whether the item at `position` of an ordered list is this shard's: items are dealt in turn.
    pub fn owns(self, position: usize) -> bool {
        position as u64 % u64::from(self.count.max(1)) == u64::from(self.index)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Usage(format!("shard `{text}`: write index/count, for instance 0/4"));
        let (index, count) = text.split_once('/').ok_or_else(wrong)?;
        Self::new(index.parse().map_err(|_| wrong())?, count.parse().map_err(|_| wrong())?)
    }
}

/// Who writes a part, and from what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The run: `<verb>-<first 12 hex of the work key>`.
    pub run_id: String,
    /// Digest of the model's weights, where a model made the rows.
    pub model_sha256: Option<String>,
    /// Digest of everything that decides the rows.
    pub work_key: String,
}

impl Provenance {
    /// The part's owner in a table. The verb, so that a stage run again replaces its own rows and leaves other
    /// stages' alone; the run itself in tables keyed by run, whose rows are a history.
    pub fn producer(&self, key: &[&str]) -> &str {
        if key.first() == Some(&"run_id") {
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
            assert!(matches!(wrong.parse::<Shard>(), Err(Error::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn every_item_belongs_to_one_shard() {
        for position in 0..20 {
            let owners = (0..3).filter(|&index| Shard { index, count: 3 }.owns(position)).count();
            assert_eq!(owners, 1);
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
        let run = |id: &str| Provenance { run_id: id.into(), model_sha256: None, work_key: String::new() };
        assert_eq!(run("train-detector-0123456789ab").producer(&["image_id"]), "train-detector");
        assert_eq!(run("annotate-0123456789ab").producer(&["run_id", "step"]), "annotate-0123456789ab");
        assert_eq!(run("by-hand").producer(&["image_id"]), "by-hand");
    }
}
