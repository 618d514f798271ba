//! A preview bundle read from its folder.

use std::path::Path;

use d2r_contracts::preview_bundle::{CARD, ENCODER, STEP};
use d2r_viewer::session::PreviewSession;

use crate::error::{Error, Result};

/// A file of a bundle.
///
/// # Errors
/// [`Error::InputMissing`] when it is not there.
pub fn read_file(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(name);
    let hint = "expected a folder of `d2r export preview`".to_owned();
    std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::InputMissing { path: path.clone(), hint },
        _ => Error::io("read", &path, e),
    })
}

/// The models of a bundle.
///
/// # Errors
/// [`Error::InputMissing`] without its files, [`Error::BadData`] when they are not those of its card.
pub fn read_bundle(folder: &Path) -> Result<PreviewSession> {
    let (card, encoder, step) = (read_file(folder, CARD)?, read_file(folder, ENCODER)?, read_file(folder, STEP)?);
    PreviewSession::new(&card, &encoder, &step).map_err(|e| Error::bad_data(folder.display(), e))
}
