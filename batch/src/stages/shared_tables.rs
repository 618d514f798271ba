//! Tables that several stages write into the same partitions: `failures` (told apart by `stage`) and `findings`
//! (told apart by `origin`). A stage replaces its own rows and keeps the others'.

use d2r_contracts::rows::Row;

use crate::error::{Error, Result};
use crate::lake::writer::read_file;
use crate::lake::{Lake, PartManifest, Partition, Provenance, Shard};

/// Writes a stage's rows of one shard in place of its earlier ones; `own` tells which rows are the stage's.
///
/// # Errors
/// Those of [`Lake::write`]; [`Error::BadData`] when the part that stands there is damaged.
pub fn put_own<R: Row>(
    lake: &Lake,
    partition: &Partition,
    shard: Shard,
    mut rows: Vec<R>,
    own: impl Fn(&R) -> bool,
    provenance: &Provenance,
) -> Result<PartManifest> {
    if let Some(part) = standing(lake, R::TABLE, partition, shard)? {
        let path = lake.root().join(&part.file);
        // The manifest without its file: a crash between two writes of the same content; nothing is lost.
        if path.is_file() {
            let before = R::from_batch(&read_file(&path)?).map_err(|e| Error::bad_data(path.display(), e))?;
            rows.extend(before.into_iter().filter(|row| !own(row)));
        }
    }
    lake.write(partition, shard, rows, provenance)
}

/// The part that holds a stage's rows for this work: written by the very work, or by another stage after it, which
/// kept them. `stage` is the first word of the stage's run ids.
///
/// # Errors
/// When the lake cannot be read.
pub fn current_own(
    lake: &Lake,
    table: &str,
    partition: &Partition,
    shard: Shard,
    work_key: &str,
    stage: &str,
) -> Result<Option<PartManifest>> {
    if let Some(part) = lake.current(table, partition, shard, work_key)? {
        return Ok(Some(part));
    }
    let part = standing(lake, table, partition, shard)?;
    let others = part.filter(|p| !p.provenance.run_id.starts_with(&format!("{stage}-")));
    Ok(others.filter(|p| lake.root().join(&p.file).is_file()))
}

fn standing(lake: &Lake, table: &str, partition: &Partition, shard: Shard) -> Result<Option<PartManifest>> {
    Ok(lake.parts(table, partition)?.into_iter().find(|p| p.shard == shard))
}
