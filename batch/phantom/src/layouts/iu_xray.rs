//! R2Gen's layout of IU X-Ray: `annotation.json` and `images/CXRn_IM-nnnn/{0,1}.png`, a frontal film and a lateral one.

use rayon::prelude::*;
use serde_json::json;

use crate::catalogue::Visit;
use crate::error::Result;
use crate::layouts::annotation_json::by_split;
use crate::layouts::output_folder::OutputFolder;

/// Writes the layout below `root` (a path inside `folder`).
///
/// # Errors
/// Those of [`OutputFolder::put`].
pub fn write(folder: &OutputFolder, root: &str, visits: &[Visit]) -> Result<()> {
    visits.par_iter().try_for_each(|visit| -> Result<()> {
        for (place, film) in visit.films.iter().enumerate() {
            folder.put(&format!("{root}/images/{}/{place}.png", visit.study_id), &film.png()?)?;
            folder.observer().written(1);
        }
        Ok(())
    })?;
    let entry = |visit: &Visit| {
        let paths: Vec<String> =
            (0..visit.films.len()).map(|place| format!("{}/{place}.png", visit.study_id)).collect();
        vec![json!({
            "id": visit.study_id,
            "report": visit.report.findings_text(),
            "image_path": paths,
            "split": visit.split.name(),
        })]
    };
    folder.put(&format!("{root}/annotation.json"), &by_split(visits, entry)?)
}
