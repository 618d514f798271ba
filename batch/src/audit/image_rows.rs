//! Images that are unusual by their row alone: tiny, elongated, with burned-in text.

use crate::audit::images::Images;
use crate::audit::issue::Issue;
use crate::audit::kind::Kind;

/// Shorter edge below which an image is tiny, pixels: the input size of most classifiers.
const EDGE_MIN: i32 = 224;
/// Longer edge over shorter edge above which an image is elongated.
const ASPECT_MAX: f64 = 2.0;

/// Issues of the images' rows.
pub fn issues(images: &Images) -> Vec<Issue> {
    let mut found = Vec::new();
    for image in images.iter() {
        let mut add = |kind, detail| found.push(Issue { detail, ..Issue::new(kind, image.subject()) });
        if let (Some(width), Some(height)) = (image.row.width, image.row.height) {
            let size = || Some(format!("{width} x {height}"));
            let (shorter, longer) = (width.min(height), width.max(height));
            if shorter < EDGE_MIN {
                add(Kind::ImageTiny, size());
            }
            if f64::from(longer) > ASPECT_MAX * f64::from(shorter) {
                add(Kind::ImageElongated, size());
            }
        }
        if image.row.burned_in_annotation == Some(true) {
            add(Kind::BurnedInText, None);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::store::tests::{lake, provenance};
    use crate::lake::{Partition, Shard};
    use crate::test_fixtures;
    use d2r_contracts::tables::ImageRow;

    #[test]
    fn small_long_and_written_images_are_found() {
        let image = |id: &str, size: Option<(i32, i32)>, text: Option<bool>| ImageRow {
            width: size.map(|s| s.0),
            height: size.map(|s| s.1),
            burned_in_annotation: text,
            ..test_fixtures::image(id)
        };
        let (_folder, lake) = lake();
        let rows = vec![
            image("a", Some((223, 300)), None),
            image("b", Some((224, 448)), Some(false)),
            image("c", Some((224, 449)), Some(true)),
            image("d", None, None),
        ];
        lake.write(&Partition::new("d", "train"), Shard::default(), rows, &provenance("t")).unwrap();
        let found: Vec<String> = issues(&Images::read(&lake, &[]).unwrap()).iter().map(Issue::line).collect();
        assert_eq!(found, ["image_tiny d/train a", "image_elongated d/train c", "burned_in_text d/train c"]);
    }
}
