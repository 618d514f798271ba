//! R2Gen's `annotation.json`: three lists of examples with `id`, `report` and `image_path` relative to `images/`; one
//! example a film, so that the report of a study with two films is there twice. The set is the first studies of
//! the MIMIC set, with image ids and relative paths kept, and extra fields that no parser needs.

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::catalogue::Visit;
use crate::error::{Error, Result};
use crate::layouts::identity::Split;
use crate::layouts::mimic::{JPEG_QUALITY, film_path};
use crate::layouts::output_folder::OutputFolder;
use crate::planned_film::PlannedFilm;

/// Writes `annotation.json` and `images/` below `root` (a path inside `folder`).
///
/// # Errors
/// Those of [`OutputFolder::put`].
pub fn write(folder: &OutputFolder, root: &str, visits: &[Visit]) -> Result<()> {
    visits.par_iter().try_for_each(|visit| -> Result<()> {
        for film in &visit.films {
            folder.put(&format!("{root}/images/{}", film_path(visit, film)), &film.jpeg(JPEG_QUALITY)?)?;
            folder.observer().written(1);
        }
        Ok(())
    })?;
    let example = |visit: &Visit, film: &PlannedFilm| {
        json!({
            "id": film.image_id,
            "study_id": visit.study_id.trim_start_matches('s').parse::<u64>().ok(),
            "subject_id": visit.subject_id.trim_start_matches('p').parse::<u64>().ok(),
            "report": visit.report.findings_text(),
            "image_path": [film_path(visit, film)],
            "split": visit.split.name(),
            "view_position": film.view_position(),
            "drawn": true,
        })
    };
    let examples = |visit: &Visit| visit.films.iter().map(|film| example(visit, film)).collect();
    folder.put(&format!("{root}/annotation.json"), &by_split(visits, examples)?)
}

/// One object with the examples of each split, as JSON text.
pub(super) fn by_split(visits: &[Visit], examples: impl Fn(&Visit) -> Vec<Value>) -> Result<Vec<u8>> {
    let of = |split| visits.iter().filter(|v| v.split == split).flat_map(&examples).collect::<Vec<_>>();
    let all = json!({ "train": of(Split::Train), "val": of(Split::Val), "test": of(Split::Test) });
    serde_json::to_vec(&all).map_err(|e| Error::Internal(format!("annotation.json of the phantom: {e}")))
}
