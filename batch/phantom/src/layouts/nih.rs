//! NIH ChestX-ray14's layout: `images/<patient>_<visit>.png`, `Data_Entry_2017.csv` with text labels of every film,
//! `BBox_List_2017.csv` with boxes of every other film that has any of the eight boxed labels, and the two lists of
//! the published split. Boxes refer to 1024 x 1024 pixels, whatever the size of the film.

use d2r_contracts::labels::lesion_class_name;
use rayon::prelude::*;

use crate::catalogue::LabelledFilm;
use crate::error::Result;
use crate::layouts::identity::Split;
use crate::layouts::output_folder::OutputFolder;
use crate::planned_film::PlannedLesion;
use crate::study::Sex;

/// Width and height that boxes refer to, pixels.
pub const FRAME: f32 = 1024.0;

/// The header of the published tables: one name spreads over several columns.
const ENTRY_HEADER: &str = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\
    OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],";
const BOX_HEADER: &str = "Image Index,Finding Label,Bbox [x,y,w,h],,,";

/// Writes the layout below `root` (a path inside `folder`).
///
/// # Errors
/// Those of [`OutputFolder::put`].
pub fn write(folder: &OutputFolder, root: &str, films: &[LabelledFilm]) -> Result<()> {
    films.par_iter().try_for_each(|labelled| -> Result<()> {
        let film = &labelled.film;
        folder.put(&format!("{root}/images/{}.png", film.image_id), &film.png()?)?;
        folder.observer().written(1);
        Ok(())
    })?;
    let (mut entries, mut boxes) = (format!("{ENTRY_HEADER}\n"), format!("{BOX_HEADER}\n"));
    let (mut train_val, mut test) = (String::new(), String::new());
    let mut boxed = 0usize;
    for labelled in films {
        let (film, plan) = (&labelled.film, labelled.film.plan());
        let name = format!("{}.png", film.image_id);
        let list = if labelled.split == Split::Test { &mut test } else { &mut train_val };
        list.push_str(&format!("{name}\n"));
        let mut labels: Vec<&str> = film.lesions.iter().filter_map(label).collect();
        labels.sort_unstable();
        labels.dedup();
        let labels = if labels.is_empty() { "No Finding".to_owned() } else { labels.join("|") };
        let sex = if plan.sex == Sex::Female { "F" } else { "M" };
        let (width, height) = film.size();
        entries.push_str(&format!(
            "{name},{labels},{},{},{},{sex},{},{width},{height},0.143,0.143,\n",
            plan.visit,
            plan.subject + 1,
            plan.age_decade,
            film.view_position(),
        ));
        let rows: Vec<String> = film
            .lesions
            .iter()
            .filter_map(|l| Some((box_label(l)?, l)))
            .map(|(label, lesion)| {
                let [x, y, w, h] = film.box_in_frame(lesion, FRAME).to_xywh();
                format!("{name},{label},{x},{y},{w},{h},,,\n")
            })
            .collect();
        boxed += usize::from(!rows.is_empty());
        if boxed % 2 == 1 {
            boxes.push_str(&rows.concat());
        }
    }
    folder.put(&format!("{root}/Data_Entry_2017.csv"), entries.as_bytes())?;
    folder.put(&format!("{root}/BBox_List_2017.csv"), boxes.as_bytes())?;
    folder.put(&format!("{root}/train_val_list.txt"), train_val.as_bytes())?;
    folder.put(&format!("{root}/test_list.txt"), test.as_bytes())
}

/// The dataset's label of a lesion; `None` for a class that it has no label for.
fn label(lesion: &PlannedLesion) -> Option<&'static str> {
    Some(match lesion_class_name(lesion.placed.class_id)? {
        "Atelectasis" => "Atelectasis",
        "Cardiomegaly" => "Cardiomegaly",
        "Consolidation" => "Consolidation",
        "Edema" => "Edema",
        "Emphysema" => "Emphysema",
        "Infiltration" => "Infiltration",
        "Nodule/Mass" if lesion.placed.small => "Nodule",
        "Nodule/Mass" => "Mass",
        "Pleural effusion" => "Effusion",
        "Pleural thickening" => "Pleural_Thickening",
        "Pneumothorax" => "Pneumothorax",
        "Pulmonary fibrosis" => "Fibrosis",
        "Lung Opacity" => "Pneumonia",
        _ => return None,
    })
}

/// The eight labels that are boxed; the table of boxes spells one of them differently.
fn box_label(lesion: &PlannedLesion) -> Option<&'static str> {
    match label(lesion)? {
        "Infiltration" => Some("Infiltrate"),
        boxed @ ("Atelectasis" | "Cardiomegaly" | "Effusion" | "Mass" | "Nodule" | "Pneumonia" | "Pneumothorax") => {
            Some(boxed)
        }
        _ => None,
    }
}
