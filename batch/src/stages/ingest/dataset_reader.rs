//! From a listing to rows: every image and every report is opened, in parallel. A worker holds one file at a time,
//! so memory is bounded by the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use d2r_contracts::report_text::{CleaningRules, clean};
use d2r_contracts::rows::Row;
use d2r_contracts::space::ImageSize;
use d2r_contracts::tables::{FailureRow, FindingRow, ImageRow, LesionRow, ReportRow};
use rayon::prelude::*;

use super::Settings;
use crate::context::Context;
use crate::datasets::lesion_rows::lesion_rows;
use crate::datasets::listing::{ListedImage, ListedStudy, Listing, ReportSource, Split};
use crate::datasets::projection::Projection;
use crate::datasets::report_sections::{NoSection, NotText, Section, SectionText, section, text_of};
use crate::datasets::source::{SourceError, measure};
use crate::error::Result;

/// The stage's name in the `failures` table.
pub const STAGE: &str = "ingest";

/// The rows of one split.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SplitRows {
    /// Radiographs that can be used.
    pub images: Vec<ImageRow>,
    pub lesions: Vec<LesionRow>,
    pub reports: Vec<ReportRow>,
    /// Labels of the reports.
    pub findings: Vec<FindingRow>,
    /// What cannot be used.
    pub failures: Vec<FailureRow>,
}

/// The rows of all splits.
pub type Rows = BTreeMap<Split, SplitRows>;

/// Reads what the listing names; `root` is the dataset's folder.
///
/// # Errors
/// [`crate::Error::Stopped`] after a signal.
pub fn read(ctx: &Context, root: &Path, listing: &Listing, settings: &Settings) -> Result<Rows> {
    let mut rows: Rows = Split::ALL.into_iter().map(|s| (s, SplitRows::default())).collect();
    let task = ctx.progress.task(STAGE, listing.images.len() as u64, "images");
    let images = listing
        .images
        .par_iter()
        .map(|image| {
            ctx.stop.check()?;
            let read = read_image(root, image, settings);
            task.advance(1);
            Ok(read)
        })
        .collect::<Result<Vec<ReadImage>>>()?;
    task.finish();
    let mut usable: BTreeSet<(Split, &str)> = BTreeSet::new();
    for (listed, read) in listing.images.iter().zip(images) {
        let part = rows.entry(listed.split).or_default();
        if read.row.is_some() {
            usable.insert((listed.split, &listed.study_id));
        }
        part.images.extend(read.row);
        part.lesions.extend(read.lesions);
        part.failures.extend(read.failures);
    }
    // A report without a usable radiograph is no training example.
    let studies: Vec<&ListedStudy> =
        listing.studies.iter().filter(|s| usable.contains(&(s.split, s.study_id.as_str()))).collect();
    let partial = AtomicU64::new(0);
    let reports = studies
        .par_iter()
        .map(|study| {
            ctx.stop.check()?;
            Ok(read_report(root, study, listing.cleaning, settings.section, &partial))
        })
        .collect::<Result<Vec<_>>>()?;
    let partial = partial.into_inner();
    if partial > 0 {
        tracing::info!(reports = partial, "one of findings and impression is missing; the other one is used alone");
    }
    for (study, report) in studies.into_iter().zip(reports) {
        let part = rows.entry(study.split).or_default();
        match report {
            None => {}
            Some(Ok(row)) => part.reports.push(row),
            Some(Err(row)) => part.failures.push(row),
        }
        part.findings.extend(study.labels.iter().map(|(label, state)| FindingRow {
            study_id: study.study_id.clone(),
            report_id: None,
            origin: "reference".into(),
            label: (*label).to_owned(),
            state: state.as_str().to_owned(),
        }));
    }
    for failure in &listing.failures {
        let reason = SourceError { code: failure.code, message: failure.message.clone() };
        let row = reason.into_row(STAGE, &failure.path, failure.image_id.as_deref());
        rows.entry(failure.split).or_default().failures.push(row);
    }
    for part in rows.values_mut() {
        part.failures.sort_by(Row::key_cmp);
        part.failures.dedup_by(|a, b| a.key_cmp(b).is_eq());
    }
    Ok(rows)
}

/// One image as far as it can be used.
#[derive(Debug, Default)]
struct ReadImage {
    row: Option<ImageRow>,
    lesions: Vec<LesionRow>,
    failures: Vec<FailureRow>,
}

fn read_image(root: &Path, image: &ListedImage, settings: &Settings) -> ReadImage {
    let mut row = ImageRow {
        image_id: image.image_id.clone(),
        study_id: image.study_id.clone(),
        subject_id: image.subject_id.clone(),
        view: image.projection.as_str().into(),
        path: image.path.clone(),
        width: None,
        height: None,
        sha256: None,
        n_boxes: None,
        burned_in_annotation: None,
    };
    let mut size = None;
    let fail = |reason: SourceError| reason.into_row(STAGE, &image.path, Some(&image.image_id));
    if !settings.list.labels_only {
        match measure(&root.join(&image.path), &settings.decode) {
            Err(reason) => return ReadImage { failures: vec![fail(reason)], ..ReadImage::default() },
            Ok(measured) => {
                let radiograph = &measured.decoded.radiograph;
                size = Some(ImageSize { width: radiograph.width, height: radiograph.height });
                row.width = i32::try_from(radiograph.width).ok();
                row.height = i32::try_from(radiograph.height).ok();
                row.sha256 = Some(measured.sha256);
                row.burned_in_annotation = measured.decoded.burned_in_annotation();
                // The projection in the file's header takes precedence over the dataset's tables.
                match measured.decoded.projection.as_deref().map_or(Projection::Unknown, Projection::parse) {
                    Projection::Unknown => {}
                    projection => row.view = projection.as_str().into(),
                }
            }
        }
    }
    let lesions = lesion_rows(image, size, &settings.fusion);
    row.n_boxes = lesions.n_boxes;
    let mut failures = Vec::new();
    if !lesions.outside.is_empty() {
        let extent = size.map_or_else(|| "size unknown".to_owned(), |s| format!("{} x {}", s.width, s.height));
        let list = lesions.outside.iter().map(|(who, b)| format!("{who} {b:?}")).collect::<Vec<_>>().join(", ");
        let message = format!("outside the image ({extent}) and left out: {list}; does the file belong to the labels?");
        failures.push(fail(SourceError { code: "box_outside_image", message }));
    }
    ReadImage { row: Some(row), lesions: lesions.rows, failures }
}

/// A study's report; `None` when it has none (the listing has the reason).
fn read_report(
    root: &Path,
    study: &ListedStudy,
    cleaning: CleaningRules,
    wanted: Section,
    partial: &AtomicU64,
) -> Option<Result<ReportRow, FailureRow>> {
    let fail =
        |path: &str, code: &'static str, message: String| SourceError { code, message }.into_row(STAGE, path, None);
    let (place, text) = match study.report.as_ref()? {
        // The file does not name the section of its text: it counts as the configured one.
        ReportSource::Text(text) => (study.study_id.as_str(), Ok(text.trim().to_owned())),
        ReportSource::File(path) => {
            let found = read_section(&root.join(path), wanted).inspect(|found| {
                partial.fetch_add(u64::from(found.partial), Ordering::Relaxed);
            });
            (path.as_str(), found.map(|found| found.text))
        }
    };
    Some(
        text.and_then(|text| {
            let text_clean = clean(&text, cleaning);
            if text_clean.chars().any(char::is_alphanumeric) {
                let section = wanted.as_str().to_owned();
                Ok(ReportRow { study_id: study.study_id.clone(), section, text, text_clean })
            } else {
                Err(("empty_section", "nothing but punctuation; the study is kept without a report".to_owned()))
            }
        })
        .map_err(|(code, message)| fail(place, code, message)),
    )
}

fn read_section(path: &Path, wanted: Section) -> Result<SectionText, (&'static str, String)> {
    let bytes =
        std::fs::read(path).map_err(|e| ("unreadable", format!("{}; check the file's permissions", e.kind())))?;
    let report = text_of(&bytes).map_err(|NotText| {
        ("not_text", "neither UTF-8 nor UTF-16 nor Windows-1252 text; save the file as UTF-8".to_owned())
    })?;
    let name = wanted.as_str();
    match section(&report, wanted) {
        Ok(found) => Ok(found),
        Err(NoSection::Missing) => Err((
            "missing_section",
            format!("no heading for {name}; ingest.section = \"both\" takes whichever section is there"),
        )),
        Err(NoSection::Empty) => {
            Err(("empty_section", format!("nothing under the heading for {name}; the study is kept without a report")))
        }
    }
}
