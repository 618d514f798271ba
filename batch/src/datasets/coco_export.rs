//! COCO detection files: read as datasets, and built from rows of the lake. Categories go by name; image and
//! category ids are integers; boxes are `[x, y, width, height]` in original pixels. Images that were never read
//! make a document without `annotations`, as COCO's own unlabelled sets have it.

use std::collections::BTreeMap;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::LESION_CLASSES;
use d2r_contracts::space::Original;
use d2r_contracts::tables::{ImageRow, LesionRow};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A COCO detection document. Unknown fields are ignored when reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coco {
    /// What the file is.
    #[serde(default)]
    pub info: Info,
    /// The images, those without lesions included.
    pub images: Vec<CocoImage>,
    /// The classes.
    #[serde(default)]
    pub categories: Vec<Category>,
    /// The boxes; `None` when nobody looked at the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Vec<Annotation>>,
}

/// What the file is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Info {
    /// In words.
    pub description: String,
    /// Of the producing program.
    pub version: String,
}

/// An image. The last four fields are ours; other readers ignore them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CocoImage {
    /// Unique in the file.
    pub id: i64,
    /// Relative to the dataset's root.
    pub file_name: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The id in the `images` table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The visit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub study_id: Option<String>,
    /// The patient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_id: Option<String>,
    /// The projection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
}

/// A class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Category {
    /// Unique in the file.
    pub id: i64,
    /// VinDr label.
    pub name: String,
    /// Group of classes.
    #[serde(default)]
    pub supercategory: String,
}

/// A box.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Annotation {
    /// Unique in the file.
    #[serde(default)]
    pub id: i64,
    /// Its image.
    pub image_id: i64,
    /// Its class.
    pub category_id: i64,
    /// `[x, y, width, height]`.
    pub bbox: [f32; 4],
    /// `width * height`; the evaluation's size classes go by it.
    #[serde(default)]
    pub area: f64,
    /// 1 for a region that stands for many objects.
    #[serde(default)]
    pub iscrowd: u8,
    /// Reader agreement or detector confidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// What a document is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Every image that readers looked at, normal ones included, with its accepted fused lesions.
    Labelled,
    /// Every image with the accepted boxes of a detector, normal ones included.
    Pseudo,
    /// Every image, without annotations.
    ImagesOnly,
}

/// A COCO document from rows of one partition. Image ids count from 1 in the order of `images`, category ids are
/// the class id plus 1 (0 is the background of some readers), annotation ids count from 1.
///
/// # Errors
/// [`Error::BadData`] for an image whose size is not known (labels were read without images).
pub fn document(name: &str, images: &[ImageRow], lesions: &[LesionRow], content: Content) -> Result<Coco> {
    let mut by_image: BTreeMap<&str, Vec<&LesionRow>> = BTreeMap::new();
    let source = if content == Content::Pseudo { "pseudo" } else { "fused" };
    for lesion in lesions.iter().filter(|l| l.source == source && l.accepted) {
        by_image.entry(&lesion.image_id).or_default().push(lesion);
    }
    let mut coco = Coco {
        info: Info { description: name.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        images: Vec::new(),
        categories: (1..)
            .zip(LESION_CLASSES)
            .map(|(id, name)| Category { id, name: name.into(), supercategory: "lesion".into() })
            .collect(),
        annotations: None,
    };
    let mut annotations = Vec::new();
    for image in images.iter().filter(|i| content != Content::Labelled || i.n_boxes.is_some()) {
        let id = coco.images.len() as i64 + 1;
        coco.images.push(coco_image(id, image)?);
        for lesion in by_image.get(image.image_id.as_str()).into_iter().flatten() {
            let b = BoxXyxy::<Original>::new(lesion.x_min, lesion.y_min, lesion.x_max, lesion.y_max);
            annotations.push(Annotation {
                id: annotations.len() as i64 + 1,
                image_id: id,
                category_id: i64::from(lesion.class_id) + 1,
                bbox: b.to_xywh(),
                area: f64::from(b.width()) * f64::from(b.height()),
                iscrowd: 0,
                score: Some(lesion.score),
            });
        }
    }
    if content != Content::ImagesOnly {
        coco.annotations = Some(annotations);
    }
    Ok(coco)
}

fn coco_image(id: i64, image: &ImageRow) -> Result<CocoImage> {
    let size = image.width.zip(image.height).and_then(|(w, h)| Some((u32::try_from(w).ok()?, u32::try_from(h).ok()?)));
    let (width, height) = size.ok_or_else(|| {
        Error::bad_data(
            format!("table images, image {}", image.image_id),
            "its size is not known, since only labels were ingested; COCO needs it: ingest the dataset with its images",
        )
    })?;
    Ok(CocoImage {
        id,
        file_name: image.path.clone(),
        width,
        height,
        image_id: Some(image.image_id.clone()),
        study_id: Some(image.study_id.clone()),
        subject_id: Some(image.subject_id.clone()),
        view: Some(image.view.clone()),
    })
}

#[cfg(test)]
mod tests;
