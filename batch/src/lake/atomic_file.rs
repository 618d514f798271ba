//! Files that appear whole or not at all: write a temporary file, sync it, rename it, sync the folder.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::lake::digest::{FileDigest, file_digest};

/// Ends the names of temporary files.
pub const TEMPORARY: &str = ".tmp";

/// Writes `path` through a temporary file in the same folder, which is made if need be.
///
/// # Errors
/// Those of `fill`; [`Error::Io`] when writing fails (a full disk ends in exit 75). The old file then stays.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<FileDigest> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folders(folder)?;
    write_by_way_of(folder, path, fill)
}

/// Writes `path` through a temporary file in `folder`, which must lie on the same file system.
///
/// # Errors
/// As [`write`].
pub fn write_by_way_of(
    folder: &Path,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<FileDigest> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("file");
    let mut temporary = TemporaryFile::create(folder, name)?;
    temporary.fill(fill)?;
    let digest = file_digest(&temporary.path)?;
    temporary.rename(path)?;
    Ok(FileDigest { path: path.to_path_buf(), ..digest })
}

/// A file that is removed unless it is renamed.
#[derive(Debug)]
pub struct TemporaryFile {
    path: PathBuf,
    file: Option<File>,
    kept: bool,
}

impl TemporaryFile {
    /// A new, empty file `<folder>/.<name>.<process>-<number>.tmp`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(folder: &Path, name: &str) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let process = std::process::id();
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".{name}.{process}-{number}{TEMPORARY}"));
            match step().and_then(|()| OpenOptions::new().write(true).create_new(true).open(&path)) {
                Ok(file) => return Ok(Self { path, file: Some(file), kept: false }),
                // A killed process of the same id left it.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("create", &path, e)),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes its content, once, and syncs it.
    ///
    /// # Errors
    /// Those of `fill`; [`Error::Io`] when writing or syncing fails; [`Error::Temporary`] when the file is gone.
    pub fn fill(&mut self, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        self.fill_file(|writer| fill(writer))
    }

    /// The same for content that another thread may write. Returns what `fill` returns.
    ///
    /// # Errors
    /// Those of [`Self::fill`].
    pub fn fill_file<T>(&mut self, fill: impl FnOnce(&mut BufWriter<File>) -> Result<T>) -> Result<T> {
        let Some(file) = self.file.take() else {
            return Err(Error::Internal(format!("{} is filled twice", self.path.display())));
        };
        let mut writer = BufWriter::new(file);
        let filled = fill(&mut writer)?;
        step().map_err(|e| Error::io("write", &self.path, e))?;
        let synced = writer.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|e| match e.kind() {
            std::io::ErrorKind::StaleNetworkFileHandle => cleared(&self.path),
            _ => Error::io("write", &self.path, e),
        })?;
        check_there(&self.path)?;
        Ok(filled)
    }

    /// Leaves the file where it is, to be renamed later.
    pub fn keep(mut self) {
        self.kept = true;
    }

    /// Moves it to `path`, replacing what is there, and syncs the folder.
    ///
    /// # Errors
    /// When renaming or syncing fails.
    pub fn rename(mut self, path: &Path) -> Result<()> {
        rename(&self.path, path)?;
        self.kept = true;
        sync_folder(path.parent().unwrap_or(Path::new(".")))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.kept && step().is_ok() {
            // What cannot be removed now is removed when the lake is opened next.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Moves a file, replacing what is there; the folder is not synced.
///
/// # Errors
/// [`Error::Temporary`] when the file is gone; [`Error::Io`].
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    step().and_then(|()| std::fs::rename(from, to)).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => cleared(from),
        _ => Error::io("rename into place", to, e),
    })
}

/// Checks that a file is there. Opening it asks a file server; what is cached of it would not do.
///
/// # Errors
/// [`Error::Temporary`] when it is gone; [`Error::Io`].
pub fn check_there(path: &Path) -> Result<()> {
    match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(cleared(path)),
        opened => opened.map(|_| ()).map_err(|e| Error::io("open", path, e)),
    }
}

/// No process of this machine removes a file while its writer holds the lock.
fn cleared(path: &Path) -> Error {
    Error::Temporary(format!(
        "{}: removed by another process; where locks do not hold between machines (NFS mounted with nolock), let one \
         machine use the lake at a time; run again",
        path.display()
    ))
}

/// Makes renames in a folder durable.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    step().and_then(|()| File::open(folder)).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync", folder, e))
}

/// Creates a folder with its parents and makes their names durable.
///
/// # Errors
/// When one cannot be created or synced.
pub fn create_folders(folder: &Path) -> Result<()> {
    // Listing it asks a file server; another machine may have removed it.
    if std::fs::read_dir(folder).is_ok() {
        return Ok(());
    }
    let mut missing = Vec::new();
    let mut at = Some(folder);
    while let Some(path) = at.filter(|p| !p.as_os_str().is_empty() && !p.is_dir()) {
        missing.push(path);
        at = path.parent();
    }
    step().and_then(|()| std::fs::create_dir_all(folder)).map_err(|e| Error::io("create", folder, e))?;
    for path in missing.iter().rev() {
        sync_folder(path.parent().unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Removes a file; one that is gone is fine.
///
/// # Errors
/// When it stays.
pub fn remove(path: &Path) -> Result<()> {
    match step().and_then(|()| std::fs::remove_file(path)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// Removes a folder with what is in it; one that is gone is fine.
///
/// # Errors
/// When something of it stays.
pub fn remove_folder(folder: &Path) -> Result<()> {
    match step().and_then(|()| std::fs::remove_dir_all(folder)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", folder, e)),
        _ => Ok(()),
    }
}

/// Removes the temporary files in a folder that no process writes to.
///
/// # Errors
/// When the folder cannot be read or a file stays.
pub fn remove_temporary(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read", folder, e))?;
    for entry in entries {
        let path = entry.map_err(|e| Error::io("read", folder, e))?.path();
        if path.extension().is_some_and(|e| e == &TEMPORARY[1..]) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Every change of the file system passes here, so that tests can let each of them fail.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "the tests' version fails")]
fn step() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
use faults::step;

/// Lets changes of the file system fail, as a full disk or a killed process would.
#[cfg(test)]
pub(crate) mod faults {
    use std::cell::Cell;
    use std::io::ErrorKind;

    thread_local! {
        static LEFT: Cell<Option<(u32, ErrorKind)>> = const { Cell::new(None) };
    }

    /// The next `changes` changes of this thread work, all later ones fail as on a full disk; `None`: all work.
    pub(crate) fn fail_after(changes: Option<u32>) {
        LEFT.set(changes.map(|n| (n, ErrorKind::StorageFull)));
    }

    /// The same with another failure.
    pub(crate) fn fail_after_with(changes: u32, kind: ErrorKind) {
        LEFT.set(Some((changes, kind)));
    }

    pub(super) fn step() -> std::io::Result<()> {
        match LEFT.get() {
            Some((0, kind)) => Err(kind.into()),
            left => {
                LEFT.set(left.map(|(n, kind)| (n - 1, kind)));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn text(content: &str) -> impl FnOnce(&mut dyn Write) -> Result<()> {
        move |w| w.write_all(content.as_bytes()).map_err(|e| Error::io("write", "x", e))
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, text("old")).unwrap();
        let digest = write(&path, text("new")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!((digest.bytes, digest.path), (3, path));
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, text("old")).unwrap();
        let error = write(&path, |w| {
            text("ne")(w)?;
            Err(Error::Temporary("stop".into()))
        });
        assert!(matches!(error, Err(Error::Temporary(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn stale_temporary_files_are_removed_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = TemporaryFile::create(folder.path(), "part").unwrap();
        std::fs::write(folder.path().join("keep.json"), "x").unwrap();
        // A killed process does not run destructors.
        std::mem::forget(file);
        assert_eq!(names(folder.path()).len(), 2);
        remove_temporary(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["keep.json"]);
    }

    #[test]
    fn missing_folders_are_made_and_impossible_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a/b/c.json"), text("x")).unwrap();
        assert_eq!(names(&folder.path().join("a/b")), ["c.json"]);
        let error = write(&folder.path().join("a/b/c.json/d"), text("x")).unwrap_err();
        assert!(error.to_string().contains("c.json"), "{error}");
    }
}
