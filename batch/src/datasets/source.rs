//! Radiograph files: listed from a folder, read, measured. A file that cannot be used gives a [`SourceError`] with a
//! code for the `failures` table and does not end the run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::decode::{DecodeError, Decoded, ImageDecodeOptions, decode, decoded_bytes};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::tables::{FailureRow, ImageRow};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::datasets::decode_budget;
use crate::datasets::file_name::{EXTENSIONS, image_extension, is_no_data, without_extension};
use crate::datasets::listing::relative;
use crate::datasets::projection::Projection;
use crate::error::{Error, Result};

/// Why a radiograph cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// A stable word, for instance `truncated`.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl SourceError {
    /// The row of the `failures` table.
    pub fn into_row(self, stage: &str, path: &str, image_id: Option<&str>) -> FailureRow {
        FailureRow {
            stage: stage.to_owned(),
            path: Some(path.to_owned()),
            image_id: image_id.map(str::to_owned),
            code: self.code.to_owned(),
            message: self.message,
        }
    }

    /// Adds the remedy that this command has.
    fn of_decoding(error: &DecodeError) -> Self {
        let remedy = match error {
            DecodeError::NotDeidentified => "; de-identify it, or pass --allow-phi if you may read it",
            _ => "",
        };
        Self { code: error.code(), message: format!("{error}{remedy}") }
    }

    fn of_io(error: &std::io::Error) -> Self {
        let code = if error.kind() == std::io::ErrorKind::NotFound { "missing_file" } else { "unreadable" };
        let remedy =
            if code == "missing_file" { "download it again" } else { "check the file's permissions and the disk" };
        Self { code, message: format!("{}; {remedy}", error.kind()) }
    }
}

/// A radiograph and its file.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Pixels, size and what the header says.
    pub decoded: Decoded,
    /// Digest of the file's bytes, hexadecimal.
    pub sha256: String,
}

/// Reads a radiograph of the `images` table. `root` is its dataset's root folder.
///
/// # Errors
/// [`SourceError`], ready for the `failures` table; also when the file is not the one that was ingested.
pub fn read_radiograph(root: &Path, image: &ImageRow, options: &ImageDecodeOptions) -> Result<Radiograph, SourceError> {
    Ok(open_ingested(root, image, options)?.radiograph)
}

#[derive(Debug, Clone)]
pub struct OpenedImage {
    pub row: ImageRow,
    /// The image in original pixels.
    pub radiograph: Radiograph,
    pub times: FileTimes,
}

/// Thread time of opening files, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FileTimes {
    pub read_ms: f64,
    /// Decoding, and resizing where an image is resized at once.
    pub decode_ms: f64,
}

impl std::iter::Sum for FileTimes {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::default(), |sum, t| Self {
            read_ms: sum.read_ms + t.read_ms,
            decode_ms: sum.decode_ms + t.decode_ms,
        })
    }
}

/// As [`read_radiograph`], with the times that it took.
///
/// # Errors
/// Those of [`read_radiograph`].
pub fn open_ingested(root: &Path, image: &ImageRow, options: &ImageDecodeOptions) -> Result<OpenedImage, SourceError> {
    let start = Instant::now();
    let bytes = read_bytes(&root.join(&image.path), options)?;
    let read_ms = milliseconds(start);
    let start = Instant::now();
    let radiograph = decode_bytes(&bytes, options)?.radiograph;
    let decode_ms = milliseconds(start);
    // Boxes are in the pixels of the ingested file; another size would shift them silently.
    if let (Some(width), Some(height)) = (image.width, image.height)
        && (i64::from(width), i64::from(height)) != (i64::from(radiograph.width), i64::from(radiograph.height))
    {
        let found = format!("{} x {}", radiograph.width, radiograph.height);
        let message = format!("was {width} x {height} pixels at ingest and is {found} now; ingest the dataset again");
        return Err(SourceError { code: "changed_size", message });
    }
    if image.sha256.as_ref().is_some_and(|at_ingest| *at_ingest != format!("{:x}", Sha256::digest(&bytes))) {
        let message = "its bytes are not those that were ingested; ingest the dataset again".to_owned();
        return Err(SourceError { code: "changed_content", message });
    }
    Ok(OpenedImage { row: image.clone(), radiograph, times: FileTimes { read_ms, decode_ms } })
}

/// Opens a file of [`list_folder`]: size, digest and projection become known.
///
/// # Errors
/// [`SourceError`], ready for the `failures` table.
pub fn open_listed(root: &Path, image: &ImageRow, options: &ImageDecodeOptions) -> Result<OpenedImage, SourceError> {
    let start = Instant::now();
    let bytes = read_bytes(&root.join(&image.path), options)?;
    let read_ms = milliseconds(start);
    let start = Instant::now();
    let decoded = decode_bytes(&bytes, options)?;
    let burned_in_annotation = decoded.burned_in_annotation();
    let Decoded { radiograph, projection, .. } = decoded;
    let decode_ms = milliseconds(start);
    let row = ImageRow {
        width: Some(radiograph.width as i32),
        height: Some(radiograph.height as i32),
        sha256: Some(format!("{:x}", Sha256::digest(&bytes))),
        view: projection.unwrap_or_else(|| image.view.clone()),
        burned_in_annotation,
        ..image.clone()
    };
    Ok(OpenedImage { row, radiograph, times: FileTimes { read_ms, decode_ms } })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Reads, digests and decodes a radiograph file.
///
/// # Errors
/// [`SourceError`], ready for the `failures` table.
pub fn measure(path: &Path, options: &ImageDecodeOptions) -> Result<Measured, SourceError> {
    let bytes = read_bytes(path, options)?;
    let decoded = decode_bytes(&bytes, options)?;
    Ok(Measured { decoded, sha256: format!("{:x}", Sha256::digest(&bytes)) })
}

fn read_bytes(path: &Path, options: &ImageDecodeOptions) -> Result<Vec<u8>, SourceError> {
    let mut file = File::open(path).map_err(|e| SourceError::of_io(&e))?;
    let size = file.metadata().map_err(|e| SourceError::of_io(&e))?.len();
    let most = options.file_bytes_max();
    if size > most {
        return Err(SourceError { code: "too_large", message: format!("{size} bytes, at most {most} are read") });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.read_to_end(&mut bytes).map_err(|e| SourceError::of_io(&e))?;
    Ok(bytes)
}

fn decode_bytes(bytes: &[u8], options: &ImageDecodeOptions) -> Result<Decoded, SourceError> {
    let _held = decode_budget::PROCESS.acquire(decoded_bytes(bytes, options));
    decode(bytes, options).map_err(|e| SourceError::of_decoding(&e))
}

/// The files of a folder that look like radiographs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFiles {
    /// Full paths, in the order of their names; one stem's files in the order of [`EXTENSIONS`].
    pub files: Vec<PathBuf>,
    /// Paths that cannot be read, with the reason.
    pub unreadable: Vec<(PathBuf, SourceError)>,
    /// Files that are something else.
    pub ignored: u64,
}

/// Finds the PNG, JPEG and DICOM files of a folder and of the folders below it, by extension or by their first
/// bytes. Hidden files and folders are left out, and what macOS leaves beside them.
///
/// # Errors
/// [`Error::InputMissing`] when there is no such folder.
pub fn image_files(folder: &Path) -> Result<ImageFiles> {
    std::fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))?;
    let mut found = ImageFiles::default();
    let walk = WalkDir::new(folder).follow_links(true).into_iter();
    for entry in walk.filter_entry(|e| e.depth() == 0 || !is_no_data(e.file_name())) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_path_buf();
                let kind = error.io_error().map_or(std::io::ErrorKind::Other, std::io::Error::kind);
                found.unreadable.push((path, SourceError::of_io(&kind.into())));
                continue;
            }
        };
        if !entry.file_type().is_file() {
            continue;
        }
        let path = entry.into_path();
        match is_radiograph(&path) {
            Ok(true) => found.files.push(path),
            Ok(false) => found.ignored += 1,
            Err(reason) => found.unreadable.push((path, reason)),
        }
    }
    found.files.sort_by_cached_key(|path| {
        (path.with_file_name(without_extension(&name(path))), extension_rank(path), path.clone())
    });
    found.unreadable.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn extension_rank(path: &Path) -> usize {
    image_extension(&name(path)).unwrap_or(EXTENSIONS.len())
}

/// By extension, and otherwise by the first bytes.
fn is_radiograph(path: &Path) -> Result<bool, SourceError> {
    if extension_rank(path) < EXTENSIONS.len() {
        return Ok(true);
    }
    let mut head = Vec::with_capacity(132);
    let file = File::open(path).map_err(|e| SourceError::of_io(&e))?;
    file.take(132).read_to_end(&mut head).map_err(|e| SourceError::of_io(&e))?;
    let dicom = head.get(128..132) == Some(b"DICM");
    Ok(dicom || head.starts_with(b"\x89PNG\r\n\x1a\n") || head.starts_with(&[0xff, 0xd8, 0xff]))
}

/// A folder of radiographs without label files, as rows: one study per file. Size and digest are not known yet.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    /// Sorted by path.
    pub images: Vec<ImageRow>,
    /// Files and folders that cannot be read, for the `failures` table.
    pub failures: Vec<FailureRow>,
    /// Files that are something else.
    pub ignored: u64,
}

/// Lists a folder of PNG, JPEG and DICOM files. The image id is the path without its extension (a UID has none);
/// where two files share it, the path. A name that is not UTF-8 is a row of `failures`.
///
/// # Errors
/// [`Error::InputMissing`] when there is no such folder.
pub fn list_folder(folder: &Path, stage: &str) -> Result<Folder> {
    let found = image_files(folder)?;
    let mut listed = Folder { ignored: found.ignored, ..Folder::default() };
    let mut paths = Vec::new();
    for path in &found.files {
        match relative(folder, path) {
            Some(inside) => paths.push(inside),
            None => {
                let reason = SourceError { code: "file_name", message: "its name is not UTF-8; rename it".into() };
                listed.failures.push(reason.into_row(stage, &lossy(folder, path), None));
            }
        }
    }
    let stem = |path: &str| without_extension(path).to_owned();
    let mut uses: BTreeMap<String, u32> = BTreeMap::new();
    for path in &paths {
        *uses.entry(stem(path)).or_default() += 1;
    }
    for path in paths {
        let image_id = match stem(&path) {
            id if uses.get(&id) == Some(&1) => id,
            _ => path.clone(),
        };
        listed.images.push(ImageRow {
            study_id: image_id.clone(),
            subject_id: image_id.clone(),
            image_id,
            view: Projection::Unknown.as_str().into(),
            path,
            width: None,
            height: None,
            sha256: None,
            n_boxes: None,
            burned_in_annotation: None,
        });
    }
    for (path, reason) in found.unreadable {
        listed.failures.push(reason.into_row(stage, &lossy(folder, &path), None));
    }
    Ok(listed)
}

/// The path inside a folder, with marks for what is not UTF-8.
fn lossy(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
