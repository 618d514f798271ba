//! Boxes that do not fit their image, have no area or are there twice.

use std::collections::HashMap;

use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FailureRow, LesionRow};

use crate::audit::images::{Images, is_audited, subject};
use crate::audit::issue::Issue;
use crate::audit::kind::Kind;
use crate::error::Result;
use crate::lake::{Lake, Partition};

/// Width and height below which a box is degenerate, pixels.
const SIZE_MIN: f32 = 1.0;
/// How the codes of failures begin that ingest wrote for boxes outside the image.
const OUTSIDE_CODE: &str = "box_outside";
/// Longest detail that is kept of a failure, characters.
const DETAIL_MAX: usize = 300;

/// Issues of boxes in the tables `lesions` and `failures`.
///
/// # Errors
/// When a table cannot be read.
pub fn issues(lake: &Lake, images: &Images, datasets: &[String]) -> Result<Vec<Issue>> {
    let mut found = Vec::new();
    for partition in lake.partitions(LesionRow::TABLE)?.into_iter().filter(|p| is_audited(datasets, p)) {
        found.extend(of_partition(&partition, &lake.read::<LesionRow>(&partition)?, images));
    }
    for partition in lake.partitions(FailureRow::TABLE)?.into_iter().filter(|p| is_audited(datasets, p)) {
        let failures = lake.read::<FailureRow>(&partition)?;
        for failure in failures.into_iter().filter(|f| f.code.starts_with(OUTSIDE_CODE)) {
            let id = failure.image_id.clone().or(failure.path).unwrap_or_default();
            let detail = Some(failure.message.chars().take(DETAIL_MAX).collect());
            found.push(Issue {
                image_id: failure.image_id,
                detail,
                ..Issue::new(Kind::BoxLeftOut, subject(&partition, &id))
            });
        }
    }
    Ok(found)
}

fn of_partition(partition: &Partition, lesions: &[LesionRow], images: &Images) -> Vec<Issue> {
    let mut found = Vec::new();
    let mut seen: HashMap<Identity<'_>, &str> = HashMap::new();
    for lesion in lesions {
        let edges = lesion.region().to_array();
        let finite = edges.iter().all(|v| v.is_finite());
        let issue = |kind| Issue {
            image_id: Some(lesion.image_id.clone()),
            region: finite.then_some(edges),
            detail: Some(lesion.class_name.clone()),
            ..Issue::new(kind, subject(partition, &lesion.box_id))
        };
        let [x_min, y_min, x_max, y_max] = edges;
        if !finite || x_max - x_min < SIZE_MIN || y_max - y_min < SIZE_MIN {
            found.push(issue(Kind::BoxDegenerate));
        }
        let size = images.find(partition, &lesion.image_id).and_then(|i| Some((i.row.width?, i.row.height?)));
        if let Some((width, height)) = size
            && (x_min < 0.0 || y_min < 0.0 || x_max > width as f32 || y_max > height as f32)
        {
            found.push(issue(Kind::BoxOutside));
        }
        match seen.entry(Identity::of(lesion)) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(&lesion.box_id);
            }
            std::collections::hash_map::Entry::Occupied(entry) => {
                let other = Some(subject(partition, entry.get()));
                found.push(Issue { other, ..issue(Kind::BoxTwice) });
            }
        }
    }
    found
}

/// What two boxes share that are one box twice.
#[derive(PartialEq, Eq, Hash)]
struct Identity<'a> {
    image_id: &'a str,
    class_id: i32,
    source: &'a str,
    annotator: Option<&'a str>,
    model: Option<&'a str>,
    edges: [u32; 4],
}

impl<'a> Identity<'a> {
    fn of(lesion: &'a LesionRow) -> Self {
        Self {
            image_id: &lesion.image_id,
            class_id: lesion.class_id,
            source: &lesion.source,
            annotator: lesion.reader_id.as_deref(),
            model: lesion.model_sha256.as_deref(),
            edges: lesion.region().to_array().map(f32::to_bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::Shard;
    use crate::lake::store::tests::{lake, provenance};
    use crate::test_fixtures::{image, lesion};

    fn found(lesions: Vec<LesionRow>, failures: Vec<FailureRow>) -> Vec<String> {
        let (_folder, lake) = lake();
        let partition = Partition::new("d", "train");
        lake.write(&partition, Shard::default(), vec![image("a"), image("b")], &provenance("t")).unwrap();
        lake.write(&partition, Shard::default(), lesions, &provenance("t")).unwrap();
        lake.write(&partition, Shard::default(), failures, &provenance("t")).unwrap();
        let mut found = issues(&lake, &Images::read(&lake, &[]).unwrap(), &[]).unwrap();
        Issue::sort(&mut found);
        found.iter().map(Issue::line).collect()
    }

    #[test]
    fn boxes_outside_or_without_area_are_found() {
        let boxes = vec![
            lesion("a", "in", 3, [0.0, 2.0, 100.0, 80.0]),
            lesion("a", "out", 3, [1.0, 2.0, 100.5, 80.0]),
            lesion("a", "left", 3, [-0.5, 2.0, 10.0, 80.0]),
            lesion("b", "thin", 3, [5.0, 2.0, 5.5, 80.0]),
            lesion("b", "turned", 3, [9.0, 2.0, 5.0, 80.0]),
        ];
        let expected = [
            "box_outside d/train left",
            "box_outside d/train out",
            "box_degenerate d/train thin",
            "box_degenerate d/train turned",
        ];
        assert_eq!(found(boxes, Vec::new()), expected);
    }

    #[test]
    fn a_box_is_there_twice_when_one_source_has_it_twice() {
        let edges = [10.0, 10.0, 40.0, 50.0];
        let of = |id: &str, class: i32, annotator: Option<&str>| LesionRow {
            reader_id: annotator.map(str::to_owned),
            source: "reader".into(),
            ..lesion("a", id, class, edges)
        };
        let boxes = vec![
            of("1", 3, Some("R1")),
            of("2", 3, Some("R2")),
            of("3", 4, Some("R1")),
            of("4", 3, Some("R1")),
            LesionRow { source: "fused".into(), ..of("5", 3, None) },
        ];
        assert_eq!(found(boxes, Vec::new()), ["box_twice d/train 4 and d/train 1"]);
    }

    #[test]
    fn boxes_that_ingest_left_out_are_counted() {
        let failure = |code: &str, image: Option<&str>| FailureRow {
            stage: "ingest".into(),
            path: Some("train/a.dicom".into()),
            image_id: image.map(str::to_owned),
            code: code.into(),
            message: "outside".into(),
        };
        let failures = vec![
            failure("box_outside_image", Some("a")),
            failure("box_outside", None),
            failure("truncated", Some("b")),
        ];
        assert_eq!(found(Vec::new(), failures), ["box_left_out d/train a", "box_left_out d/train train/a.dicom"]);
    }
}
