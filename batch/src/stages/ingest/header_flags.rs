//! What headers of DICOM files say about privacy, in one line for all images: text burned into the pixels, files that
//! are not marked as de-identified.

use d2r_contracts::tables::ImageRow;

use super::dataset_reader::Rows;
use crate::datasets::source::SourceError;

/// The code of a file that is not marked as de-identified.
const NOT_DEIDENTIFIED: &str = "not_deidentified";

/// Warns, with their numbers, of images with burned-in text and of those left out for the missing mark.
pub fn warn_of(rows: &Rows) {
    warn_of_burned_in(burned_in(rows.values().flat_map(|part| &part.images)));
    let failures = rows.values().flat_map(|part| &part.failures);
    let refused = failures.filter(|f| f.code == NOT_DEIDENTIFIED).count();
    if refused > 0 {
        tracing::warn!(
            images = refused,
            "left out: not marked as de-identified (PatientIdentityRemoved, 0012,0062); pass --allow-phi if you may read them"
        );
    }
}

/// Number of images whose header says that text is burned into the pixels.
pub fn burned_in<'a>(images: impl IntoIterator<Item = &'a ImageRow>) -> usize {
    images.into_iter().filter(|i| i.burned_in_annotation == Some(true)).count()
}

/// Refuses an image whose header says that text is burned into the pixels.
///
/// # Errors
/// [`SourceError`], ready for the `failures` table.
pub fn refuse_burned_in(burned_in: Option<bool>) -> Result<(), SourceError> {
    if burned_in != Some(true) {
        return Ok(());
    }
    let message = "its header says that text is burned into the pixels (BurnedInAnnotation, 0028,0301); remove the text, or \
                   leave out --refuse-burned-in";
    Err(SourceError { code: "burned_in_annotation", message: message.into() })
}

/// One line about them, when there are any.
pub fn warn_of_burned_in(images: usize) {
    if images > 0 {
        tracing::warn!(
            images,
            "text is burned into the pixels, say their headers (BurnedInAnnotation, 0028,0301): names may be legible; \
             see burned_in_annotation in the table `images`"
        );
    }
}

#[cfg(test)]
mod tests;
