//! A sub-part: the rows of some images, a file per table, and the record of them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lake::digest::sha256_hex;
use crate::lake::parquet_file::PartFile;

/// Rows of some images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubPart {
    /// Digest of everything that decides the shard's rows.
    pub work_key: String,
    /// Images of the shard that are finished with it.
    pub finished: u64,
    /// What the stage counts over all images so far.
    pub state: String,
    /// Tables without rows have no file.
    pub files: Vec<SubPartFile>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubPartFile {
    pub table: String,
    /// Beside the record.
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
}

/// A record and the digest of its compact JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    pub sub_part: SubPart,
    pub sha256: String,
}

pub(super) fn record_name(number: usize) -> String {
    format!("{number:06}.json")
}

pub(super) fn seal(sub_part: &SubPart) -> Result<String> {
    let json = serde_json::to_vec(sub_part).map_err(|e| Error::Internal(format!("write a record: {e}")))?;
    Ok(sha256_hex(&json))
}

/// A record whose files are intact.
pub(super) fn read_record(folder: &Path, number: usize) -> Result<SubPart> {
    let path = folder.join(record_name(number));
    let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
    let sealed: Sealed =
        serde_json::from_slice(&bytes).map_err(|e| Error::bad_data(path.display(), format!("damaged, {e}")))?;
    if sealed.sha256 != seal(&sealed.sub_part)? {
        return Err(Error::bad_data(path.display(), "damaged, its digest does not fit"));
    }
    for SubPartFile { file, bytes, sha256, .. } in &sealed.sub_part.files {
        PartFile::open(&folder.join(file), Some((*bytes, sha256)))?;
    }
    Ok(sealed.sub_part)
}
