//! The boxes that a report model is given: of all images of a partition, or image by image in the order of their ids.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use d2r_contracts::rows::Row;
use d2r_contracts::tables::LesionRow;

use crate::error::{Error, Result};
use crate::lake::parquet_file::BATCH_ROWS;
use crate::lake::sorted_rows::SortedRows;
use crate::lake::{Lake, Partition};

/// The producer of a detector's boxes.
const ANNOTATE: &str = "annotate";

/// Whose boxes a report model is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BoxesFrom {
    /// Accepted boxes of the detector that annotated the partition.
    #[default]
    Detector,
    /// Fused boxes of the annotators.
    Annotators,
}

impl BoxesFrom {
    /// The value of the column `source`.
    fn source(self) -> &'static str {
        match self {
            Self::Detector => "pseudo",
            Self::Annotators => "fused",
        }
    }
}

/// The boxes of a partition by image. A detector's are those of one model.
///
/// # Errors
/// Those of [`check_boxes`] and of reading.
pub fn given_boxes(lake: &Lake, partition: &Partition, from: BoxesFrom) -> Result<BTreeMap<String, Vec<LesionRow>>> {
    check_boxes(lake, partition, from)?;
    let mut by_image: BTreeMap<String, Vec<LesionRow>> = BTreeMap::new();
    for row in lake.rows_in_order::<LesionRow>(partition, 0, u64::MAX)? {
        let row = row?;
        if row.accepted && row.source == from.source() {
            by_image.entry(row.image_id.clone()).or_default().push(row);
        }
    }
    Ok(by_image)
}

/// Whether a partition's boxes can be given to a report model: two columns are read, a batch at a time.
///
/// # Errors
/// [`Error::NoRows`] when there are boxes by annotators and none of a detector, which annotators' boxes never replace
/// unasked; [`Error::BadData`] for boxes of two models.
pub fn check_boxes(lake: &Lake, partition: &Partition, from: BoxesFrom) -> Result<()> {
    if from == BoxesFrom::Annotators {
        return Ok(());
    }
    let (models, any, annotated) = lake.undisturbed(LesionRow::TABLE, partition, |parts| {
        let mut models: BTreeSet<Option<String>> = BTreeSet::new();
        for part in parts {
            let file = lake.open_part(part)?.columns(&["source", "model_sha256"]);
            for batch in file.batches(BATCH_ROWS)? {
                add_models(&batch?, from.source(), &mut models)
                    .map_err(|problem| Error::bad_data(lake.root().join(&part.file).display(), problem))?;
            }
        }
        Ok((models, parts.iter().any(|p| p.rows > 0), parts.iter().any(|p| p.producer == ANNOTATE)))
    })?;
    if models.len() > 1 {
        let problem = "holds boxes of two models; annotate all of it with one detector";
        return Err(Error::bad_data(format!("table lesions {partition}"), problem));
    }
    if models.is_empty() && any && !annotated {
        let hint = "its boxes are by annotators: run `d2r annotate`, or pass --boxes annotators";
        return Err(lake.no_rows(LesionRow::TABLE, partition, hint));
    }
    Ok(())
}

/// Adds the models of the rows of this source.
fn add_models(
    batch: &RecordBatch,
    source: &str,
    models: &mut BTreeSet<Option<String>>,
) -> std::result::Result<(), String> {
    let text = |name: &str| -> std::result::Result<&StringArray, String> {
        let column = batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
        column.ok_or_else(|| format!("column {name} is missing or no text"))
    };
    let (sources, of_rows) = (text("source")?, text("model_sha256")?);
    for row in (0..batch.num_rows()).filter(|&row| sources.is_valid(row) && sources.value(row) == source) {
        let model = of_rows.is_valid(row).then(|| of_rows.value(row));
        if !models.iter().any(|known| known.as_deref() == model) {
            models.insert(model.map(str::to_owned));
        }
    }
    Ok(())
}

/// The boxes of images that are asked for in the order of their ids; those of the images in between are passed over. Few rows
/// are in memory, and row groups before the first image are not read.
pub struct BoxReader {
    lake: Lake,
    partition: Partition,
    from: BoxesFrom,
    rows: Option<SortedRows<LesionRow>>,
    /// The first row that was not asked for yet.
    next: Option<LesionRow>,
    /// The image that was asked for last.
    last: Option<String>,
}

impl BoxReader {
    /// # Errors
    /// Those of [`check_boxes`].
    pub fn new(lake: Lake, partition: Partition, from: BoxesFrom) -> Result<Self> {
        check_boxes(&lake, &partition, from)?;
        Ok(Self { lake, partition, from, rows: None, next: None, last: None })
    }

    /// The accepted boxes of an image whose id is above those of the images before.
    ///
    /// # Errors
    /// [`Error::BadData`] for a damaged part, and for rows that are not in the order of their key; [`Error::Internal`] for
    /// an image whose boxes were passed over already.
    pub fn of_image(&mut self, image_id: &str) -> Result<Vec<LesionRow>> {
        if self.last.as_deref().is_some_and(|last| last >= image_id) {
            return Err(Error::Internal("images are asked for their boxes out of order".into()));
        }
        self.last = Some(image_id.to_owned());
        let rows = match &mut self.rows {
            Some(rows) => rows,
            None => self.rows.insert(self.lake.rows_from_text(&self.partition, "image_id", image_id)?),
        };
        let mut found = Vec::new();
        loop {
            let row = match self.next.take() {
                Some(row) => row,
                None => match rows.next().transpose()? {
                    Some(row) => row,
                    None => return Ok(found),
                },
            };
            if row.image_id.as_str() > image_id {
                self.next = Some(row);
                return Ok(found);
            }
            if row.image_id == image_id && row.accepted && row.source == self.from.source() {
                found.push(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::Shard;
    use crate::lake::store::tests::{lake, provenance};
    use crate::test_fixtures::lesion;

    #[test]
    fn boxes_come_image_by_image_and_those_of_others_are_passed_over() {
        let (_folder, lake) = lake();
        let partition = Partition::new("d", "train");
        let corners = [1.0, 2.0, 30.0, 40.0];
        let row = |image: &str, n: usize| lesion(image, &format!("{image}-{n}"), 1, corners);
        let rows: Vec<LesionRow> = ["a", "b", "d"].iter().flat_map(|i| [row(i, 0), row(i, 1)]).collect();
        let rejected = LesionRow { accepted: false, ..row("b", 2) };
        let of_reader = LesionRow { source: "fused".into(), ..row("b", 3) };
        lake.write(&partition, Shard::WHOLE, rows, &provenance("annotate")).unwrap();
        lake.write(&partition, Shard::WHOLE, vec![rejected, of_reader], &provenance("ingest")).unwrap();
        let mut boxes = BoxReader::new(lake.clone(), partition.clone(), BoxesFrom::Detector).unwrap();
        let mut of = |image: &str| boxes.of_image(image).unwrap().into_iter().map(|l| l.box_id).collect::<Vec<_>>();
        assert_eq!(of("b"), ["b-0", "b-1"]);
        assert_eq!(of("c"), Vec::<String>::new());
        assert_eq!(of("d"), ["d-0", "d-1"]);
        assert_eq!(of("e"), Vec::<String>::new());
        assert!(matches!(boxes.of_image("b"), Err(Error::Internal(_))), "its boxes were passed over");
        let mut fused = BoxReader::new(lake.clone(), partition.clone(), BoxesFrom::Annotators).unwrap();
        assert_eq!(fused.of_image("b").unwrap().len(), 1);
        let all = given_boxes(&lake, &partition, BoxesFrom::Detector).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b", "d"]);
    }
}
