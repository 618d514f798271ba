//! The lake's folder: paths, locks, and which parts count.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lake::atomic_file;
use crate::lake::commit::journal::{self, Journal};
use crate::lake::fresh;
use crate::lake::manifest::PartManifest;
use crate::lake::parquet_file::PartFile;
use crate::lake::partition::{Partition, Shard};
use crate::stop::StopFlag;

/// The folder of the tables: the contracts' major version.
pub const VERSION: &str = "v1";

/// Pause between two tries for a lock that another process holds.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A lake: a folder of a local file system or of one that machines share.
#[derive(Debug, Clone)]
pub struct Lake {
    root: PathBuf,
}

/// One manifest file of a partition, readable or not.
#[derive(Debug)]
pub struct ManifestFile {
    pub path: PathBuf,
    /// After the folder's name.
    pub producer: String,
    /// After the file's name.
    pub shard: Shard,
    pub part: Result<PartManifest>,
}

impl Lake {
    /// Opens an existing lake, finishes the commit of a killed writer and clears what it left in the temporary folder. On a
    /// file system without locks it is left as it is.
    ///
    /// # Errors
    /// [`Error::InputMissing`] when there is none.
    pub fn open(root: &Path) -> Result<Self> {
        let lake = Self::at(root)?;
        lake.clear_up();
        Ok(lake)
    }

    /// An existing lake as it is: nothing is finished or cleared.
    ///
    /// # Errors
    /// [`Error::InputMissing`] when there is none.
    pub fn at(root: &Path) -> Result<Self> {
        if !fresh::is_folder(&root.join(VERSION)) {
            return Err(Error::missing(root.join(VERSION), "no lake there; `d2r ingest` makes one"));
        }
        Ok(Self { root: root.to_path_buf() })
    }

    /// Opens a lake, making it first where there is none.
    ///
    /// # Errors
    /// When its folders cannot be made.
    pub fn create(root: &Path) -> Result<Self> {
        let lake = Self { root: root.to_path_buf() };
        for folder in [root.join(VERSION), root.join("manifests"), lake.temporary_folder(), root.join("locks")] {
            atomic_file::create_folders(&folder)?;
        }
        lake.clear_up();
        Ok(lake)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside the lake, relative to it.
    pub(crate) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().replace('\\', "/")
    }

    /// `LAKE/v1/<table>`: what Polars and DuckDB are pointed at.
    pub fn table_folder(&self, table: &str) -> PathBuf {
        self.root.join(VERSION).join(table)
    }

    /// The folder of a partition's parts.
    pub fn part_folder(&self, table: &str, partition: &Partition) -> PathBuf {
        self.table_folder(table).join(partition.folder())
    }

    pub(crate) fn manifest_folder(&self, table: &str, partition: &Partition) -> PathBuf {
        self.root.join("manifests").join(table).join(partition.folder())
    }

    pub(crate) fn temporary_folder(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Held while a temporary file exists; shared by any number of writers.
    pub(crate) fn writers_lock(&self) -> Result<File> {
        atomic_file::create_folders(&self.temporary_folder())?;
        let (path, file) = self.lock_file("writers")?;
        wait_for(|| file.try_lock_shared(), &path, &StopFlag::of_process())?;
        Ok(file)
    }

    /// Held by a process that must be the only writer.
    ///
    /// # Errors
    /// [`Error::Temporary`] while another process writes.
    pub(crate) fn alone(&self) -> Result<File> {
        let (path, file) = self.lock_file("writers")?;
        if free(file.try_lock()) {
            return Ok(file);
        }
        Err(Error::Temporary(format!(
            "{}: another process writes to the lake; run again when it has ended",
            path.display()
        )))
    }

    /// Held while parts are put in place, replaced and removed: one writer at a time.
    pub(crate) fn commit_lock(&self) -> Result<File> {
        let (path, file) = self.lock_file("commit")?;
        wait_for(|| file.try_lock(), &path, &StopFlag::of_process())?;
        Ok(file)
    }

    /// A lock of this name; `None` while another process holds it.
    pub(crate) fn lock_of(&self, name: &str) -> Result<Option<File>> {
        let (_, file) = self.lock_file(name)?;
        Ok(free(file.try_lock()).then_some(file))
    }

    fn lock_file(&self, name: &str) -> Result<(PathBuf, File)> {
        let folder = self.root.join("locks");
        atomic_file::create_folders(&folder)?;
        let path = folder.join(name);
        let file = File::options()
            .create(true)
            .truncate(false)
            // NFS refuses a shared lock on a file that is not open for reading.
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| Error::io("open", &path, e))?;
        Ok((path, file))
    }

    // A lake that cannot be changed (read-only, or another process writes) can still be read: readers see an unfinished
    // commit as if it were finished. Where there are no locks the commit may be under way: it is left to the next writer.
    fn clear_up(&self) {
        if let Ok((_, file)) = self.lock_file("commit")
            && file.try_lock().is_ok()
            && let Err(e) = journal::finish_open_commit(self)
        {
            tracing::warn!("an unfinished commit stays for now: {}", e.chain());
        }
        let Ok((_, file)) = self.lock_file("writers") else { return };
        // No writer lives, so that no commit can be decided now; one that was decided still needs its temporary files.
        if file.try_lock().is_ok() && matches!(Journal::read(self), Ok(None)) {
            let _ = atomic_file::remove_temporary(&self.temporary_folder());
        }
    }

    /// All manifest files of a partition, ordered by producer and shard, of all generations. A commit that is decided
    /// counts, finished or not.
    ///
    /// # Errors
    /// When a folder cannot be listed; a damaged manifest is an error inside its [`ManifestFile`].
    pub fn manifest_files(&self, table: &str, partition: &Partition) -> Result<Vec<ManifestFile>> {
        let open = Journal::read(self)?;
        let stored = self.stored_manifest_files(table, partition)?;
        let mut files = match &open {
            Some(journal) => journal.overlay(self, table, partition, stored),
            None => stored,
        };
        files.sort_by(|a, b| {
            (&a.producer, a.shard.count, a.shard.index).cmp(&(&b.producer, b.shard.count, b.shard.index))
        });
        Ok(files)
    }

    /// The manifest files in their folder.
    pub(crate) fn stored_manifest_files(&self, table: &str, partition: &Partition) -> Result<Vec<ManifestFile>> {
        let mut found = Vec::new();
        let folder = self.manifest_folder(table, partition);
        for producer in list(&folder)? {
            for name in list(&folder.join(&producer))? {
                if let Some(shard) = PartManifest::shard_of(&name) {
                    let path = folder.join(&producer).join(&name);
                    let part = PartManifest::read(&path).and_then(|part| {
                        let fits = part.table == table
                            && part.partition() == *partition
                            && part.producer == producer
                            && part.shard == shard;
                        if fits {
                            Ok(part)
                        } else {
                            Err(Error::bad_data(path.display(), "the manifest of another part; run the stage again"))
                        }
                    });
                    found.push(ManifestFile { path, producer: producer.clone(), shard, part });
                }
            }
        }
        Ok(found)
    }

    /// The generation of a new part: one more when the producer's shard count changes.
    pub(crate) fn next_generation(&self, part: &PartManifest) -> Result<u64> {
        let files = self.manifest_files(&part.table, &part.partition())?;
        let known = files.iter().filter_map(|f| f.part.as_ref().ok()).filter(|p| p.producer == part.producer);
        Ok(match known.map(|p| (p.generation, p.shard.count)).max() {
            None => 0,
            Some((generation, count)) if count == part.shard.count => generation,
            Some((generation, _)) => generation + 1,
        })
    }

    /// Opens the file of a part and checks it against its manifest. The file of an unfinished commit may still be a temporary
    /// one.
    ///
    /// # Errors
    /// As [`PartFile::open`].
    pub fn open_part(&self, part: &PartManifest) -> Result<PartFile> {
        PartFile::of_file(self.intact_file(part)?, &self.root().join(&part.file))
    }

    /// The file of a part, checked against its manifest: its content stays what it is, whatever writers do meanwhile.
    ///
    /// # Errors
    /// As [`PartFile::open`].
    pub(crate) fn intact_file(&self, part: &PartManifest) -> Result<File> {
        let expected = Some((part.bytes, part.sha256.as_str()));
        let path = self.root().join(&part.file);
        PartFile::intact(&path, expected).or_else(|error| {
            let open = Journal::read(self)?.and_then(|journal| journal.temporary_of(self, part));
            match open {
                // Put in place meanwhile, or temporary.
                Some(temporary) => PartFile::intact(&temporary, expected)
                    .or_else(|_| PartFile::intact(&path, expected))
                    .map_err(|_| error),
                None => Err(error),
            }
        })
    }

    /// The parts that count, ordered by producer and shard.
    ///
    /// # Errors
    /// [`Error::BadData`] naming a damaged manifest.
    pub fn parts(&self, table: &str, partition: &Partition) -> Result<Vec<PartManifest>> {
        let mut parts = Vec::new();
        for file in self.manifest_files(table, partition)? {
            match file.part {
                // A writer replaced it meanwhile.
                Err(Error::InputMissing { .. }) => {}
                part => parts.push(part?),
            }
        }
        Ok(newest_generation(parts))
    }

    /// The partitions of a table that have parts, in order.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn partitions(&self, table: &str) -> Result<Vec<Partition>> {
        let folder = self.root.join("manifests").join(table);
        let mut found = Vec::new();
        for dataset in list(&folder)? {
            let Some(name) = dataset.strip_prefix("dataset=") else { continue };
            for split in list(&folder.join(&dataset))? {
                let Some(split) = split.strip_prefix("split=") else { continue };
                let partition = Partition::new(name, split);
                if !self.manifest_files(table, &partition)?.is_empty() {
                    found.push(partition);
                }
            }
        }
        if let Some(journal) = Journal::read(self)? {
            found.extend(journal.parts.iter().filter(|p| p.part.table == table).map(|p| p.part.partition()));
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

/// Of each producer, the parts of its newest shard count.
pub(crate) fn newest_generation(parts: Vec<PartManifest>) -> Vec<PartManifest> {
    let newest = |producer: &str| parts.iter().filter(|p| p.producer == producer).map(|p| p.generation).max();
    let keep: Vec<bool> = parts.iter().map(|p| Some(p.generation) == newest(&p.producer)).collect();
    parts.into_iter().zip(keep).filter_map(|(part, keep)| keep.then_some(part)).collect()
}

/// The names in a folder, sorted; none when the folder is not there.
pub(crate) fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = match fresh::look(folder, |p| std::fs::read_dir(p)) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", folder, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("list", folder, e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Errors of a file system that has no locks: ENOLCK, and what NFS clients say in its place. There the user must run one
/// writer at a time.
fn has_no_locks(error: &std::io::Error) -> bool {
    let no_locks = [rustix::io::Errno::NOLCK, rustix::io::Errno::BADF, rustix::io::Errno::OPNOTSUPP];
    error.kind() == ErrorKind::Unsupported || no_locks.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

/// Whether a lock was taken, or there are none on this file system.
fn free(tried: std::result::Result<(), TryLockError>) -> bool {
    match tried {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(e)) => has_no_locks(&e),
    }
}

/// Waits for a lock, and hears a signal meanwhile.
fn wait_for(lock: impl Fn() -> std::result::Result<(), TryLockError>, path: &Path, stop: &StopFlag) -> Result<()> {
    loop {
        match lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {
                stop.check()?;
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::Error(e)) if has_no_locks(&e) => {
                static SAID: std::sync::Once = std::sync::Once::new();
                SAID.call_once(|| {
                    tracing::warn!("this file system has no locks ({e}): let one process write at a time");
                });
                return Ok(());
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", path, e)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
