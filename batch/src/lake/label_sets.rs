//! The label set of a partition's boxes: that of the parts of table `lesions`, which agree.

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::LesionRow;

use crate::error::{Error, Result};
use crate::lake::manifest::PartManifest;
use crate::lake::partition::Partition;
use crate::lake::store::Lake;

impl PartManifest {
    /// The classes of the part's boxes.
    pub fn labels(&self) -> LabelSet {
        self.label_set.clone().unwrap_or_else(LabelSet::vindr)
    }
}

impl Lake {
    /// The label set of a partition's boxes; VinDr-CXR's where there was never a box.
    ///
    /// # Errors
    /// [`Error::BadData`] naming both sets and their producers when parts with boxes differ.
    pub fn label_set(&self, partition: &Partition) -> Result<LabelSet> {
        let parts = self.parts(LesionRow::TABLE, partition)?;
        if let Some(problem) = mixture(&parts) {
            return Err(Error::bad_data(format!("table {} {partition}", LesionRow::TABLE), problem));
        }
        // A part without boxes says which classes there could have been.
        let with_boxes = parts.iter().find(|p| p.rows > 0);
        let part = with_boxes.or_else(|| parts.iter().find(|p| p.label_set.is_some()));
        Ok(part.map_or_else(LabelSet::vindr, PartManifest::labels))
    }

    /// The label set of the boxes that a model is trained with: that of the splits `train` and `val`, which agree. `remedy`
    /// says what to do where they do not.
    ///
    /// # Errors
    /// [`Error::BadData`] naming both sets; those of [`Self::label_set`].
    pub fn label_set_of_training(&self, dataset: &str, remedy: &str) -> Result<LabelSet> {
        let [train, val] = ["train", "val"].map(|split| Partition::new(dataset, split));
        let (labels, of_val) = (self.label_set(&train)?, self.label_set(&val)?);
        if self.rows_of(LesionRow::TABLE, &val)? > 0 && !labels.same_classes(&of_val) {
            let problem = format!("its boxes have label set {of_val}, those of {train} {labels}; {remedy}");
            return Err(Error::bad_data(format!("table {} {val}", LesionRow::TABLE), problem));
        }
        Ok(labels)
    }

    /// Number of rows of a partition's parts, by their manifests.
    ///
    /// # Errors
    /// [`Error::BadData`] naming a damaged manifest.
    pub fn rows_of(&self, table: &str, partition: &Partition) -> Result<u64> {
        Ok(self.parts(table, partition)?.iter().map(|p| p.rows).sum())
    }

    /// Refuses boxes of classes other than those that other producers wrote into a partition.
    ///
    /// # Errors
    /// [`Error::BadData`] naming both sets.
    pub fn check_label_set(&self, partition: &Partition, producer: &str, labels: &LabelSet) -> Result<()> {
        let parts = self.parts(LesionRow::TABLE, partition)?;
        let other = parts.iter().find(|p| p.rows > 0 && p.producer != producer && !p.labels().same_classes(labels));
        other.map_or(Ok(()), |part| {
            let problem =
                format!("boxes of {} have label set {}, those of {producer} {labels}", part.producer, part.labels());
            let place = format!("table {} {partition}", LesionRow::TABLE);
            Err(Error::bad_data(place, problem + "; one partition has one label set"))
        })
    }
}

/// Why the parts of a partition's boxes have no common label set.
pub(crate) fn mixture(parts: &[PartManifest]) -> Option<String> {
    let mut boxes = parts.iter().filter(|p| p.rows > 0);
    let first = boxes.next()?;
    let labels = first.labels();
    let other = boxes.find(|p| !p.labels().same_classes(&labels))?;
    let (a, b) = (&first.producer, &other.producer);
    Some(format!("boxes of {a} have label set {labels}, those of {b} {}; run {a} again", other.labels()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::Shard;
    use crate::lake::store::tests::{lake, provenance};
    use crate::lake::validate::violations;
    use crate::test_fixtures::lesion;

    fn train() -> Partition {
        Partition::new("d", "train")
    }

    fn two(name: &str) -> LabelSet {
        LabelSet::of_categories(name, [(7, "Mass".to_owned()), (12, "Widget".to_owned())])
    }

    /// A row of the second class of [`two`].
    fn widget(box_id: &str) -> LesionRow {
        LesionRow { class_name: "Widget".into(), ..lesion("i", box_id, 1, [1.0, 2.0, 30.0, 40.0]) }
    }

    fn write(lake: &Lake, producer: &str, rows: Vec<LesionRow>, labels: &LabelSet) {
        let by = provenance(&format!("{producer}-0123456789ab"));
        let mut commit = lake.begin(Shard::WHOLE, &by).unwrap().with_labels(labels);
        commit.add(&train(), rows).unwrap();
        commit.finish().unwrap();
    }

    fn rules(lake: &Lake) -> Vec<&'static str> {
        violations(lake, &[]).unwrap().into_iter().map(|v| v.rule).filter(|rule| *rule != "reference").collect()
    }

    #[test]
    fn a_partition_has_the_set_of_its_boxes() {
        let (_folder, lake) = lake();
        assert!(lake.label_set(&train()).unwrap().is_vindr());
        write(&lake, "ingest", Vec::new(), &two("a"));
        assert_eq!(lake.label_set(&train()).unwrap(), two("a"), "no boxes yet, of two classes");
        let digest = |lake: &Lake| lake.content_digest(LesionRow::TABLE, &train()).unwrap();
        let empty_of_two = digest(&lake);
        write(&lake, "ingest", Vec::new(), &LabelSet::vindr());
        assert_ne!(digest(&lake), empty_of_two, "the classes decide about the work that reads them");
        write(&lake, "annotate", vec![widget("p")], &two("a"));
        assert_eq!(lake.label_set(&train()).unwrap(), two("a"), "an ingest without boxes does not disagree");
        assert_eq!(rules(&lake), Vec::<&str>::new());
    }

    #[test]
    fn boxes_of_two_sets_are_refused_and_found() {
        let (_folder, lake) = lake();
        write(&lake, "ingest", vec![lesion("i", "f", 1, [1.0, 2.0, 30.0, 40.0])], &LabelSet::vindr());
        lake.check_label_set(&train(), "ingest", &two("a")).unwrap();
        let refused = lake.check_label_set(&train(), "annotate", &two("a")).unwrap_err().to_string();
        assert!(refused.contains("`vindr` (22 classes") && refused.contains("`a` (2 classes"), "{refused}");
        write(&lake, "annotate", vec![widget("p")], &two("a"));
        let mixed = lake.label_set(&train()).unwrap_err();
        assert_eq!(mixed.exit().code(), 65);
        assert_eq!(rules(&lake), ["label_set"]);
        // Another name of the set, the same classes.
        write(&lake, "ingest", vec![widget("f")], &two("b"));
        assert!(lake.label_set(&train()).unwrap().same_classes(&two("a")));
    }

    #[test]
    fn training_and_validation_have_one_set() {
        let (_folder, lake) = lake();
        let of_training = || lake.label_set_of_training("d", "ingest again").map(|set| set.name);
        write(&lake, "ingest", vec![widget("a")], &two("a"));
        assert_eq!(of_training().unwrap(), "a", "no boxes of validation");
        let val = Partition::new("d", "val");
        for (labels, row) in [(two("b"), widget("b")), (LabelSet::vindr(), lesion("i", "c", 1, [1.0, 2.0, 30.0, 40.0]))]
        {
            let mut commit =
                lake.begin(Shard::WHOLE, &provenance("annotate-0123456789ab")).unwrap().with_labels(&labels);
            commit.add(&val, vec![row]).unwrap();
            commit.finish().unwrap();
            let found = of_training();
            assert_eq!(found.is_ok(), labels.name == "b", "another name, the same classes: {found:?}");
        }
        let error = of_training().unwrap_err();
        assert!(error.exit().code() == 65 && error.to_string().ends_with("ingest again"), "{error}");
    }

    #[test]
    fn a_class_name_that_is_not_the_sets_is_found() {
        let (_folder, lake) = lake();
        write(&lake, "ingest", vec![LesionRow { class_name: "Mass".into(), ..widget("f") }], &two("a"));
        assert_eq!(rules(&lake), ["value"]);
        write(&lake, "ingest", vec![LesionRow { class_id: 2, ..widget("f") }], &two("a"));
        assert_eq!(rules(&lake), ["value"]);
        write(&lake, "ingest", vec![widget("f")], &LabelSet::vindr());
        assert_eq!(rules(&lake), ["value"], "without a set the classes are VinDr-CXR's");
    }

    #[test]
    fn shards_put_together_keep_the_set() {
        let (_folder, lake) = lake();
        for index in 0..2 {
            let by = provenance("ingest-0123456789ab");
            let mut commit = lake.begin(Shard { index, count: 2 }, &by).unwrap().with_labels(&two("a"));
            commit.add(&train(), vec![widget(&format!("f{index}"))]).unwrap();
            commit.finish().unwrap();
        }
        assert_eq!(lake.rows_of(LesionRow::TABLE, &train()).unwrap(), 2);
        assert_eq!(lake.label_set(&train()).unwrap(), two("a"));
    }
}
