//! From a listing to rows: every image and every report is opened, in parallel. A worker holds one file at a time,
//! so memory is bounded by the rows. Boxes are judged when the sizes of all images are known.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::report_text::{CleaningRules, clean};
use d2r_contracts::rows::Row;
use d2r_contracts::space::ImageSize;
use d2r_contracts::tables::{FailureRow, FindingRow, ImageRow, LesionRow, ReportRow};
use rayon::prelude::*;

use super::{Settings, header_flags};
use crate::context::Context;
use crate::datasets::frames::turned_boxes::in_shown_frame;
use crate::datasets::fusion::BOXES_PER_IMAGE_MAX;
use crate::datasets::label_files::size_limits::{REPORT_CHARS_MAX, REPORT_FILE_BYTES_MAX, read_at_most};
use crate::datasets::lesion_rows::{
    BOX_OUTSIDE, Lesions, OutsideBox, in_another_frame, is_in_own_frame, is_share, lesion_rows,
};
use crate::datasets::listing::{Labels, ListedImage, ListedStudy, Listing, ReportSource, Split};
use crate::datasets::projection::Projection;
use crate::datasets::report_sections::{NoSection, NotText, Section, SectionText, section, text_of};
use crate::datasets::source::{SourceError, measure};
use crate::error::{Error, Result};

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
        .collect::<Result<Vec<Result<ReadImage, FailureRow>>>>()?;
    task.finish();
    let mut usable: BTreeSet<(Split, &str)> = BTreeSet::new();
    check_scaled_already(&images)?;
    let lesions = lesions_of(&images, settings, &listing.labels);
    for ((listed, read), lesions) in listing.images.iter().zip(images).zip(lesions) {
        let part = rows.entry(listed.split).or_default();
        match read {
            Err(failure) => part.failures.push(failure),
            Ok(ReadImage { row, size, failure, .. }) => {
                usable.insert((listed.split, &listed.study_id));
                part.failures.extend(failure);
                part.failures.extend(outside_rows(listed, size, &lesions));
                part.images.push(ImageRow { n_boxes: lesions.n_boxes, ..row });
                part.lesions.extend(lesions.rows);
            }
        }
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

/// An image that was opened.
#[derive(Debug)]
struct ReadImage<'a> {
    row: ImageRow,
    /// `None` when only labels are read.
    size: Option<ImageSize>,
    /// As listed, with boxes in the frame of the image as it is shown.
    annotated: Cow<'a, ListedImage>,
    /// Why its boxes cannot be used.
    failure: Option<FailureRow>,
}

fn read_image<'a>(root: &Path, image: &'a ListedImage, settings: &Settings) -> Result<ReadImage<'a>, FailureRow> {
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
    let fail = |reason: SourceError| reason.into_row(STAGE, &image.path, Some(&image.image_id));
    // Boxes that cannot be used leave the image unread, never normal.
    let without_boxes = |reason| {
        let unread = ListedImage { labels: Labels::Unannotated, ..image.clone() };
        (Cow::Owned(unread), Some(fail(reason)))
    };
    let n_boxes = image.labels.boxes().len();
    let too_many = (n_boxes > BOXES_PER_IMAGE_MAX).then(|| SourceError {
        code: "too_many_boxes",
        message: format!("{n_boxes} boxes, at most {BOXES_PER_IMAGE_MAX} are read; the image stays unread"),
    });
    if settings.list.labels_only {
        let (annotated, failure) = too_many.map_or((Cow::Borrowed(image), None), without_boxes);
        return Ok(ReadImage { row, size: None, annotated, failure });
    }
    let measured = measure(&root.join(&image.path), &settings.decode).map_err(fail)?;
    let radiograph = &measured.decoded.radiograph;
    let size = ImageSize { width: radiograph.width, height: radiograph.height };
    row.width = i32::try_from(radiograph.width).ok();
    row.height = i32::try_from(radiograph.height).ok();
    row.sha256 = Some(measured.sha256);
    row.burned_in_annotation = measured.decoded.burned_in_annotation();
    if settings.refuse_burned_in {
        header_flags::refuse_burned_in(row.burned_in_annotation).map_err(fail)?;
    }
    // The projection in the file's header takes precedence over the dataset's tables.
    match measured.decoded.projection.as_deref().map_or(Projection::Unknown, Projection::parse) {
        Projection::Unknown => {}
        projection => row.view = projection.as_str().into(),
    }
    let placed = || in_shown_frame(image, measured.decoded.stored_size, measured.decoded.orientation);
    let (annotated, failure) = match too_many.map_or_else(placed, Err) {
        Ok(annotated) => (annotated, None),
        Err(reason) => without_boxes(reason),
    };
    Ok(ReadImage { row, size: Some(size), annotated, failure })
}

/// Images with boxes outside them are evidence of another frame from this number on.
const FRAME_EVIDENCE: usize = 10;

/// Sizes of larger originals contradict boxes which all fit the copies: from this number of images on it is no chance.
const COPY_EVIDENCE: usize = 20;
/// An original that is larger than its copy.
const LARGER: f32 = 1.5;

/// Boxes that were scaled to the copies are not scaled again.
fn check_scaled_already(images: &[Result<ReadImage, FailureRow>]) -> Result<()> {
    let mut copies = images.iter().flatten().filter_map(|image| {
        let (frame, size) = (image.annotated.frame?, image.size?);
        let boxes = image.annotated.labels.boxes();
        let larger = frame.width >= LARGER * size.width as f32 && frame.height >= LARGER * size.height as f32;
        let fit = boxes.iter().all(|(_, b)| b.bbox.x_max <= size.width as f32 && b.bbox.y_max <= size.height as f32);
        (larger && !boxes.is_empty()).then_some(fit)
    });
    let (mut n, mut all_fit) = (0, true);
    for fit in copies.by_ref() {
        n += 1;
        all_fit &= fit;
    }
    if n < COPY_EVIDENCE || !all_fit {
        return Ok(());
    }
    let problem = "the sizes of the originals are given, but all boxes fit the resized copies: they were scaled already; remove \
                   the table of sizes, or correct width and height";
    Err(Error::bad_data(format!("{n} images with boxes"), problem))
}

/// The lesions of every image. Where boxes of most images are outside them, the boxes that happen to fit are in the same
/// wrong frame: all of these images are unread.
fn lesions_of(images: &[Result<ReadImage, FailureRow>], settings: &Settings, labels: &LabelSet) -> Vec<Lesions> {
    let mut lesions: Vec<Lesions> = images
        .par_iter()
        .map(|image| match image {
            Ok(ReadImage { annotated, size, .. }) => lesion_rows(annotated, *size, &settings.fusion, labels),
            Err(_) => Lesions::default(),
        })
        .collect();
    let in_own_frame: Vec<(usize, &ReadImage)> = images
        .iter()
        .enumerate()
        .filter_map(|(i, image)| Some((i, image.as_ref().ok()?)))
        .filter(|(_, i)| i.size.is_some() && !i.annotated.labels.boxes().is_empty())
        .filter(|(_, i)| is_in_own_frame(&i.annotated, i.size))
        .collect();
    let hit = in_own_frame.iter().filter(|(i, _)| !lesions[*i].outside.is_empty()).count();
    if hit >= FRAME_EVIDENCE && hit * 2 > in_own_frame.len() {
        for (i, image) in in_own_frame {
            lesions[i] = in_another_frame(&image.annotated, image.size);
        }
    }
    lesions
}

/// A row for every box outside its image.
fn outside_rows(image: &ListedImage, size: Option<ImageSize>, lesions: &Lesions) -> Vec<FailureRow> {
    let extent = size.map_or_else(|| "of unknown size".to_owned(), |s| format!("of {} x {} pixels", s.width, s.height));
    let unread = if lesions.n_boxes.is_none() { "; the image stays unread" } else { "" };
    let row = |outside: &OutsideBox| {
        let OutsideBox { annotator, bbox, listed, place } = outside;
        let message = if is_share(listed) {
            format!("{annotator}'s {listed:?} has shares of the image as coordinates; pixels are needed{unread}")
        } else {
            format!(
                "{annotator}'s {bbox:?} is outside its image {extent}: coordinates of a larger image need its size \
                 (train_meta.csv in the folder, or --original-size FILE){unread}"
            )
        };
        let place = if place.is_empty() { &image.path } else { place };
        SourceError { code: BOX_OUTSIDE, message }.into_row(STAGE, place, Some(&image.image_id))
    };
    lesions.outside.iter().map(row).collect()
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
        ReportSource::Sections { path, findings, impression } => {
            let found = chosen(findings, impression, wanted).inspect(|found| {
                partial.fetch_add(u64::from(found.partial), Ordering::Relaxed);
            });
            (path.as_str(), found.map(|found| found.text).map_err(|reason| no_section(reason, wanted)))
        }
        ReportSource::File(path) => {
            let found = read_section(&root.join(path), wanted).inspect(|found| {
                partial.fetch_add(u64::from(found.partial), Ordering::Relaxed);
            });
            (path.as_str(), found.map(|found| found.text))
        }
    };
    Some(
        text.and_then(|text| {
            let n_chars = text.chars().count();
            if n_chars > REPORT_CHARS_MAX {
                let most = format!("{n_chars} characters, at most {REPORT_CHARS_MAX} are read");
                return Err(("too_long", format!("{most}; the study is kept without a report")));
            }
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
    let bytes = read_at_most(path, REPORT_FILE_BYTES_MAX)
        .map_err(|e| ("unreadable", format!("{}; check the file's permissions", e.kind())))?
        .ok_or_else(|| ("too_large", format!("more than {REPORT_FILE_BYTES_MAX} bytes; is this a report?")))?;
    let report = text_of(&bytes).map_err(|NotText| {
        ("not_text", "neither UTF-8 nor UTF-16 nor Windows-1252 text; save the file as UTF-8".to_owned())
    })?;
    section(&report, wanted).map_err(|reason| no_section(reason, wanted))
}

/// The wanted one of two sections that a file holds apart.
fn chosen(findings: &str, impression: &str, wanted: Section) -> Result<SectionText, NoSection> {
    let whole = |text: &str| SectionText { text: text.to_owned(), partial: false };
    match (wanted, findings.is_empty(), impression.is_empty()) {
        (Section::Findings, false, _) => Ok(whole(findings)),
        (Section::Impression, _, false) => Ok(whole(impression)),
        (Section::Both, false, false) => Ok(whole(&format!("{findings}\n{impression}"))),
        (Section::Both, false, true) => Ok(SectionText { partial: true, ..whole(findings) }),
        (Section::Both, true, false) => Ok(SectionText { partial: true, ..whole(impression) }),
        _ => Err(NoSection::Missing),
    }
}

fn no_section(reason: NoSection, wanted: Section) -> (&'static str, String) {
    let name = wanted.as_str();
    match reason {
        NoSection::Missing => (
            "missing_section",
            format!("no heading for {name}; ingest.section = \"both\" takes whichever section is there"),
        ),
        NoSection::Empty => {
            ("empty_section", format!("nothing under the heading for {name}; the study is kept without a report"))
        }
    }
}
