//! ChestX-Det's layout: `ChestX_Det_train.json` and `ChestX_Det_test.json`, lists of images with names, boxes and polygons,
//! and `train_data/` and `test_data/` with PNG files. Boxes are whole pixels of 1024 x 1024.

use d2r_contracts::labels::lesion_class_name;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::catalogue::LabelledFilm;
use crate::error::{Error, Result};
use crate::layouts::identity::Split;
use crate::layouts::nih::FRAME;
use crate::layouts::output_folder::OutputFolder;
use crate::planned_film::PlannedLesion;

/// Writes the layout below `root` (a path inside `folder`).
///
/// # Errors
/// Those of [`OutputFolder::put`].
pub fn write(folder: &OutputFolder, root: &str, films: &[LabelledFilm]) -> Result<()> {
    let set = |labelled: &LabelledFilm| if labelled.split == Split::Test { "test" } else { "train" };
    films.par_iter().try_for_each(|labelled| -> Result<()> {
        let film = &labelled.film;
        folder.put(&format!("{root}/{}_data/{}.png", set(labelled), film.image_id), &film.png()?)?;
        folder.observer().written(1);
        Ok(())
    })?;
    for name in ["train", "test"] {
        let entries: Vec<Value> = films.iter().filter(|f| set(f) == name).map(entry).collect();
        let text = serde_json::to_vec(&entries)
            .map_err(|e| Error::Internal(format!("ChestX_Det_{name}.json of the phantom: {e}")))?;
        folder.put(&format!("{root}/ChestX_Det_{name}.json"), &text)?;
    }
    Ok(())
}

fn entry(labelled: &LabelledFilm) -> Value {
    let film = &labelled.film;
    let named: Vec<(&str, [i64; 4])> = film
        .lesions
        .iter()
        .filter_map(|lesion| {
            Some((name(lesion)?, film.box_in_frame(lesion, FRAME).to_array().map(|v| v.round() as i64)))
        })
        .collect();
    let polygon = |[x1, y1, x2, y2]: [i64; 4]| json!([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]);
    json!({
        "file_name": format!("{}.png", film.image_id),
        "syms": named.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "boxes": named.iter().map(|(_, b)| *b).collect::<Vec<_>>(),
        "polygons": named.iter().map(|(_, b)| polygon(*b)).collect::<Vec<_>>(),
    })
}

/// The dataset's name of a lesion; `None` for a class that it does not box.
fn name(lesion: &PlannedLesion) -> Option<&'static str> {
    Some(match lesion_class_name(lesion.placed.class_id)? {
        "Atelectasis" => "Atelectasis",
        "Calcification" => "Calcification",
        "Cardiomegaly" => "Cardiomegaly",
        "Consolidation" => "Consolidation",
        "Pleural effusion" => "Effusion",
        "Emphysema" => "Emphysema",
        "Pulmonary fibrosis" => "Fibrosis",
        "Rib fracture" | "Clavicle fracture" => "Fracture",
        "Nodule/Mass" if lesion.placed.small => "Nodule",
        "Nodule/Mass" => "Mass",
        "Pleural thickening" => "Pleural Thickening",
        "Pneumothorax" => "Pneumothorax",
        _ => return None,
    })
}
