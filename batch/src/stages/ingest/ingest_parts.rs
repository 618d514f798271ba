//! The parts that an ingest writes: every split's partition, also when it is empty, so that a later ingest of the
//! same dataset replaces all of an earlier one.

use std::collections::BTreeSet;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FailureRow, FindingRow, ImageRow, LesionRow, ReportRow};
use sha2::{Digest, Sha256};

use crate::datasets::listing::{ListedFailure, Listing, Split};
use crate::error::Result;
use crate::lake::{Committed, Lake, Partition, Provenance, Shard};
use crate::stages::ingest::dataset_reader::{Rows, STAGE, SplitRows};

/// The parts of one ingest.
#[derive(Debug, Clone, Copy)]
pub struct IngestParts<'a> {
    pub lake: &'a Lake,
    pub dataset: &'a str,
    pub shard: Shard,
    /// Digest of everything that decides the rows.
    pub work_key: &'a str,
    /// The classes of the boxes.
    pub labels: &'a LabelSet,
}

/// The tables of every layout; a part belongs to its producer: a detector's boxes are kept.
const TABLES: [&str; 5] = [LesionRow::TABLE, ReportRow::TABLE, FindingRow::TABLE, FailureRow::TABLE, ImageRow::TABLE];

impl IngestParts<'_> {
    fn partition(&self, split: Split) -> Partition {
        Partition::new(self.dataset, split.as_str())
    }

    fn provenance(&self) -> Provenance {
        Provenance::of_work(STAGE, self.work_key.to_owned(), None)
    }

    /// What this work committed before; `None` when a part is missing or damaged.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub fn finished(&self) -> Result<Option<Committed>> {
        let partitions = Split::ALL.map(|split| self.partition(split));
        let tables: Vec<_> = partitions.iter().flat_map(|partition| TABLES.map(|table| (partition, table))).collect();
        self.lake.finished(&tables, self.shard, &self.provenance())
    }

    /// Writes all tables of all partitions in one commit.
    ///
    /// # Errors
    /// Those of [`Lake::write`].
    pub fn write(&self, rows: Rows) -> Result<Committed> {
        let mut commit = self.lake.begin(self.shard, &self.provenance())?.with_labels(self.labels);
        for (split, SplitRows { images, lesions, reports, findings, failures }) in rows {
            let partition = self.partition(split);
            commit.add(&partition, lesions)?;
            commit.add(&partition, reports)?;
            commit.add(&partition, findings)?;
            commit.add(&partition, failures)?;
            commit.add(&partition, images)?;
        }
        commit.finish()
    }
}

/// Keeps the first image of every id; ids are unique in a dataset, not only in a split.
pub fn drop_repeated_images(listing: &mut Listing) {
    let mut seen = BTreeSet::new();
    let (kept, repeated): (Vec<_>, Vec<_>) =
        std::mem::take(&mut listing.images).into_iter().partition(|i| seen.insert(i.image_id.clone()));
    listing.images = kept;
    listing.failures.extend(repeated.into_iter().map(|image| ListedFailure {
        split: image.split,
        path: image.path,
        image_id: Some(image.image_id),
        code: "duplicate_id",
        message: "another file has this image id already, which is kept; rename or remove one".into(),
    }));
}

/// Keeps the studies of one shard, and the failures that belong to them. A study's shard follows from its id alone.
pub fn keep_shard(listing: &mut Listing, shard: Shard) {
    if shard.count <= 1 {
        return;
    }
    let mine = |id: &str| {
        let digest = Sha256::digest(id);
        let head = digest.iter().take(8).fold(0u64, |n, &b| (n << 8) | u64::from(b));
        head % u64::from(shard.count) == u64::from(shard.index)
    };
    listing.images.retain(|i| mine(&i.study_id));
    listing.studies.retain(|s| mine(&s.study_id));
    listing.failures.retain(|f| mine(f.image_id.as_deref().unwrap_or(&f.path)));
}
