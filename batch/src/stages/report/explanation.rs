//! The picture of a report: the radiograph with its boxes, and which sentence is linked to which box (`--explain`).

use std::path::Path;

use d2r_contracts::report_text::readable_sentences;

use crate::error::{Error, Result};
use crate::eval::page::gallery::{CaseBox, picture};
use crate::eval::page::overlay::{Overlay, OverlaySentence, render};
use crate::lake::atomic_file;
use crate::stages::report::images::ReportImage;
use crate::stages::report::report_writer::ImageReports;
use crate::stages::report::text_files::file_of_image;
use crate::training::model_card::NOTICE;

/// Writes `<image>.svg` with the image's first report into `folder`.
pub fn write_explanation(folder: &Path, image: &ReportImage, reports: &ImageReports) -> Result<()> {
    let Some(report) = reports.reports.first() else { return Ok(()) };
    let rows = reports.boxes.iter().map(|&i| &reports.lesions[i]);
    let boxes: Vec<CaseBox> = rows
        .map(|row| CaseBox {
            box_id: row.box_id.clone(),
            class_id: row.class_id,
            class_name: row.class_name.clone(),
            score: Some(row.score),
            region: row.region(),
        })
        .collect();
    let texts = readable_sentences(&report.text);
    let sentences: Vec<OverlaySentence> =
        report.sentences.iter().zip(texts).map(|(s, text)| OverlaySentence { text, links: s.links.clone() }).collect();
    let overlay = Overlay {
        image_id: &image.row.image_id,
        picture: &picture(&image.radiograph)?,
        size: image.radiograph.size(),
        boxes: &boxes,
        sentences: &sentences,
        notice: NOTICE,
    };
    atomic_file::create_folders(folder)?;
    let path = folder.join(file_of_image(&image.row.image_id, "svg"));
    atomic_file::write(&path, |w| w.write_all(render(&overlay).as_bytes()).map_err(|e| Error::io("write", &path, e)))?;
    Ok(())
}
