//! Where rows belong: dataset and split as Hive folders, and the shard of the work that wrote them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A dataset and a split.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// The dataset's name in the lake.
    pub dataset: String,
    /// `train`, `val` or `test`.
    pub split: String,
}

impl Partition {
    /// A partition from its two names.
    pub fn new(dataset: &str, split: &str) -> Self {
        Self { dataset: dataset.into(), split: split.into() }
    }

    /// `dataset=<name>/split=<split>`.
    pub fn folder(&self) -> PathBuf {
        Path::new(&format!("dataset={}", self.dataset)).join(format!("split={}", self.split))
    }

    /// Names that can stand in a folder and in a Hive key: letters, digits, `_`, `-` and `.`.
    ///
    /// # Errors
    /// [`Error::Usage`] for other names.
    pub fn check(&self) -> Result<()> {
        for name in [&self.dataset, &self.split] {
            let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if name.is_empty() || name.starts_with('.') || !name.chars().all(fine) {
                return Err(Error::Usage(format!("`{name}` cannot name a partition: use letters, digits, _, - and .")));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dataset, self.split)
    }
}

/// One of `count` equal parts of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// At least 1.
    pub count: u32,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl Shard {
    /// This shard's part of a list: a contiguous run, so that sorted input stays sorted over shards.
    pub fn of<T>(self, mut items: Vec<T>) -> Vec<T> {
        let n = items.len() as u64;
        let at = |i: u32| (n * u64::from(i) / u64::from(self.count)) as usize;
        items.truncate(at(self.index + 1));
        items.drain(..at(self.index));
        items
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
            Some((index, count)) if index < count && count <= 100_000 => Ok(Self { index, count }),
            _ => Err(format!("`{text}` is no shard: expected I/N with 0 <= I < N, for instance 0/4")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_the_work_once_in_order() {
        for n in [0usize, 1, 3, 10, 17] {
            let all: Vec<usize> = (0..n).collect();
            let joined: Vec<usize> =
                (0..4).flat_map(|index| Shard { index, count: 4 }.of(all.clone())).collect();
            assert_eq!(joined, all);
        }
    }

    #[test]
    fn only_sound_shards_and_names_are_taken() {
        assert_eq!("1/4".parse(), Ok(Shard { index: 1, count: 4 }));
        for text in ["4/4", "1", "a/b", "-1/2", "0/0"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        assert!(Partition::new("mimic-4.1", "test").check().is_ok());
        for name in ["", "../up", "a/b", "a=b", ".hidden"] {
            assert!(Partition::new(name, "test").check().is_err(), "{name}");
        }
    }
}
