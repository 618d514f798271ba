//! Issues with the pictures that they are about, as small JPEG files.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::space::{ImageSize, Original};
use rayon::prelude::*;

use crate::audit::images::{AuditedImage, Images};
use crate::audit::issue::{Issue, Subject};
use crate::audit::kind::Kind;
use crate::audit::pictures::read;
use crate::error::Result;
use crate::eval::page::gallery::picture_of_size;
use crate::lake::Partition;

/// Issues of a kind that are shown with pictures, and those that are only named.
pub const SHOWN: usize = 12;
/// Longest side of a thumbnail, pixels.
const THUMBNAIL: u32 = 256;

/// An issue and its pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    pub issue: Issue,
    /// One image, or both of a pair.
    pub pictures: Vec<ShownPicture>,
}

/// A picture on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownPicture {
    pub subject: Subject,
    /// Original pixels.
    pub size: ImageSize,
    /// JPEG bytes, or why the file cannot be read.
    pub jpeg: std::result::Result<Vec<u8>, String>,
    /// A box of the issue, or where the other image of a pair lies in this one.
    pub region: Option<BoxXyxy<Original>>,
}

/// The first issues of every kind, with pictures where the issue is about images.
///
/// # Errors
/// When a picture cannot be encoded: a defect of the program.
pub fn cards(images: &Images, issues: &[Issue], options: &ImageDecodeOptions) -> Result<Vec<Card>> {
    let mut chosen: Vec<&Issue> = Vec::new();
    for kind in Kind::all() {
        chosen.extend(issues.iter().filter(|i| i.kind == kind).take(SHOWN));
    }
    chosen.par_iter().map(|issue| card(images, issue, options)).collect()
}

fn card(images: &Images, issue: &Issue, options: &ImageDecodeOptions) -> Result<Card> {
    let of = |subject: &Subject, id: &str| images.find(&Partition::new(&subject.dataset, &subject.split), id);
    let image_id = issue.image_id.as_deref().unwrap_or(&issue.subject.id);
    let first = of(&issue.subject, image_id);
    // The other one of a pair of boxes is in the same image.
    let second = issue.other.as_ref().filter(|_| issue.image_id.is_none()).and_then(|o| of(o, &o.id));
    let region = issue.region.map(|[x_min, y_min, x_max, y_max]| BoxXyxy::new(x_min, y_min, x_max, y_max));
    let mut pictures = Vec::new();
    for (image, region) in [(first, region), (second, None)] {
        if let Some(image) = image {
            pictures.push(shown(images, image, region, options)?);
        }
    }
    Ok(Card { issue: issue.clone(), pictures })
}

fn shown(
    images: &Images,
    image: AuditedImage<'_>,
    region: Option<BoxXyxy<Original>>,
    options: &ImageDecodeOptions,
) -> Result<ShownPicture> {
    let pixels = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(THUMBNAIL);
    let mut size = ImageSize { width: pixels(image.row.width), height: pixels(image.row.height) };
    let jpeg = match read(images, image, options) {
        Err(reason) => Err(reason.code.to_owned()),
        Ok(radiograph) => {
            size = radiograph.size();
            Ok(picture_of_size(&radiograph, THUMBNAIL)?)
        }
    };
    Ok(ShownPicture { subject: image.subject(), size, jpeg, region })
}
