//! The layout of RSNA's pneumonia challenge: DICOM files without a mark of de-identification in `stage_2_train_images/` and
//! `stage_2_test_images/`, a row per box of an opacity in `stage_2_train_labels.csv`, three classes in
//! `stage_2_detailed_class_info.csv`. Boxes refer to 1024 x 1024 pixels; films of the test split have no labels.

use d2r_contracts::labels::lesion_class_name;
use rayon::prelude::*;

use crate::catalogue::LabelledFilm;
use crate::error::Result;
use crate::layouts::identity::Split;
use crate::layouts::nih::FRAME;
use crate::layouts::output_folder::OutputFolder;
use crate::layouts::table_file::csv;
use crate::layouts::vindr::dicom::Storage;

/// Classes that are opacities to the challenge's annotators.
const OPACITIES: [&str; 3] = ["Lung Opacity", "Consolidation", "Infiltration"];

/// Writes the layout below `root` (a path inside `folder`).
///
/// # Errors
/// Those of [`OutputFolder::put`].
pub fn write(folder: &OutputFolder, root: &str, films: &[LabelledFilm]) -> Result<()> {
    let storage = Storage { bits: 12, inverted: false, implicit_vr: false, marked_deidentified: false };
    films.par_iter().try_for_each(|labelled| -> Result<()> {
        let film = &labelled.film;
        let set = if labelled.split == Split::Test { "test" } else { "train" };
        folder.put(&format!("{root}/stage_2_{set}_images/{}.dcm", film.image_id), &film.dicom(storage)?)?;
        folder.observer().written(1);
        Ok(())
    })?;
    let (mut labels, mut classes, mut submission) = (Vec::new(), Vec::new(), Vec::new());
    for labelled in films {
        let film = &labelled.film;
        let id = &film.image_id;
        if labelled.split == Split::Test {
            submission.push(vec![id.clone(), "0.5 0 0 100 100".to_owned()]);
            continue;
        }
        let opacities = film
            .lesions
            .iter()
            .filter(|l| lesion_class_name(l.placed.class_id).is_some_and(|name| OPACITIES.contains(&name)));
        let mut rows: Vec<Vec<String>> = opacities
            .map(|lesion| {
                let xywh = film.box_in_frame(lesion, FRAME).to_xywh().map(|v| format!("{:.1}", v.round()));
                [vec![id.clone()], xywh.to_vec(), vec!["1".to_owned()]].concat()
            })
            .collect();
        let class = match (rows.is_empty(), film.lesions.is_empty()) {
            (false, _) => "Lung Opacity",
            (true, true) => "Normal",
            (true, false) => "No Lung Opacity / Not Normal",
        };
        if rows.is_empty() {
            rows.push([id.as_str(), "", "", "", "", "0"].map(str::to_owned).to_vec());
        }
        classes.extend(rows.iter().map(|_| vec![id.clone(), class.to_owned()]));
        labels.extend(rows);
    }
    let put = |name: &str, header: &[&str], rows: &[Vec<String>]| {
        folder.put(&format!("{root}/stage_2_{name}.csv"), &csv(header, rows)?)
    };
    put("train_labels", &["patientId", "x", "y", "width", "height", "Target"], &labels)?;
    put("detailed_class_info", &["patientId", "class"], &classes)?;
    put("sample_submission", &["patientId", "PredictionString"], &submission)
}
