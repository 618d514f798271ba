//! The MIMIC-CXR-JPG layout: `files/pNN/pNNNNNNNN/sNNNNNNNN/<dicom_id>.jpg`, the three csv.gz tables of version 2.0.0,
//! and the report of each study as `files/pNN/pNNNNNNNN/sNNNNNNNN.txt`.
//!
//! The CheXpert table holds the labels that the report states (1.0 positive, 0.0 negative, -1.0 uncertain, empty not
//! mentioned). Beside exact reports Pneumonia is in doubt (-1.0) in one of twenty studies with a consolidation, as automatic
//! labels are.

mod report_file;

use rand::RngExt;
use rayon::prelude::*;

use d2r_contracts::labels::{CHEXPERT_LABELS, LabelState};

use super::table_file;
use crate::catalogue::Visit;
use crate::config::Reporting;
use crate::error::Result;
use crate::layouts::identity::{Split, stream};
use crate::layouts::output_folder::OutputFolder;
use crate::planned_film::PlannedFilm;

/// JPEG quality of the films.
pub const JPEG_QUALITY: u8 = 92;

const METADATA: [&str; 12] = [
    "dicom_id",
    "subject_id",
    "study_id",
    "PerformedProcedureStepDescription",
    "ViewPosition",
    "Rows",
    "Columns",
    "StudyDate",
    "StudyTime",
    "ProcedureCodeSequence_CodeMeaning",
    "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
];

/// The folder of a subject: `p10/p10000032`.
pub fn subject_folder(subject_id: &str) -> String {
    format!("{}/{subject_id}", &subject_id[..subject_id.len().min(3)])
}

/// A film's path below `files`.
pub fn film_path(visit: &Visit, film: &PlannedFilm) -> String {
    format!("{}/{}/{}.jpg", subject_folder(&visit.subject_id), visit.study_id, film.image_id)
}

/// Writes the layout below `root` (a path inside `folder`).
///
/// # Errors
/// Those of [`OutputFolder::put`].
pub fn write(folder: &OutputFolder, root: &str, visits: &[Visit], seed: u64) -> Result<()> {
    visits.par_iter().try_for_each(|visit| -> Result<()> {
        for film in &visit.films {
            let path = format!("{root}/files/{}", film_path(visit, film));
            folder.put(&path, &film.jpeg(JPEG_QUALITY)?)?;
            folder.observer().written(1);
        }
        let text = report_file::text(visit, &mut stream(seed, "mimic report file", visit.index));
        folder
            .put(&format!("{root}/files/{}/{}.txt", subject_folder(&visit.subject_id), visit.study_id), text.as_bytes())
    })?;
    let table = |name: &str, rows: Vec<Vec<String>>, header: &[&str]| -> Result<()> {
        folder
            .put(&format!("{root}/mimic-cxr-2.0.0-{name}.csv.gz"), &table_file::gzip(&table_file::csv(header, &rows)?)?)
    };
    table("metadata", metadata(visits, seed), &METADATA)?;
    table("split", splits(visits), &["dicom_id", "study_id", "subject_id", "split"])?;
    let mut header = vec!["subject_id", "study_id"];
    header.extend(alphabetical());
    table("chexpert", chexpert(visits, seed), &header)
}

fn number(id: &str) -> String {
    id.trim_start_matches(['p', 's']).to_owned()
}

fn metadata(visits: &[Visit], seed: u64) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for visit in visits {
        // Dates of MIMIC are shifted into the future, the same way for all studies of a subject.
        let mut rng = stream(seed, "mimic date", visit.index);
        let date =
            format!("{}{:02}{:02}", rng.random_range(2110..2200), rng.random_range(1..=12), rng.random_range(1..=28));
        let time = format!(
            "{:02}{:02}{:02}.{:03}",
            rng.random_range(0..24),
            rng.random_range(0..60),
            rng.random_range(0..60),
            rng.random_range(0..1000)
        );
        for film in &visit.films {
            let (procedure, view_code) = match film.view_position() {
                "AP" => ("CHEST (PORTABLE AP)", "antero-posterior"),
                "LATERAL" => ("CHEST (PA AND LAT)", "lateral"),
                _ => ("CHEST (PA AND LAT)", "postero-anterior"),
            };
            let (width, height) = film.size();
            rows.push(vec![
                film.image_id.clone(),
                number(&visit.subject_id),
                number(&visit.study_id),
                procedure.to_owned(),
                film.view_position().to_owned(),
                height.to_string(),
                width.to_string(),
                date.clone(),
                time.clone(),
                procedure.to_owned(),
                view_code.to_owned(),
                "Erect".to_owned(),
            ]);
        }
    }
    rows
}

fn splits(visits: &[Visit]) -> Vec<Vec<String>> {
    let name = |split| match split {
        Split::Train => "train",
        Split::Val => "validate",
        Split::Test => "test",
    };
    let row = |visit: &Visit, film: &PlannedFilm| {
        vec![film.image_id.clone(), number(&visit.study_id), number(&visit.subject_id), name(visit.split).to_owned()]
    };
    visits.iter().flat_map(|visit| visit.films.iter().map(move |film| row(visit, film))).collect()
}

/// The labels in the table's order.
fn alphabetical() -> Vec<&'static str> {
    let mut labels = CHEXPERT_LABELS.to_vec();
    labels.sort_unstable();
    labels
}

fn chexpert(visits: &[Visit], seed: u64) -> Vec<Vec<String>> {
    let row = |visit: &Visit| {
        let states = visit.report.stated();
        let state = |label: &str| {
            let at = CHEXPERT_LABELS.iter().position(|l| *l == label);
            at.and_then(|at| states.get(at)).copied().unwrap_or(LabelState::Blank)
        };
        let doubt = visit.reporting == Reporting::Exact
            && state("Consolidation") == LabelState::Positive
            && stream(seed, "mimic doubt", visit.index).random_bool(0.05);
        let cell = |label: &str| match state(label) {
            _ if label == "Pneumonia" && doubt => "-1.0",
            LabelState::Positive => "1.0",
            LabelState::Negative => "0.0",
            LabelState::Uncertain => "-1.0",
            LabelState::Blank => "",
        };
        let mut row = vec![number(&visit.subject_id), number(&visit.study_id)];
        row.extend(alphabetical().into_iter().map(|label| cell(label).to_owned()));
        row
    };
    visits.iter().map(row).collect()
}
