//! A COCO file as other tools write it. Only the fields that are used are read; none of the others can refuse a file.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Original;
use serde::Deserialize;
use serde_json::Value;

use crate::datasets::label_files::json_file::{Entry, Fields, Section, is_true, number};
use crate::datasets::listing::FrameSize;

/// The three lists of a COCO file.
#[derive(Debug, Default, Deserialize)]
pub struct Document {
    #[serde(default)]
    pub images: Section<Image>,
    #[serde(default)]
    pub categories: Section<Category>,
    #[serde(default)]
    pub annotations: Section<Annotation>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    pub id: String,
    /// As written; relative to one of several folders.
    pub file_name: String,
    /// The frame of the boxes; `None` where the tool did not know it (0, -1, null, absent).
    pub size: Option<FrameSize>,
    /// The fields that this project adds.
    pub image_id: Option<String>,
    pub study_id: Option<String>,
    pub subject_id: Option<String>,
    pub view: Option<String>,
}

impl Entry for Image {
    fn parse(fields: &Fields) -> Result<Self, String> {
        let pixels = |field: &str| fields.get(field).and_then(number).filter(|v| *v >= 1.0).map(|v| v as f32);
        let own = |field: &str| fields.id(field).ok().flatten().filter(|id| !id.is_empty());
        Ok(Self {
            id: fields.needed_id("id")?,
            file_name: fields.needed_text("file_name")?,
            size: pixels("width").zip(pixels("height")).map(|(width, height)| FrameSize { width, height }),
            image_id: own("image_id"),
            study_id: own("study_id"),
            subject_id: own("subject_id"),
            view: fields.get("view").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Category {
    pub id: String,
    pub name: String,
}

impl Entry for Category {
    fn parse(fields: &Fields) -> Result<Self, String> {
        Ok(Self { id: fields.needed_id("id")?, name: fields.needed_text("name")? })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    pub image_id: String,
    /// What the annotation marks; or why it cannot be used, with its code.
    pub region: Result<Region, (&'static str, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    pub category_id: String,
    pub bbox: BoxXyxy<Original>,
    /// The box is the extent of polygons.
    pub from_polygons: bool,
    pub score: f32,
}

impl Entry for Annotation {
    /// Only the image is needed to know what an annotation costs when it cannot be used.
    fn parse(fields: &Fields) -> Result<Self, String> {
        Ok(Self { image_id: fields.needed_id("image_id")?, region: region(fields) })
    }
}

fn region(fields: &Fields) -> Result<Region, (&'static str, String)> {
    let bad = |problem: String| ("bad_annotation", problem + "; repair or remove the annotation");
    let category_id = fields.needed_id("category_id").map_err(bad)?;
    if is_true(fields.get("iscrowd")) {
        return Err(("crowd", "a crowd region is not a lesion; remove it or give its lesions one box each".into()));
    }
    // Some tools write an empty list beside polygons.
    let empty = fields.get("bbox").and_then(Value::as_array).is_some_and(Vec::is_empty);
    let drawn = if empty { None } else { fields.four_numbers("bbox").map_err(bad)? };
    let (bbox, from_polygons) = match drawn {
        Some(xywh) => (BoxXyxy::from_xywh(xywh), false),
        None => match fields.get("segmentation").map(extent) {
            Some(Some(extent)) => (extent, true),
            Some(None) => return Err(bad("`bbox` is absent and `segmentation` is no list of polygons".into())),
            None => return Err(bad("`bbox` is absent; a list of four numbers is needed".into())),
        },
    };
    if !bbox.is_proper() {
        return Err(("inverted_box", format!("{bbox:?} has no area; COCO boxes are x, y, width, height")));
    }
    let score = fields.number("score").map_err(bad)?.map_or(1.0, |s| s as f32);
    Ok(Region { category_id, bbox, from_polygons, score })
}

/// The extent of polygons, each a flat list `x, y, x, y, ...`; `None` for anything else (run lengths).
fn extent(segmentation: &Value) -> Option<BoxXyxy<Original>> {
    let mut corners = [f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
    for polygon in segmentation.as_array()? {
        let points = polygon.as_array()?.iter().map(number).collect::<Option<Vec<f64>>>()?;
        let (points, []) = points.as_chunks::<2>() else { return None };
        for [x, y] in points.iter().map(|p| p.map(|v| v as f32)) {
            corners = [corners[0].min(x), corners[1].min(y), corners[2].max(x), corners[3].max(y)];
        }
    }
    let [x_min, y_min, x_max, y_max] = corners;
    corners.iter().all(|v| v.is_finite()).then(|| BoxXyxy::new(x_min, y_min, x_max, y_max))
}
