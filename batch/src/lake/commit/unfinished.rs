//! What a shard has finished before its end: `LAKE/unfinished/<verb>=<dataset>=<split>=<i>-of-<n>/` holds sub-parts, each with
//! the rows of some hundred images, a file per table and a record, written last. A shard that is started again continues after
//! the last of them; its part is put together from all. No manifest names them, and they are no `.parquet` files.

mod kept;
mod place;
mod sub_part;

use std::fs::File;
use std::path::PathBuf;

use d2r_contracts::rows::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::lake::atomic_file;
use crate::lake::commit::Committed;
pub(crate) use crate::lake::commit::unfinished::kept::{kept, remove};
use crate::lake::commit::unfinished::place::{Place, places};
use crate::lake::commit::unfinished::sub_part::{Sealed, SubPart, SubPartFile, read_record, record_name, seal};
use crate::lake::fresh;
use crate::lake::manifest::PartManifest;
use crate::lake::parquet_file::write_bytes;
use crate::lake::part::Staged;
use crate::lake::partition::{Partition, Provenance, Shard};
use crate::lake::sorted_rows::Run;
use crate::lake::store::{Lake, list};

/// Images of a sub-part at least; whole groups of images.
const IMAGES: u64 = if cfg!(test) { 32 } else { 256 };

/// Images of a sub-part where a model is given groups of `group` images: a multiple of it, so that the groups are those of an
/// undisturbed run.
pub fn images_per_sub_part(group: usize) -> u64 {
    let group = group.max(1) as u64;
    IMAGES.div_ceil(group) * group
}

/// The finished work of a shard, which this process alone adds to.
#[derive(Debug)]
pub struct Unfinished {
    lake: Lake,
    place: Place,
    work_key: String,
    sub_parts: Vec<SubPart>,
    said: Vec<String>,
    _busy: File,
}

/// Rows on their way into a sub-part.
pub struct Adding<'a> {
    to: &'a mut Unfinished,
    provenance: &'a Provenance,
    staged: Vec<Staged>,
    _writing: File,
}

impl Lake {
    /// The finished work of a shard, to be continued. Work of another key, of another number of shards and damaged sub-parts
    /// are removed; all of it where `again` says why. [`Unfinished::said`] names what was removed.
    ///
    /// # Errors
    /// [`Error::Temporary`] while another process does the same shard; [`Error::Io`].
    pub fn unfinished(
        &self,
        partition: &Partition,
        shard: Shard,
        provenance: &Provenance,
        again: Option<&str>,
    ) -> Result<Unfinished> {
        partition.check()?;
        let place = Place { verb: provenance.producer(&[]).to_owned(), partition: partition.clone(), shard };
        let Some(busy) = place.lock(self)? else {
            let Place { verb, partition, shard } = place;
            let problem =
                format!("another process does shard {shard} of {verb} {partition}; run again when it has ended");
            return Err(Error::Temporary(problem));
        };
        let work_key = provenance.work_key.clone();
        let mut found =
            Unfinished { lake: self.clone(), place, work_key, sub_parts: Vec::new(), said: Vec::new(), _busy: busy };
        found.remove_other_counts()?;
        found.read(again)?;
        Ok(found)
    }

    /// Removes what is kept of a shard whose work is committed: `finished` found it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn discard_unfinished(
        &self,
        partition: &Partition,
        shard: Shard,
        provenance: &Provenance,
        committed: &Committed,
    ) -> Result<()> {
        let own = Place { verb: provenance.producer(&[]).to_owned(), partition: partition.clone(), shard };
        self.discard_places(&own, committed)
    }

    /// Removes a committed shard's place and, once all shards are committed, those of its stage.
    fn discard_places(&self, own: &Place, committed: &Committed) -> Result<()> {
        for place in places(self)? {
            let superseded = committed.missing.is_empty() && place.verb == own.verb && place.partition == own.partition;
            if place == *own || superseded {
                place.remove(self)?;
            }
        }
        Ok(())
    }
}

impl Unfinished {
    /// Images that are finished; the next sub-part begins after them.
    pub fn finished(&self) -> u64 {
        self.sub_parts.last().map_or(0, |s| s.finished)
    }

    /// What the stage counted over these images; `None` where there are none.
    ///
    /// # Errors
    /// [`Error::BadData`] when it is of another version.
    pub fn state<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let read = |sub_part: &SubPart| {
            serde_json::from_str(&sub_part.state)
                .map_err(|e| Error::bad_data(self.folder().display(), format!("{e}; start with --resume never")))
        };
        self.sub_parts.last().map(read).transpose()
    }

    /// Lines for a person: what was removed, and why.
    pub fn said(&self) -> &[String] {
        &self.said
    }

    /// Begins a sub-part.
    ///
    /// # Errors
    /// When the lake cannot be written.
    pub fn begin<'a>(&'a mut self, provenance: &'a Provenance) -> Result<Adding<'a>> {
        let _writing = self.lake.writers_lock()?;
        Ok(Adding { to: self, provenance, staged: Vec::new(), _writing })
    }

    /// The rows of a table, a run for each sub-part.
    pub(crate) fn runs<R: Row>(&self) -> Vec<Run<R>> {
        let files = self.sub_parts.iter().flat_map(|s| &s.files).filter(|f| f.table == R::TABLE);
        files.map(|f| Run::File(self.folder().join(&f.file))).collect()
    }

    /// Removes the sub-parts of a shard whose work is committed; once all shards are, those of earlier works too.
    ///
    /// # Errors
    /// [`Error::Io`]; the work counts all the same.
    pub fn discard(self, committed: &Committed) -> Result<()> {
        // While this process still holds the shard.
        atomic_file::remove_folder(&self.folder())?;
        self.lake.discard_places(&self.place, committed)
    }

    fn folder(&self) -> PathBuf {
        self.place.folder(&self.lake)
    }

    fn remove_other_counts(&mut self) -> Result<()> {
        let own = &self.place;
        for other in places(&self.lake)? {
            let same_work = other.verb == own.verb && other.partition == own.partition;
            if same_work && other.shard.count != own.shard.count && other.remove(&self.lake)? {
                let Place { verb, partition, shard } = &other;
                self.said.push(format!(
                    "{verb} {partition}: finished images of shard {shard} are done again, in other shards"
                ));
            }
        }
        Ok(())
    }

    /// Reads the records, and removes what cannot be continued.
    fn read(&mut self, again: Option<&str>) -> Result<()> {
        let folder = self.folder();
        // Another machine may have done this shard before.
        fresh::ask(&folder);
        let names = list(&folder)?;
        if names.is_empty() {
            return Ok(());
        }
        let mut say = |why: &str| {
            let Place { verb, partition, .. } = &self.place;
            self.said.push(format!("{verb} {partition}: finished images of an earlier run are done again, {why}"));
        };
        if let Some(why) = again {
            say(why);
            return atomic_file::remove_folder(&folder);
        }
        let mut files = Vec::new();
        for number in 0.. {
            if !names.contains(&record_name(number)) {
                break;
            }
            match read_record(&folder, number) {
                Ok(sub_part) if sub_part.work_key == self.work_key => {
                    files.push(record_name(number));
                    files.extend(sub_part.files.iter().map(|f| f.file.clone()));
                    self.sub_parts.push(sub_part);
                }
                Ok(_) => {
                    say("for their inputs, settings or model were others");
                    break;
                }
                Err(e) => {
                    say(&e.chain());
                    break;
                }
            }
        }
        // Records from the last one on, so that those that stay follow each other whenever this process ends.
        for name in names.iter().rev().filter(|name| !files.contains(name)) {
            atomic_file::remove(&folder.join(name))?;
        }
        Ok(())
    }
}

impl Adding<'_> {
    /// Adds the rows of a table.
    ///
    /// # Errors
    /// [`Error::BadData`] for a repeated key or a float that is not finite; [`Error::Io`].
    pub fn add<R: Row>(&mut self, rows: Vec<R>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let Place { partition, shard, .. } = &self.to.place;
        self.staged.push(self.to.lake.stage(partition, *shard, rows, self.provenance)?);
        Ok(())
    }

    /// Keeps the sub-part: `images` more are finished. `state`: what the stage counts over all images so far.
    ///
    /// # Errors
    /// [`Error::Io`]; the sub-part then does not count.
    pub fn finish(self, images: u64, state: &impl Serialize) -> Result<()> {
        let Self { to, staged, .. } = self;
        let internal = |e: serde_json::Error| Error::Internal(format!("write a record: {e}"));
        let folder = to.folder();
        let number = to.sub_parts.len();
        atomic_file::create_folders(&folder)?;
        let mut files = Vec::new();
        for Staged { temporary, manifest } in staged {
            let PartManifest { table, bytes, sha256, .. } = manifest;
            let file = format!("{number:06}-{table}.rows");
            temporary.rename(&folder.join(&file))?;
            files.push(SubPartFile { table, file, bytes, sha256 });
        }
        let (finished, state) = (to.finished() + images, serde_json::to_string(state).map_err(internal)?);
        let sub_part = SubPart { work_key: to.work_key.clone(), finished, state, files };
        let json = serde_json::to_vec_pretty(&Sealed { sha256: seal(&sub_part)?, sub_part: sub_part.clone() });
        let path = folder.join(record_name(number));
        let json = json.map_err(internal)?;
        atomic_file::write_by_way_of(&to.lake.temporary_folder(), &path, write_bytes(&json, &path))?;
        to.sub_parts.push(sub_part);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
