//! Names that another machine made. A client of a network file system may answer from its cache, for up to a minute, that a
//! file is not there which another machine has made since: NFS keeps such answers until it asks for the attributes of the
//! folder again (nfs(5), "Directory entry caching"). Opening the folder makes it ask (close-to-open consistency).

use std::fs::File;
use std::io::{ErrorKind, Result};
use std::path::Path;

/// Runs `look` on a path; where nothing is there, asks the file system for the path's folder and runs it again.
///
/// # Errors
/// Those of `look`.
pub(crate) fn look<T>(path: &Path, look: impl Fn(&Path) -> Result<T>) -> Result<T> {
    match look(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                ask(folder);
            }
            look(path)
        }
        found => found,
    }
}

/// Whether there is a file.
pub(crate) fn is_file(path: &Path) -> bool {
    look(path, Path::metadata).is_ok_and(|m| m.is_file())
}

/// Whether there is a folder.
pub(crate) fn is_folder(path: &Path) -> bool {
    look(path, Path::metadata).is_ok_and(|m| m.is_dir())
}

/// What is known of the names in a folder is asked for anew when it is needed next. The folder itself may be such a name.
pub(crate) fn ask(folder: &Path) {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if let Err(e) = File::open(folder)
        && e.kind() == ErrorKind::NotFound
        && let Some(parent) = folder.parent()
        && folder != Path::new(".")
    {
        ask(parent);
        // A folder that cannot be opened is the matter of who looks into it.
        let _ = File::open(folder);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_not_there_is_looked_for_again_after_its_folder_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c.json");
        let tries = Cell::new(0);
        // Stands for a cache: the file of another machine is found by the second look only.
        let late = |p: &Path| {
            tries.set(tries.get() + 1);
            if tries.get() == 2 {
                std::fs::create_dir_all(p.parent().unwrap()).unwrap();
                std::fs::write(p, "x").unwrap();
            }
            std::fs::read(p)
        };
        assert_eq!(look(&path, late).unwrap(), b"x");
        assert_eq!(tries.get(), 2);
        assert_eq!(look(&path, late).unwrap(), b"x");
        assert_eq!(tries.get(), 3, "what is found is not looked for again");
        assert!(is_file(&path) && !is_folder(&path) && is_folder(folder.path()));
    }

    #[test]
    fn what_is_nowhere_is_not_found() {
        for path in ["", "nowhere", "nowhere/at/all", "/nowhere/at/all"] {
            assert_eq!(look(Path::new(path), Path::metadata).unwrap_err().kind(), ErrorKind::NotFound, "{path}");
        }
    }
}
