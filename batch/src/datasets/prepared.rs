//! Prepared images: what models take from radiographs (inputs at the model's size, crops of regions), kept as files that
//! are named by the digest of everything that decides their bytes. A training starts without decoding, whatever the number
//! of images, and holds none of them in memory.
//!
//! `PREPARED/<2 digits>/<digest>` holds a digest of the bytes and the bytes. A file is written under a temporary name and
//! renamed, so that any number of processes may write the same one; a torn or damaged file is made again.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::error::{Error, Result};

/// Digest of the sources that turn a file's bytes into a model's input; made by `build.rs`.
const DECODING_SHA256: &str = env!("D2R_DECODING_SHA256");
/// The folder's name in a lake.
pub const FOLDER: &str = "prepared";
const TEMPORARY: &str = "tmp";

/// The name of prepared bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedKey(String);

impl PreparedKey {
    /// The key of what these labelled parts decide: digests of files, sizes, boxes.
    pub fn of(parts: &[(&str, &str)]) -> Self {
        let mut digest = Sha256::new();
        digest.update(DECODING_SHA256);
        for (label, value) in parts {
            // Lengths separate the parts for any content.
            digest.update(format!("\n{label} {}\n{value}", value.len()));
        }
        Self(format!("{:x}", digest.finalize()))
    }
}

/// A folder of prepared images.
#[derive(Debug, Clone)]
pub struct PreparedStore {
    root: PathBuf,
}

/// Prepared bytes at hand: in memory, or in a store, from which each use reads them.
#[derive(Debug, Clone)]
pub enum PreparedBytes {
    Kept(Arc<Vec<u8>>),
    Stored(Arc<StoredBytes>),
}

/// Where prepared bytes are, and their number.
#[derive(Debug)]
pub struct StoredBytes {
    pub store: PreparedStore,
    pub key: PreparedKey,
    pub length: usize,
}

impl PreparedBytes {
    /// The bytes.
    ///
    /// # Errors
    /// [`Error::Temporary`] when they were removed or damaged since they were put. The next start makes them again.
    pub fn get(&self) -> Result<Arc<Vec<u8>>> {
        match self {
            Self::Kept(bytes) => Ok(Arc::clone(bytes)),
            Self::Stored(stored) => {
                let bytes = stored.store.get(&stored.key).filter(|bytes| bytes.len() == stored.length);
                bytes.map(Arc::new).ok_or_else(|| stored.store.gone(&stored.key))
            }
        }
    }
}

impl From<Vec<u8>> for PreparedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Kept(Arc::new(bytes))
    }
}

/// What a store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    pub files: u64,
    pub bytes: u64,
}

impl PreparedStore {
    /// The store in a folder, which is made when something is put.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Whether the bytes are there. They may still turn out damaged.
    pub fn contains(&self, key: &PreparedKey) -> bool {
        self.path(key).is_file()
    }

    /// The bytes, `None` where they are not there or damaged.
    pub fn get(&self, key: &PreparedKey) -> Option<Vec<u8>> {
        let mut file = File::open(self.path(key)).ok()?;
        let mut sha256 = [0u8; 32];
        file.read_exact(&mut sha256).ok()?;
        let mut bytes = Vec::with_capacity(file.metadata().map_or(0, |m| m.len() as usize));
        file.read_to_end(&mut bytes).ok()?;
        (Sha256::digest(&bytes)[..] == sha256).then_some(bytes)
    }

    /// The error for bytes that were there and are damaged or gone now. What is left of them is removed, so that the next
    /// start makes them again.
    pub fn gone(&self, key: &PreparedKey) -> Error {
        let _ = std::fs::remove_file(self.path(key));
        Error::Temporary("a prepared image was removed or damaged meanwhile; start again".into())
    }

    /// Keeps bytes. They are not synced: a file that a power cut tears is noticed by its digest.
    ///
    /// # Errors
    /// [`Error::Io`], which for a full disk ends in exit 75.
    pub fn put(&self, key: &PreparedKey, bytes: &[u8]) -> Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let path = self.path(key);
        let folder = path.parent().unwrap_or(&self.root);
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!("{}.{}-{number}.{TEMPORARY}", key.0, std::process::id()));
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(&Sha256::digest(bytes))?;
            file.write_all(bytes)
        });
        written.and_then(|()| std::fs::rename(&temporary, &path)).map_err(|e| {
            let _ = std::fs::remove_file(&temporary);
            Error::io("write", &path, e)
        })
    }

    /// Files and bytes that are kept.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn holdings(&self) -> Result<Holdings> {
        let files = self.files()?;
        Ok(Holdings { files: files.len() as u64, bytes: files.iter().map(|(_, m)| m.len()).sum() })
    }

    /// Removes what was written first until at most `bytes` are kept, and what killed processes left. Returns what is left.
    ///
    /// # Errors
    /// When the folder cannot be listed or a file cannot be removed.
    pub fn prune(&self, bytes: u64) -> Result<Holdings> {
        let mut files = self.files()?;
        files.sort_by_key(|(path, m)| (m.modified().unwrap_or(SystemTime::UNIX_EPOCH), path.clone()));
        let mut left = Holdings { files: files.len() as u64, bytes: files.iter().map(|(_, m)| m.len()).sum() };
        for (path, metadata) in files {
            let abandoned = path.extension().is_some_and(|e| e == TEMPORARY);
            if left.bytes <= bytes && !abandoned {
                continue;
            }
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove", &path, e)),
                _ => left = Holdings { files: left.files - 1, bytes: left.bytes - metadata.len() },
            }
        }
        Ok(left)
    }

    fn files(&self) -> Result<Vec<(PathBuf, Metadata)>> {
        let mut files = Vec::new();
        for entry in WalkDir::new(&self.root).min_depth(2) {
            let failed = |e: walkdir::Error| {
                Error::io(
                    "list",
                    e.path().unwrap_or(&self.root),
                    e.io_error().map_or(ErrorKind::Other, |e| e.kind()).into(),
                )
            };
            match entry {
                Ok(entry) if entry.file_type().is_file() => {
                    files.push((entry.path().to_path_buf(), entry.metadata().map_err(failed)?));
                }
                Ok(_) => {}
                // Nothing was put yet, or another process removed it.
                Err(e) if e.io_error().is_some_and(|e| e.kind() == ErrorKind::NotFound) => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(files)
    }

    fn path(&self, key: &PreparedKey) -> PathBuf {
        Path::new(&self.root).join(&key.0[..2]).join(&key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, PreparedStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = PreparedStore::at(folder.path().join("prepared"));
        (folder, store)
    }

    #[test]
    fn bytes_come_back_and_damaged_ones_do_not() {
        let (_folder, store) = store();
        let key = PreparedKey::of(&[("image", "ab"), ("size", "64")]);
        assert!(!store.contains(&key) && store.get(&key).is_none());
        store.put(&key, &[1, 2, 3]).unwrap();
        assert_eq!(store.get(&key), Some(vec![1, 2, 3]));
        assert!(store.get(&PreparedKey::of(&[("image", "ab6"), ("size", "4")])).is_none());
        let path = store.path(&key);
        let whole = std::fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() - 1], &whole[..20], &[&whole[..34], &[9]].concat()] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(store.get(&key), None);
        }
        store.put(&key, &[1, 2, 3]).unwrap();
        assert_eq!(store.get(&key), Some(vec![1, 2, 3]));
    }

    #[test]
    fn stored_bytes_are_read_at_each_use_and_damaged_ones_are_made_again_at_the_next_start() {
        let (_folder, store) = store();
        let key = PreparedKey::of(&[("image", "ab")]);
        store.put(&key, &[1, 2, 3]).unwrap();
        let stored =
            |length| PreparedBytes::Stored(Arc::new(StoredBytes { store: store.clone(), key: key.clone(), length }));
        assert_eq!(*stored(3).get().unwrap(), [1, 2, 3]);
        assert_eq!(*PreparedBytes::from(vec![4]).get().unwrap(), [4]);
        let path = store.path(&key);
        std::fs::write(&path, [9; 40]).unwrap();
        assert!(store.contains(&key));
        assert_eq!(stored(3).get().unwrap_err().exit().code(), 75);
        assert!(!store.contains(&key), "a start prepares it again");
        store.put(&key, &[1, 2, 3]).unwrap();
        assert!(stored(4).get().is_err(), "another number of bytes");
    }

    #[test]
    fn many_writers_of_one_key_leave_one_file() {
        let (_folder, store) = store();
        let key = PreparedKey::of(&[("image", "ab")]);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| store.put(&key, &[7; 1000]).unwrap()));
            }
        });
        assert_eq!(store.get(&key), Some(vec![7; 1000]));
        assert_eq!(store.holdings().unwrap(), Holdings { files: 1, bytes: 1032 });
    }

    #[test]
    fn pruning_removes_the_oldest_and_what_was_left_behind() {
        let (_folder, store) = store();
        assert_eq!(store.prune(0).unwrap(), Holdings::default());
        let keys: Vec<PreparedKey> = (0..4).map(|i| PreparedKey::of(&[("image", &i.to_string())])).collect();
        for (i, key) in keys.iter().enumerate() {
            store.put(key, &[0; 68]).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000 - i as u64);
            File::options().append(true).open(store.path(key)).unwrap().set_modified(time).unwrap();
        }
        std::fs::write(store.path(&keys[0]).with_extension("1-1.tmp"), [0; 10]).unwrap();
        assert_eq!(store.prune(250).unwrap(), Holdings { files: 2, bytes: 200 });
        assert_eq!(keys.iter().map(|k| store.contains(k)).collect::<Vec<_>>(), [true, true, false, false]);
    }
}
