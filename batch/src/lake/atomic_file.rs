//! Files that are either the old or the new version, whatever happens: temporary file in the same folder, flush,
//! fsync, rename, fsync of the folder.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use super::digest::sha256_file;
use crate::error::{Error, Result};
use crate::stages::context::FileDigest;

/// Writes a file atomically; `fill` writes its content.
///
/// # Errors
/// Those of `fill`, or [`Error::Io`]; the old file, if any, stays.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<FileDigest> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temp = folder.join(format!(".{name}.tmp"));
    let written = fill_temp(&temp, fill).and_then(|()| {
        let digest = sha256_file(&temp)?;
        let bytes = fs::metadata(&temp).map_err(|e| Error::io("read", &temp, e))?.len();
        fs::rename(&temp, path).map_err(|e| Error::io("rename", &temp, e))?;
        File::open(folder).and_then(|d| d.sync_all()).map_err(|e| Error::io("write", folder, e))?;
        Ok(FileDigest { path: path.to_path_buf(), bytes, sha256: digest })
    });
    if written.is_err() {
        // The error in hand says more than a failed clean-up would.
        let _ = fs::remove_file(&temp);
    }
    written
}

fn fill_temp(temp: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let file = File::create(temp).map_err(|e| Error::io("create", temp, e))?;
    let mut out = BufWriter::new(file);
    fill(&mut out)?;
    let file = out.into_inner().map_err(|e| Error::io("write", temp, e.into_error()))?;
    file.sync_all().map_err(|e| Error::io("write", temp, e))
}
