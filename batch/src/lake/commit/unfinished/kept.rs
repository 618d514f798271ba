//! What is kept of unfinished shards, for a person who puts a lake in order.

use crate::error::Result;
use crate::lake::atomic_file;
use crate::lake::commit::pending::is_waiting;
use crate::lake::commit::unfinished::place::{Place, folder};
use crate::lake::commit::unfinished::sub_part::{SubPart, read_record, record_name};
use crate::lake::store::{Lake, list};

/// Places with finished images that a command continues from, and those that are of no more use, with the reason.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Name under `LAKE/unfinished`, finished images.
    pub useful: Vec<(String, u64)>,
    pub stale: Vec<(String, String)>,
}

/// What is kept of unfinished shards that no process does now.
///
/// # Errors
/// When a folder cannot be listed.
pub(crate) fn kept(lake: &Lake) -> Result<Kept> {
    let mut kept = Kept::default();
    for name in list(&folder(lake))? {
        let Some(place) = Place::of_name(&name) else {
            kept.stale.push((name, "it is of no stage".into()));
            continue;
        };
        if place.lock(lake)?.is_none() {
            continue;
        }
        match read_record(&place.folder(lake), 0) {
            Err(e) => kept.stale.push((name, e.chain())),
            Ok(first) if is_committed(lake, &place, &first)? => {
                kept.stale.push((name, "its stage is finished".into()));
            }
            Ok(first) => {
                let numbers = (0..).take_while(|&n| place.folder(lake).join(record_name(n)).is_file());
                let last = numbers.last().and_then(|n| read_record(&place.folder(lake), n).ok());
                kept.useful.push((name, last.unwrap_or(first).finished));
            }
        }
    }
    Ok(kept)
}

/// Removes what is kept under a name that [`kept`] gave.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove(lake: &Lake, name: &str) -> Result<()> {
    match Place::of_name(name) {
        Some(place) => place.remove(lake).map(|_| ()),
        None => atomic_file::remove_folder(&folder(lake).join(name)),
    }
}

/// Whether the work of these sub-parts is published, or waits for other shards.
fn is_committed(lake: &Lake, place: &Place, first: &SubPart) -> Result<bool> {
    let Place { verb, partition, shard } = place;
    for table in list(&lake.root().join("manifests"))? {
        if let Some(part) = lake.current(&table, partition, &first.work_key, *shard)?
            && part.producer == *verb
        {
            return Ok(true);
        }
    }
    is_waiting(lake, *shard, &first.work_key)
}
