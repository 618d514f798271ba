//! The folder that a phantom is written into: a marker file permits its replacement, every file is written
//! under a temporary name and renamed, and `manifest.json`, written last, lists them all with size and digest. A folder
//! whose manifest verifies holds a complete phantom; any other state is rewritten from the beginning.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::observer::Observer;

/// The marker's name and text.
const MARKER: (&str, &str) = (
    ".d2r-phantom",
    "This folder was written by `d2r phantom`. Running it again with other settings replaces everything in it.\n",
);
pub const MANIFEST: &str = "manifest.json";

/// One written file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFile {
    /// Bytes.
    pub bytes: u64,
    /// Digest of the bytes, hexadecimal.
    pub sha256: String,
}

/// What a complete phantom holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Digest of everything that decides the content.
    pub work_key: String,
    /// Counts for display, for instance `vindr.images`.
    pub counts: BTreeMap<String, u64>,
    /// Files by path relative to the folder, with `/`.
    pub files: BTreeMap<String, WrittenFile>,
}

/// A folder being written; files may come from several threads.
pub struct OutputFolder<'a> {
    root: PathBuf,
    observer: &'a dyn Observer,
    files: Mutex<BTreeMap<String, WrittenFile>>,
}

impl<'a> OutputFolder<'a> {
    /// Empties the folder, or makes it.
    ///
    /// # Errors
    /// [`Error::Occupied`] when the folder is not empty and has no phantom's marker: it may not be emptied.
    /// [`Error::Io`] when a file cannot be written.
    pub fn start(root: &Path, observer: &'a dyn Observer) -> Result<Self> {
        std::fs::create_dir_all(root).map_err(|e| Error::io("create", root, e))?;
        let marker = root.join(MARKER.0);
        let entries: Vec<PathBuf> = std::fs::read_dir(root)
            .and_then(|dir| dir.map(|entry| entry.map(|e| e.path())).collect())
            .map_err(|e| Error::io("list", root, e))?;
        if !entries.is_empty() && !marker.is_file() {
            return Err(Error::Occupied(root.to_path_buf()));
        }
        // The manifest goes first: without it, no half-emptied folder is taken for a complete one.
        let manifest = root.join(MANIFEST);
        for path in std::iter::once(manifest).chain(entries).filter(|path| *path != marker) {
            remove(&path)?;
        }
        std::fs::write(&marker, MARKER.1).map_err(|e| Error::io("write", &marker, e))?;
        Ok(Self { root: root.to_path_buf(), observer, files: Mutex::default() })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Receives progress and gives the stop signal.
    pub fn observer(&self) -> &dyn Observer {
        self.observer
    }

    fn check(&self) -> Result<()> {
        self.observer.stop_signal().map_or(Ok(()), |signal| Err(Error::Stopped { signal }))
    }

    /// Writes one file. `path` is relative, with `/`.
    ///
    /// # Errors
    /// [`Error::Stopped`] once a signal has come; [`Error::Io`] when a file cannot be written.
    pub fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.check()?;
        let target = self.root.join(path);
        write_and_rename(&target, bytes)?;
        self.record(path, bytes)
    }

    /// Lists a file that another writer put into the folder.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub fn adopt(&self, path: &str) -> Result<()> {
        let target = self.root.join(path);
        let bytes = std::fs::read(&target).map_err(|e| Error::io("read", &target, e))?;
        self.record(path, &bytes)
    }

    fn record(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = WrittenFile { bytes: bytes.len() as u64, sha256: sha256_hex(bytes) };
        let mut files = self.files.lock().map_err(|_| Error::Internal("a writer of phantom files panicked".into()))?;
        match files.insert(path.to_owned(), file) {
            None => Ok(()),
            Some(_) => Err(Error::Internal(format!("{path}: two phantom files have the same name"))),
        }
    }

    /// Writes the manifest and ends.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written.
    pub fn finish(self, work_key: &str, counts: BTreeMap<String, u64>) -> Result<Manifest> {
        self.check()?;
        let files =
            self.files.into_inner().map_err(|_| Error::Internal("a writer of phantom files panicked".into()))?;
        let manifest = Manifest { work_key: work_key.to_owned(), counts, files };
        let mut text = serde_json::to_string_pretty(&manifest).map_err(|e| Error::Internal(e.to_string()))?;
        text.push('\n');
        write_and_rename(&self.root.join(MANIFEST), text.as_bytes())?;
        Ok(manifest)
    }
}

impl Manifest {
    /// The manifest of a folder that holds the complete phantom of `work_key`: every listed file is there with its
    /// size, and the content of every table (`.csv`, `.gz`, `.json`, `.parquet`) has its digest. `None` otherwise.
    pub fn verified(root: &Path, work_key: &str) -> Option<Self> {
        let text = std::fs::read(root.join(MANIFEST)).ok()?;
        let manifest: Self = serde_json::from_slice(&text).ok()?;
        let sound = |path: &str, file: &WrittenFile| -> bool {
            let target = root.join(path);
            if std::fs::metadata(&target).is_ok_and(|m| m.len() != file.bytes) {
                return false;
            }
            let table = [".csv", ".gz", ".json", ".parquet"].iter().any(|end| path.ends_with(end));
            if table {
                std::fs::read(&target).is_ok_and(|bytes| sha256_hex(&bytes) == file.sha256)
            } else {
                target.is_file()
            }
        };
        let complete = manifest.work_key == work_key && manifest.files.iter().all(|(path, file)| sound(path, file));
        complete.then_some(manifest)
    }
}

/// The digest of `bytes`, hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

fn write_and_rename(target: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, e))?;
    }
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let write = || -> std::io::Result<()> {
        std::fs::File::create(&part)?.write_all(bytes)?;
        std::fs::rename(&part, target)
    };
    write().map_err(|e| Error::io("write", target, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(root: &Path) -> Manifest {
        let folder = OutputFolder::start(root, &()).unwrap();
        folder.put("a/table.csv", b"x,y\n").unwrap();
        folder.put("a/film.png", b"pixels").unwrap();
        folder.finish("key", BTreeMap::new()).unwrap()
    }

    #[test]
    fn a_complete_folder_verifies_and_a_touched_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = written(dir.path());
        assert_eq!(Manifest::verified(dir.path(), "key"), Some(manifest));
        assert_eq!(Manifest::verified(dir.path(), "other"), None);
        std::fs::write(dir.path().join("a/table.csv"), "x,z\n").unwrap();
        assert_eq!(Manifest::verified(dir.path(), "key"), None, "same size, other content");
        written(dir.path());
        std::fs::remove_file(dir.path().join("a/film.png")).unwrap();
        assert_eq!(Manifest::verified(dir.path(), "key"), None);
    }

    #[test]
    fn a_foreign_folder_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "mine").unwrap();
        let refused = OutputFolder::start(dir.path(), &()).map(|_| ()).unwrap_err();
        assert!(matches!(refused, Error::Occupied(_)), "{refused}");
        assert!(dir.path().join("thesis.txt").is_file());
    }

    #[test]
    fn a_second_start_removes_what_the_first_wrote() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        let folder = OutputFolder::start(dir.path(), &()).unwrap();
        assert!(!dir.path().join("a").exists() && !dir.path().join(MANIFEST).exists());
        folder.put("b.json", b"{}").unwrap();
        assert!(folder.put("b.json", b"{}").is_err(), "a name is used once");
    }
}
