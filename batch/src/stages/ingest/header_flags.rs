//! What headers of DICOM files say about privacy, in one line for all images: text burned into the pixels, files that
//! are not marked as de-identified.

use std::collections::BTreeMap;

use d2r_contracts::tables::{FailureRow, ImageRow};

use super::dataset_reader::{Rows, STAGE};
use crate::datasets::listing::Split;
use crate::error::Result;
use crate::lake::{Lake, Partition};

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

/// Why no image of an ingested dataset can be used, for a message: the codes with their numbers, and what to do.
///
/// # Errors
/// When the table `failures` cannot be read.
pub fn reasons(lake: &Lake, dataset: &str) -> Result<String> {
    let mut codes: BTreeMap<String, u64> = BTreeMap::new();
    for split in Split::ALL {
        let failures: Vec<FailureRow> = lake.read(&Partition::new(dataset, split.as_str()))?;
        for failure in failures.into_iter().filter(|f| f.stage == STAGE) {
            *codes.entry(failure.code).or_default() += 1;
        }
    }
    let is_refused = codes.contains_key(NOT_DEIDENTIFIED);
    let counts: Vec<String> = codes.into_iter().map(|(code, count)| format!("{count} {code}")).collect();
    let remedy = if is_refused {
        "; DICOM files that are not marked as de-identified are read with --allow-phi, if you may read them"
    } else {
        ""
    };
    Ok(format!("{}; see the table `failures`, dataset {dataset}{remedy}", counts.join(", ")))
}
