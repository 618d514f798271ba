//! Where the work of an unfinished shard is kept, and who may change it.

use std::fs::File;
use std::path::PathBuf;

use crate::error::Result;
use crate::lake::atomic_file;
use crate::lake::fresh;
use crate::lake::manifest::PartManifest;
use crate::lake::partition::{Partition, Shard};
use crate::lake::store::{Lake, list};

/// Where the work of a shard is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub verb: String,
    pub partition: Partition,
    pub shard: Shard,
}

impl Place {
    fn name(&self) -> String {
        let Self { verb, partition: Partition { dataset, split }, shard } = self;
        // `=` is in no name.
        format!("{verb}={dataset}={split}={}-of-{}", shard.index, shard.count)
    }

    pub fn of_name(name: &str) -> Option<Self> {
        let mut words = name.split('=');
        let (verb, dataset, split, shard) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let shard = PartManifest::shard_of(&format!("{shard}.json"))?;
        let place = Self { verb: verb.to_owned(), partition: Partition::new(dataset, split), shard };
        (place.name() == name).then_some(place)
    }

    pub fn folder(&self, lake: &Lake) -> PathBuf {
        folder(lake).join(self.name())
    }

    /// Held by the process that does this shard; `None` while another one does.
    pub fn lock(&self, lake: &Lake) -> Result<Option<File>> {
        lake.lock_of(&self.name())
    }

    /// Removes what is kept here unless a process does this shard; whether something was removed.
    pub fn remove(&self, lake: &Lake) -> Result<bool> {
        let folder = self.folder(lake);
        match self.lock(lake)? {
            Some(_free) if fresh::is_folder(&folder) => atomic_file::remove_folder(&folder).map(|()| true),
            _ => Ok(false),
        }
    }
}

/// `LAKE/unfinished`.
pub(super) fn folder(lake: &Lake) -> PathBuf {
    lake.root().join("unfinished")
}

pub(super) fn places(lake: &Lake) -> Result<Vec<Place>> {
    Ok(list(&folder(lake))?.iter().filter_map(|name| Place::of_name(name)).collect())
}
