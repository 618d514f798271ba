//! Open-i's Indiana University collection as published: a report a file in `ecgen-radiology/*.xml`, with its sections
//! (`<AbstractText Label="FINDINGS">`), its images (`<parentImage id="CXR1_1_IM-0001-3001">`) and MeSH terms; images in
//! `NLMCXR_png/<id>.png`. There are no boxes, patients or projections; the split is by report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use d2r_contracts::label_map::chexpert_label_of;
use d2r_contracts::labels::{CHEXPERT_LABELS, LabelState};
use d2r_contracts::report_text::CleaningRules;
use roxmltree::{Document, Node, ParsingOptions};

use crate::datasets::file_name::{image_id_of, is_no_data};
use crate::datasets::image_index::ImageIndex;
use crate::datasets::label_files::size_limits::{REPORT_FILE_BYTES_MAX, read_at_most};
use crate::datasets::listing::{
    Labels, ListOptions, ListedFailure, ListedImage, ListedStudy, Listing, ReportSource, Split, relative,
};
use crate::datasets::projection::Projection;
use crate::datasets::report_sections::{NotText, text_of};
use crate::error::{Error, Result};

/// Folders of the reports, relative to the root.
const REPORT_FOLDERS: [&str; 4] = ["ecgen-radiology", "NLMCXR_reports/ecgen-radiology", "NLMCXR_reports", "reports"];

/// Lists an Open-i folder.
///
/// # Errors
/// [`Error::InputMissing`] without reports or without images.
pub fn list(root: &Path, options: &ListOptions) -> Result<Listing> {
    let reports = report_files(root)?;
    let images = if options.labels_only { None } else { Some(index(root)?) };
    let mut listing = Listing::new("openi", CleaningRules::IuXray);
    listing.labels = options.labels.known(listing.layout)?;
    let mut parser = ReportParser { images, options, studies: BTreeMap::new(), seen: BTreeSet::new() };
    for path in reports {
        let name = relative(root, &path).unwrap_or_default();
        let report = match read_at_most(&path, REPORT_FILE_BYTES_MAX).map_err(|e| Error::io("read", &path, e))? {
            Some(bytes) => parse(&bytes).map_err(|problem| ("bad_xml", format!("{problem}; download the file again"))),
            None => Err(("too_large", format!("more than {REPORT_FILE_BYTES_MAX} bytes; is this a report?"))),
        };
        match report {
            Ok(report) => parser.add(report, name, &mut listing),
            Err((code, message)) => {
                listing.failures.push(ListedFailure { split: Split::Train, path: name, image_id: None, code, message });
            }
        }
    }
    Ok(listing.sorted())
}

fn report_files(root: &Path) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(root).map_err(|e| Error::io("list", root, e))?;
    for folder in REPORT_FOLDERS {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        let names = entries.flatten().map(|e| e.file_name()).filter(|name| !is_no_data(name));
        let mut files: Vec<PathBuf> = names
            .filter(|name| Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("xml")))
            .map(|name| root.join(folder).join(name))
            .collect();
        if !files.is_empty() {
            files.sort();
            return Ok(files);
        }
    }
    let hint = "nor in NLMCXR_reports/ecgen-radiology/ or reports/; unpack NLMCXR_reports.tgz into the folder";
    Err(Error::missing(root.join("ecgen-radiology/*.xml"), hint))
}

fn index(root: &Path) -> Result<ImageIndex> {
    let is_image_folder = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("nlmcxr_png") || name.starts_with("nlmcxr_dcm") || name.starts_with("images")
    };
    let index = ImageIndex::of(root, is_image_folder)?;
    if index.is_empty() {
        let hint = "nor is any other image there; unpack NLMCXR_png.tgz into the folder, or pass --labels-only";
        return Err(Error::missing(root.join("NLMCXR_png/*.png"), hint));
    }
    Ok(index)
}

/// What is read of a report.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    /// For instance `CXR1`; empty where the file has none.
    id: String,
    findings: String,
    impression: String,
    image_ids: Vec<String>,
    /// `Cardiomegaly/mild`, `normal`.
    mesh: Vec<String>,
}

fn parse(bytes: &[u8]) -> Result<Report, String> {
    let text = text_of(bytes).map_err(|NotText| "no text".to_owned())?;
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&text, options).map_err(|e| format!("not XML ({e})"))?;
    let root = document.root_element();
    let elements = |name: &'static str| root.descendants().filter(move |n| n.has_tag_name(name));
    let section = |label: &str| {
        let named = |n: &Node| {
            n.attributes()
                .any(|a| a.name().eq_ignore_ascii_case("label") && a.value().trim().eq_ignore_ascii_case(label))
        };
        elements("AbstractText")
            .filter(named)
            .map(|n| content(&n))
            .filter(|t| !t.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let report = Report {
        id: elements("uId").find_map(|n| n.attribute("id")).unwrap_or_default().trim().to_owned(),
        findings: section("FINDINGS"),
        impression: section("IMPRESSION"),
        image_ids: elements("parentImage")
            .filter_map(|n| n.attribute("id"))
            .map(|id| image_id_of(id).to_owned())
            .filter(|id| !id.is_empty())
            .collect(),
        mesh: elements("MeSH")
            .flat_map(|n| n.children())
            .filter(|n| n.has_tag_name("major"))
            .map(|n| content(&n))
            .collect(),
    };
    if root.tag_name().name() != "eCitation" && report.image_ids.is_empty() {
        return Err(format!("not a report of Open-i: its root is `{}`", root.tag_name().name()));
    }
    Ok(report)
}

/// All text in an element, on one line.
fn content(node: &Node) -> String {
    let text: String = node.descendants().filter(Node::is_text).filter_map(|n| n.text()).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct ReportParser<'a> {
    /// `None` when only labels are read.
    images: Option<ImageIndex>,
    options: &'a ListOptions,
    /// Study to the file of its report.
    studies: BTreeMap<String, String>,
    seen: BTreeSet<String>,
}

impl ReportParser<'_> {
    fn add(&mut self, report: Report, file: String, listing: &mut Listing) {
        let study_id =
            if report.id.is_empty() { image_id_of(&file).trim_end_matches(".xml").to_owned() } else { report.id };
        let split = Split::of_train_patient(self.options.seed, &study_id, self.options.val_share);
        let mut fail = |image_id: Option<&str>, place: String, code, message: String| {
            let image_id = image_id.map(str::to_owned);
            listing.failures.push(ListedFailure { split, path: place, image_id, code, message });
        };
        if let Some(first) = self.studies.get(&study_id) {
            let message = format!("{first} has the id {study_id} already, which is kept");
            return fail(None, file, "duplicate_id", message);
        }
        self.studies.insert(study_id.clone(), file.clone());
        if report.image_ids.is_empty() {
            // 104 of the published reports have none.
            return listing.note("reports_without_images");
        }
        let mut images = Vec::new();
        for image_id in report.image_ids {
            let place = format!("{file}#{image_id}");
            if !self.seen.insert(image_id.clone()) {
                let message = "another report, or this one, has the image already; the earlier one is kept".to_owned();
                fail(Some(&image_id), place, "duplicate_id", message);
                continue;
            }
            let path = match &self.images {
                None => Some(format!("NLMCXR_png/{image_id}.png")),
                Some(index) => index.find(&image_id).map(str::to_owned),
            };
            match path {
                Some(path) => images.push((image_id, path)),
                None => {
                    let message = "no such file in NLMCXR_png/; unpack NLMCXR_png.tgz into the folder".to_owned();
                    fail(Some(&image_id), place, "missing_file", message);
                }
            }
        }
        if report.findings.is_empty() && report.impression.is_empty() {
            let message = "neither FINDINGS nor IMPRESSION; the images are kept without a report".to_owned();
            fail(None, file.clone(), "missing_report", message);
        }
        let states = chexpert_states(&report.mesh);
        if states.is_empty() {
            listing.note("reports_without_mesh_terms");
        }
        listing.images.extend(images.into_iter().map(|(image_id, path)| ListedImage {
            image_id,
            study_id: study_id.clone(),
            subject_id: study_id.clone(),
            split,
            projection: Projection::Unknown,
            path,
            frame: None,
            labels: Labels::Unannotated,
        }));
        let (findings, impression) = (report.findings, report.impression);
        let has_text = !findings.is_empty() || !impression.is_empty();
        let source = has_text.then_some(ReportSource::Sections { path: file, findings, impression });
        listing.studies.push(ListedStudy { study_id, split, report: source, labels: states });
    }
}

/// The 14 CheXpert labels of MeSH terms: what a term stands for is positive, the rest blank; none without a term.
fn chexpert_states(mesh: &[String]) -> Vec<(&'static str, LabelState)> {
    if mesh.is_empty() {
        return Vec::new();
    }
    let of_term = |term: &String| {
        let parts: Vec<&str> = term.split('/').map(str::trim).collect();
        // The longest beginning that is known: `Thickening/pleura/apex` is not any thickening.
        (1..=parts.len()).rev().find_map(|n| chexpert_label_of(&parts[..n].join("/")).ok()).flatten()
    };
    let positive: BTreeSet<&str> = mesh.iter().filter_map(of_term).collect();
    let state = |label| if positive.contains(label) { LabelState::Positive } else { LabelState::Blank };
    CHEXPERT_LABELS.map(|label| (label, state(label))).to_vec()
}

#[cfg(test)]
mod tests;
