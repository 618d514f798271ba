//! The two VinDr-CXR layouts. PhysioNet's: DICOM files under `train/` and `test/`, boxes and image labels of three
//! annotators a training film, of their consensus a test film. Kaggle's: a smaller set of its own, `train.csv` with the
//! rare classes folded into "Other lesion", test films without labels.

pub mod dicom;

use rayon::prelude::*;

use d2r_contracts::labels::{GLOBAL_LABELS, KAGGLE_CLASSES, LESION_CLASSES, NO_FINDING, lesion_class_name};

use crate::annotators::{Boxed, Reading, consensus, realistic, three_readings};
use crate::catalogue::LabelledFilm;
use crate::config::Reporting;
use crate::error::Result;
use crate::layouts::identity::{Split, stream};
use crate::layouts::output_folder::OutputFolder;
use crate::layouts::table_file::csv;
use crate::planned_film::PlannedFilm;

/// Writes the PhysioNet layout below `root` (a path inside `folder`).
///
/// # Errors
/// Those of [`OutputFolder::put`].
pub fn write_physionet(folder: &OutputFolder, root: &str, films: &[LabelledFilm], seed: u64) -> Result<()> {
    write_films(folder, root, films)?;
    let mut train = (Vec::new(), Vec::new());
    let mut test = (Vec::new(), Vec::new());
    for labelled in films {
        let id = &labelled.film.image_id;
        if labelled.split == Split::Test {
            let boxes = agreed(labelled, seed);
            test.0.extend(box_rows(&[id], &boxes));
            test.1.push(label_row(&[id], &boxes));
        } else {
            for reading in readings(labelled, seed) {
                let key = [id.as_str(), &reading.reader_id];
                train.0.extend(box_rows(&key, &reading.boxes));
                train.1.push(label_row(&key, &reading.boxes));
            }
        }
    }
    const CORNERS: [&str; 5] = ["class_name", "x_min", "y_min", "x_max", "y_max"];
    let labels = [&LESION_CLASSES[..], &GLOBAL_LABELS[..]].concat();
    let key_train: &[&str] = &["image_id", "rad_id"];
    let key_test: &[&str] = &["image_id"];
    let put = |name: &str, key: &[&str], columns: &[&str], rows: &[Vec<String>]| {
        folder.put(&format!("{root}/annotations/{name}.csv"), &csv(&[key, columns].concat(), rows)?)
    };
    put("annotations_train", key_train, &CORNERS, &train.0)?;
    put("annotations_test", key_test, &CORNERS, &test.0)?;
    put("image_labels_train", key_train, &labels, &train.1)?;
    put("image_labels_test", key_test, &labels, &test.1)
}

/// Writes the Kaggle layout below `root`.
///
/// # Errors
/// Those of [`OutputFolder::put`].
pub fn write_kaggle(folder: &OutputFolder, root: &str, films: &[LabelledFilm], seed: u64) -> Result<()> {
    write_films(folder, root, films)?;
    let mut rows = Vec::new();
    let mut submission = Vec::new();
    for labelled in films {
        let id = &labelled.film.image_id;
        if labelled.split == Split::Test {
            submission.push(vec![id.clone(), "14 1 0 0 1 1".to_owned()]);
            continue;
        }
        for reading in readings(labelled, seed) {
            for row in &reading.boxes {
                rows.push(kaggle_row(id, &reading.reader_id, Some(row)));
            }
            if reading.boxes.is_empty() {
                rows.push(kaggle_row(id, &reading.reader_id, None));
            }
        }
    }
    let header = ["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"];
    folder.put(&format!("{root}/train.csv"), &csv(&header, &rows)?)?;
    folder.put(&format!("{root}/sample_submission.csv"), &csv(&["image_id", "PredictionString"], &submission)?)
}

fn write_films(folder: &OutputFolder, root: &str, films: &[LabelledFilm]) -> Result<()> {
    films.par_iter().enumerate().try_for_each(|(index, labelled)| {
        let film = &labelled.film;
        let split = if labelled.split == Split::Test { "test" } else { "train" };
        folder.put(&format!("{root}/{split}/{}.dicom", film.image_id), &film.dicom(dicom::Storage::of(index))?)?;
        folder.observer().written(1);
        Ok(())
    })
}

fn boxed(film: &PlannedFilm) -> Vec<Boxed> {
    film.lesions
        .iter()
        .map(|l| Boxed { class_id: l.placed.class_id, box_: l.placed.box_, small: l.placed.small })
        .collect()
}

fn readings(labelled: &LabelledFilm, seed: u64) -> Vec<Reading> {
    let (width, height) = labelled.film.size();
    let mut rng = stream(seed, &labelled.set.readings(), labelled.index);
    let readings = match labelled.reporting {
        Reporting::Exact => three_readings,
        Reporting::Realistic => realistic::three_readings,
    };
    readings(&boxed(&labelled.film), width as f32, height as f32, &mut rng)
}

fn agreed(labelled: &LabelledFilm, seed: u64) -> Vec<Boxed> {
    let (width, height) = labelled.film.size();
    let mut rng = stream(seed, &labelled.set.readings(), labelled.index);
    let agreed = match labelled.reporting {
        Reporting::Exact => consensus,
        Reporting::Realistic => realistic::consensus,
    };
    agreed(&boxed(&labelled.film), width as f32, height as f32, &mut rng)
}

/// An annotator's boxes, or the one row for no finding.
fn box_rows(key: &[&str], boxes: &[Boxed]) -> Vec<Vec<String>> {
    let key: Vec<String> = key.iter().map(|k| (*k).to_owned()).collect();
    let row = |class: &str, corners: [String; 4]| [key.clone(), vec![class.to_owned()], corners.to_vec()].concat();
    if boxes.is_empty() {
        return vec![row(NO_FINDING, Default::default())];
    }
    let class = |b: &Boxed| lesion_class_name(b.class_id).unwrap_or("Other lesion");
    boxes.iter().map(|b| row(class(b), b.box_.to_array().map(|v| format!("{v:.3}")))).collect()
}

/// The 22 local and 6 global labels of a reading, 0 or 1.
fn label_row(key: &[&str], boxes: &[Boxed]) -> Vec<String> {
    let has = |name: &str| boxes.iter().any(|b| lesion_class_name(b.class_id) == Some(name));
    let global = |name: &str| match name {
        "COPD" => has("Emphysema"),
        "Lung tumor" => boxes.iter().any(|b| !b.small && lesion_class_name(b.class_id) == Some("Nodule/Mass")),
        "Pneumonia" => has("Consolidation") || has("Infiltration"),
        "Tuberculosis" => has("Lung cavity"),
        NO_FINDING => boxes.is_empty(),
        _ => false,
    };
    let known = GLOBAL_LABELS.iter().any(|name| global(name));
    let flag = |set: bool| if set { "1" } else { "0" }.to_owned();
    let mut row: Vec<String> = key.iter().map(|k| (*k).to_owned()).collect();
    row.extend(LESION_CLASSES.iter().map(|name| flag(has(name))));
    // Lesions without one of the named diseases are another one.
    row.extend(GLOBAL_LABELS.iter().map(|name| flag(global(name) || (*name == "Other diseases" && !known))));
    row
}

fn kaggle_row(image_id: &str, reader_id: &str, seen: Option<&Boxed>) -> Vec<String> {
    let Some(b) = seen else {
        let mut row = vec![image_id.to_owned(), NO_FINDING.to_owned(), "14".to_owned(), reader_id.to_owned()];
        row.resize(8, String::new());
        return row;
    };
    let name = lesion_class_name(b.class_id).filter(|name| KAGGLE_CLASSES.contains(name)).unwrap_or("Other lesion");
    let id = KAGGLE_CLASSES.iter().position(|class| *class == name).unwrap_or(9);
    let mut row = vec![image_id.to_owned(), name.to_owned(), id.to_string(), reader_id.to_owned()];
    // Kaggle's corners are whole pixels.
    row.extend(b.box_.to_array().map(|v| format!("{v:.0}")));
    row
}

#[cfg(test)]
mod tests {
    use d2r_contracts::boxes::BoxXyxy;
    use d2r_contracts::labels::lesion_class_id;

    use super::*;

    fn seen(class: &str) -> Boxed {
        Boxed { class_id: lesion_class_id(class).unwrap(), box_: BoxXyxy::new(1.25, 2.0, 30.5, 40.0), small: false }
    }

    #[test]
    fn a_annotator_who_sees_nothing_has_one_row_without_corners() {
        assert_eq!(box_rows(&["i", "R8"], &[]), [["i", "R8", "No finding", "", "", "", ""].map(String::from).to_vec()]);
        let rows = box_rows(&["i"], &[seen("Rib fracture")]);
        assert_eq!(rows, [["i", "Rib fracture", "1.250", "2.000", "30.500", "40.000"].map(String::from).to_vec()]);
    }

    #[test]
    fn labels_are_28_flags_and_one_of_the_global_ones_is_set() {
        for boxes in [vec![], vec![seen("Cardiomegaly")], vec![seen("Emphysema"), seen("Consolidation")]] {
            let row = label_row(&["i", "R1"], &boxes);
            assert_eq!(row.len(), 2 + 28);
            assert!(row[24..].contains(&"1".to_owned()), "{row:?}");
            assert_eq!(row[29] == "1", boxes.is_empty());
            assert_eq!(row[28] == "1", boxes.len() == 1);
        }
    }

    #[test]
    fn kaggle_folds_rare_classes() {
        let row = kaggle_row("i", "R2", Some(&seen("Rib fracture")));
        assert_eq!(row, ["i", "Other lesion", "9", "R2", "1", "2", "30", "40"].map(String::from).to_vec());
        assert_eq!(kaggle_row("i", "R2", Some(&seen("ILD")))[1..3], ["ILD", "5"].map(String::from));
        assert_eq!(
            kaggle_row("i", "R2", None),
            ["i", "No finding", "14", "R2", "", "", "", ""].map(String::from).to_vec()
        );
    }
}
