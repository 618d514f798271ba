//! The COCO detection format. Categories are matched by name; image and category ids are integers; boxes are
//! `[x, y, width, height]` in original pixels. Unannotated images make a document without `annotations`, like COCO's own
//! unlabelled sets.

use serde::{Deserialize, Serialize};

/// A COCO detection document. Unknown fields are ignored when reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coco {
    #[serde(default)]
    pub info: Info,
    /// The images, those without lesions included.
    pub images: Vec<CocoImage>,
    #[serde(default)]
    pub categories: Vec<Category>,
    /// `None` for unannotated images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Vec<Annotation>>,
}

/// Name and version of the document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Info {
    pub description: String,
    /// Version of the program that wrote it.
    pub version: String,
}

/// An image. The last four fields are no part of COCO; other parsers ignore them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CocoImage {
    /// Unique in the file.
    pub id: i64,
    /// Relative to the dataset's root.
    pub file_name: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The id in the `images` table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub study_id: Option<String>,
    /// The patient's pseudonym.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_id: Option<String>,
    /// Projection: PA, AP, LATERAL or UNKNOWN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Category {
    /// Unique in the file.
    pub id: i64,
    /// Name of a class.
    pub name: String,
    /// Always `lesion` in written files.
    #[serde(default)]
    pub supercategory: String,
}

/// A bounding box of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Annotation {
    /// Unique in the file.
    #[serde(default)]
    pub id: i64,
    /// [`CocoImage::id`].
    pub image_id: i64,
    /// [`Category::id`].
    pub category_id: i64,
    /// `[x, y, width, height]`, original pixels.
    pub bbox: [f32; 4],
    /// `width * height`; COCO's evaluation by size uses it.
    #[serde(default)]
    pub area: f64,
    /// 1 for a region that covers many objects.
    #[serde(default)]
    pub iscrowd: u8,
    /// Share of annotators, or the detector's score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}
