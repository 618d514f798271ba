//! A COCO detection document ([`Coco`]) from rows of the lake.

use std::collections::BTreeMap;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::label_set::LabelSet;
use d2r_contracts::space::Original;
use d2r_contracts::tables::{ImageRow, LesionRow};

use crate::datasets::coco_document::{Annotation, Category, Coco, CocoImage, Info};
use crate::datasets::layouts::coco::image_ids::ImageIds;
use crate::error::{Error, Result};

/// Which images and boxes a document has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Every annotated image, normal ones included, with its accepted fused lesions.
    Labelled,
    /// Every image with the accepted boxes of a detector, normal ones included.
    Pseudo,
    /// Every image, without annotations.
    ImagesOnly,
}

/// A COCO document from rows of one partition, whose boxes have the classes of `labels`. Image ids are those of `ids`,
/// else they count from 1 in the order of `images`; category ids are those of [`LabelSet::source_id`], annotation ids
/// count from 1.
///
/// # Errors
/// [`Error::BadData`] for an image whose size is not known (only labels were ingested), or that `ids` lacks.
pub fn document(
    name: &str,
    images: &[ImageRow],
    lesions: &[LesionRow],
    content: Content,
    labels: &LabelSet,
    ids: Option<&ImageIds>,
) -> Result<Coco> {
    let mut by_image: BTreeMap<&str, Vec<&LesionRow>> = BTreeMap::new();
    let source = if content == Content::Pseudo { "pseudo" } else { "fused" };
    for lesion in lesions.iter().filter(|l| l.source == source && l.accepted) {
        by_image.entry(&lesion.image_id).or_default().push(lesion);
    }
    let mut coco = Coco {
        info: Info { description: name.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        images: Vec::new(),
        categories: (0..)
            .zip(labels.names())
            .map(|(id, name)| Category { id: labels.source_id(id), name, supercategory: "lesion".into() })
            .collect(),
        annotations: None,
    };
    let mut annotations = Vec::new();
    for image in images.iter().filter(|i| content != Content::Labelled || i.n_boxes.is_some()) {
        let id = match ids {
            Some(ids) => ids.of(&image.path)?,
            None => coco.images.len() as i64 + 1,
        };
        coco.images.push(coco_image(id, image)?);
        for lesion in by_image.get(image.image_id.as_str()).into_iter().flatten() {
            let b = BoxXyxy::<Original>::new(lesion.x_min, lesion.y_min, lesion.x_max, lesion.y_max);
            annotations.push(Annotation {
                id: annotations.len() as i64 + 1,
                image_id: id,
                category_id: labels.source_id(lesion.class_id),
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
