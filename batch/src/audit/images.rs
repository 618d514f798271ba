//! The rows of the audited images, with the partition of each.

use std::collections::BTreeMap;
use std::path::PathBuf;

use d2r_contracts::rows::Row;
use d2r_contracts::tables::ImageRow;

use crate::audit::issue::Subject;
use crate::error::Result;
use crate::lake::{Lake, Partition};

/// The images of the audited datasets, numbered.
#[derive(Debug)]
pub struct Images {
    rows: Vec<(usize, ImageRow)>,
    partitions: Vec<Partition>,
    /// Each dataset's folder; a dataset without one was not registered.
    roots: BTreeMap<String, PathBuf>,
}

/// An image and where its row is.
#[derive(Debug, Clone, Copy)]
pub struct AuditedImage<'a> {
    pub row: &'a ImageRow,
    pub partition: &'a Partition,
}

impl AuditedImage<'_> {
    pub fn subject(self) -> Subject {
        subject(self.partition, &self.row.image_id)
    }
}

/// The subject of an issue in a partition.
pub fn subject(partition: &Partition, id: &str) -> Subject {
    Subject { dataset: partition.dataset.clone(), split: partition.split.clone(), id: id.to_owned() }
}

impl Images {
    /// The images of `datasets`; of all when the list is empty.
    ///
    /// # Errors
    /// [`crate::error::Error::NoRows`] for a dataset without images; those of reading.
    pub fn read(lake: &Lake, datasets: &[String]) -> Result<Self> {
        let mut images = Self { rows: Vec::new(), partitions: Vec::new(), roots: BTreeMap::new() };
        for partition in lake.partitions(ImageRow::TABLE)? {
            if is_audited(datasets, &partition) {
                let number = images.partitions.len();
                images.rows.extend(lake.read::<ImageRow>(&partition)?.into_iter().map(|row| (number, row)));
                images.partitions.push(partition);
            }
        }
        if let Some(absent) = datasets.iter().find(|name| !images.partitions.iter().any(|p| p.dataset == **name)) {
            return Err(lake.no_rows(ImageRow::TABLE, absent, "`d2r inspect lake` names the datasets"));
        }
        images.roots = lake.datasets()?.into_iter().map(|(name, dataset)| (name, dataset.root)).collect();
        Ok(images)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn get(&self, number: usize) -> AuditedImage<'_> {
        let (partition, row) = &self.rows[number];
        AuditedImage { row, partition: &self.partitions[*partition] }
    }

    pub fn iter(&self) -> impl Iterator<Item = AuditedImage<'_>> {
        (0..self.len()).map(|number| self.get(number))
    }

    /// The image of an id in a dataset and split.
    pub fn find(&self, partition: &Partition, image_id: &str) -> Option<AuditedImage<'_>> {
        let number = self.partitions.iter().position(|p| p == partition)?;
        // Rows of a partition are contiguous and in key order.
        let start = self.rows.partition_point(|(p, _)| *p < number);
        let end = self.rows.partition_point(|(p, _)| *p <= number);
        let at = self.rows[start..end].binary_search_by(|(_, row)| row.image_id.as_str().cmp(image_id)).ok()?;
        Some(self.get(start + at))
    }

    /// The folder that an image's path is relative to.
    pub fn root(&self, image: AuditedImage<'_>) -> Option<&PathBuf> {
        self.roots.get(&image.partition.dataset)
    }
}

/// Whether a partition's dataset is audited.
pub fn is_audited(datasets: &[String], partition: &Partition) -> bool {
    datasets.is_empty() || datasets.contains(&partition.dataset)
}
