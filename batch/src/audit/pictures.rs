//! Reads every picture of the audited images once: what is unusual about its grey levels, and what is kept of it to find
//! copies.

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::picture::copy_search::{Picture, measured};
use d2r_contracts::picture::statistics::{Statistics, Unusual};
use d2r_contracts::radiograph::Radiograph;
use rayon::prelude::*;

use crate::audit::images::{AuditedImage, Images};
use crate::audit::issue::Issue;
use crate::audit::kind::Kind;
use crate::datasets::projection::Projection;
use crate::datasets::source::{SourceError, read_radiograph};
use crate::error::Result;
use crate::progress::Task;
use crate::stop::StopFlag;

/// Pictures read between two checks of the stop flag. Only what is kept of them stays in memory.
const CHUNK: usize = 256;

/// What reading the pictures gave.
#[derive(Debug, Default)]
pub struct PicturesRead {
    pub issues: Vec<Issue>,
    /// The image's number in [`Images`], and what is kept of its picture.
    pub kept: Vec<(usize, Picture)>,
    /// Pictures that could be read.
    pub read: usize,
}

/// Reads all pictures, in parallel.
///
/// # Errors
/// [`crate::error::Error::Stopped`] on a signal. A picture that cannot be read is an issue.
pub fn read_all(images: &Images, options: &ImageDecodeOptions, task: &Task, stop: &StopFlag) -> Result<PicturesRead> {
    let mut all = PicturesRead::default();
    let numbers: Vec<usize> = (0..images.len()).collect();
    for chunk in numbers.chunks(CHUNK) {
        stop.check()?;
        let read: Vec<_> = chunk
            .par_iter()
            .map(|&number| {
                let found = read(images, images.get(number), options).map(|radiograph| measured(&radiograph));
                task.advance(1);
                (number, found)
            })
            .collect();
        for (number, found) in read {
            let image = images.get(number);
            match found {
                Err(reason) => all.issues.push(Issue {
                    detail: Some(format!("{}: {}", reason.code, reason.message)),
                    ..Issue::new(Kind::ImageUnreadable, image.subject())
                }),
                Ok((statistics, pictures)) => {
                    all.read += 1;
                    all.issues.extend(unusual(image, &statistics));
                    all.kept.extend(pictures.into_iter().map(|picture| (number, picture)));
                }
            }
        }
    }
    Ok(all)
}

/// Reads one picture.
///
/// # Errors
/// Why it cannot be read.
pub fn read(images: &Images, image: AuditedImage<'_>, options: &ImageDecodeOptions) -> Result<Radiograph, SourceError> {
    let Some(root) = images.root(image) else {
        let message = "datasets.json does not name the dataset; run `d2r ingest`".to_owned();
        return Err(SourceError { code: "missing_file", message });
    };
    read_radiograph(root, image.row, options)
}

fn unusual(image: AuditedImage<'_>, statistics: &Statistics) -> Vec<Issue> {
    let lateral = image.row.view == Projection::Lateral.as_str();
    let issue = |what: Unusual| {
        let Statistics { low, high, one_level_share, border_share, frontal } = *statistics;
        let (kind, detail) = match what {
            Unusual::Constant => {
                (Kind::ImageConstant, format!("{:.1} % of the pixels have one grey level", 100.0 * one_level_share))
            }
            Unusual::LowContrast => (Kind::ImageLowContrast, format!("grey levels {low} to {high}")),
            Unusual::WideBorder => (Kind::ImageWideBorder, format!("{:.0} % of the area", 100.0 * border_share)),
            Unusual::Inverted => (Kind::ImageInverted, format!("agreement with a frontal chest {frontal:.2}")),
        };
        Issue { detail: Some(detail), ..Issue::new(kind, image.subject()) }
    };
    statistics.unusual(lateral).into_iter().map(issue).collect()
}
