//! Boxes of files that are stored turned (EXIF orientation). Some annotation tools show the turned image, others the
//! stored one; the size that the label file states tells which of them its boxes refer to.

use std::borrow::Cow;

use d2r_contracts::decode::Orientation;
use d2r_contracts::space::ImageSize;

use crate::datasets::listing::{FrameSize, Labels, ListedBox, ListedImage};
use crate::datasets::source::SourceError;

/// Sizes whose proportions differ by less than this share are of one frame.
const SAME_PROPORTION: f32 = 0.02;

/// The image with its boxes in the frame of the image as it is shown.
///
/// # Errors
/// When it is not known which frame the boxes refer to.
pub fn in_shown_frame(
    image: &ListedImage,
    stored: ImageSize,
    orientation: Orientation,
) -> Result<Cow<'_, ListedImage>, SourceError> {
    if image.labels.boxes().is_empty() {
        return Ok(Cow::Borrowed(image));
    }
    let shown = orientation.shown_size(stored);
    let of_shown = image.frame.is_some_and(|f| is_copy(f, shown));
    let of_stored = image.frame.is_some_and(|f| is_copy(f, stored));
    match image.frame {
        // An upright file may be a copy of any other proportion, but for one: that of the turned image.
        Some(frame) if !orientation.is_turned() => {
            let turned = ImageSize { width: shown.height, height: shown.width };
            if !of_shown && is_copy(frame, turned) {
                return Err(SourceError {
                    code: "turned_frame",
                    message: format!(
                        "the label file states {} x {} pixels and the image has {} x {}: one of them is turned, and its \
                         boxes cannot be placed; correct the size",
                        frame.width, frame.height, shown.width, shown.height
                    ),
                });
            }
            Ok(Cow::Borrowed(image))
        }
        None if !orientation.is_turned() => Ok(Cow::Borrowed(image)),
        Some(_) if of_shown && !of_stored => Ok(Cow::Borrowed(image)),
        Some(frame) if of_stored && !of_shown => {
            let (x, y) = (stored.width as f32 / frame.width, stored.height as f32 / frame.height);
            let turn = |b: &ListedBox| {
                let scaled = b.bbox.scaled(x, y);
                ListedBox { bbox: orientation.turn_box(&scaled, stored), ..b.clone() }
            };
            Ok(Cow::Owned(ListedImage { frame: None, labels: with_boxes(&image.labels, turn), ..image.clone() }))
        }
        _ => Err(SourceError {
            code: "turned_frame",
            message: format!(
                "the file is stored turned (EXIF orientation {}), and its label file does not tell by width and height \
                 whether boxes refer to the stored or to the shown image; save the image upright",
                orientation.exif()
            ),
        }),
    }
}

/// Whether an image of the frame's size and one of that size have the same proportions.
fn is_copy(frame: FrameSize, size: ImageSize) -> bool {
    let (a, b) = (frame.width * size.height as f32, frame.height * size.width as f32);
    (a - b).abs() <= SAME_PROPORTION * a.max(b)
}

fn with_boxes(labels: &Labels, change: impl Fn(&ListedBox) -> ListedBox) -> Labels {
    let all = |boxes: &[ListedBox]| boxes.iter().map(&change).collect::<Vec<_>>();
    match labels {
        Labels::Unannotated => Labels::Unannotated,
        Labels::Annotators(annotators) => {
            Labels::Annotators(annotators.iter().map(|(who, boxes)| (who.clone(), all(boxes))).collect())
        }
        Labels::Consensus(boxes) => Labels::Consensus(all(boxes)),
        Labels::Detector { boxes, threshold, model_sha256 } => {
            Labels::Detector { boxes: all(boxes), threshold: *threshold, model_sha256: model_sha256.clone() }
        }
    }
}

#[cfg(test)]
mod tests {
    use d2r_contracts::boxes::BoxXyxy;

    use super::*;
    use crate::datasets::listing::Split;
    use crate::datasets::projection::Projection;

    const STORED: ImageSize = ImageSize { width: 120, height: 96 };

    fn image(frame: Option<(f32, f32)>, corners: [f32; 4]) -> ListedImage {
        let [x0, y0, x1, y1] = corners;
        let bbox = BoxXyxy::new(x0, y0, x1, y1);
        ListedImage {
            image_id: "a".into(),
            study_id: "a".into(),
            subject_id: "a".into(),
            split: Split::Train,
            projection: Projection::Unknown,
            path: "a.jpg".into(),
            frame: frame.map(|(width, height)| FrameSize { width, height }),
            labels: Labels::Consensus(vec![ListedBox { class_id: 0, bbox, score: 1.0, place: "x".into() }]),
        }
    }

    fn placed(frame: Option<(f32, f32)>, corners: [f32; 4], exif: u8) -> Result<[f32; 4], &'static str> {
        let image = image(frame, corners);
        let orientation = Orientation::from_exif(exif).unwrap();
        let shown = in_shown_frame(&image, STORED, orientation).map_err(|e| e.code)?;
        let boxes = shown.labels.boxes();
        Ok(boxes[0].1.bbox.to_array())
    }

    #[test]
    fn the_stated_size_tells_the_frame() {
        let shown = [10.0, 20.0, 40.0, 80.0];
        assert_eq!(placed(Some((96.0, 120.0)), shown, 6), Ok(shown), "boxes of the shown image");
        let stored = [20.0, 56.0, 80.0, 86.0];
        assert_eq!(placed(Some((120.0, 96.0)), stored, 6), Ok(shown), "boxes of the stored image");
        // Half a size, as in a copy.
        assert_eq!(placed(Some((60.0, 48.0)), [10.0, 28.0, 40.0, 43.0], 6), Ok(shown));
        assert_eq!(placed(Some((48.0, 60.0)), [5.0, 10.0, 20.0, 40.0], 6), Ok([5.0, 10.0, 20.0, 40.0]), "scaled later");
        for exif in [5, 7, 8] {
            let turned = placed(Some((120.0, 96.0)), stored, exif).unwrap();
            assert!(turned[2] <= 96.0 && turned[3] <= 120.0 && turned != shown, "{exif}: {turned:?}");
        }
    }

    #[test]
    fn without_a_telling_size_boxes_cannot_be_placed() {
        let b = [1.0, 2.0, 30.0, 40.0];
        assert_eq!(placed(None, b, 6), Err("turned_frame"));
        assert_eq!(placed(Some((100.0, 100.0)), b, 6), Err("turned_frame"), "neither of them");
        for exif in [2, 3, 4] {
            assert_eq!(placed(Some((120.0, 96.0)), b, exif), Err("turned_frame"), "sizes are equal both times");
        }
        assert_eq!(placed(None, b, 1), Ok(b));
        assert_eq!(placed(Some((100.0, 100.0)), b, 1), Ok(b), "a copy of other proportions");
        assert_eq!(placed(Some((96.0, 120.0)), b, 1), Err("turned_frame"), "upright, and stated turned");
        let normal = ListedImage { labels: Labels::Consensus(Vec::new()), ..image(None, b) };
        assert!(in_shown_frame(&normal, STORED, Orientation::Turned90).is_ok(), "no box, nothing to place");
    }
}
