//! The phantoms' truth: what was drawn and which labels the reports have. The only module of the program that reads
//! it, so that no training can use it. Rows are joined by image and study id over all splits of a dataset.

use std::collections::BTreeMap;
use std::path::Path;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::{CHEXPERT_LABELS, LabelState};
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{TruthFindingRow, TruthLesionRow};

use crate::error::Result;
use crate::eval::links::DrawnLesion;
use crate::eval::text::label_f1::States;
use crate::lake::Lake;
use crate::lake::digest::sha256_hex;

/// The truth of one dataset.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Truth {
    /// Drawn lesions by image; an image without lesions has no entry.
    pub lesions: BTreeMap<String, Vec<DrawnLesion>>,
    /// States of the 14 labels by study.
    pub findings: BTreeMap<String, States>,
    /// Digest of the rows.
    pub digest: String,
}

impl Truth {
    /// Reads the truth tables in `folder` (`d2r phantom` writes them) for one dataset.
    ///
    /// # Errors
    /// [`crate::Error::NoRows`] when there are none of this dataset; [`crate::Error::BadData`] for damaged tables.
    pub fn read(folder: &Path, dataset: &str) -> Result<Self> {
        let lake = Lake::open(folder)?;
        let mut truth = Self::default();
        let mut digests = String::new();
        let mut found = false;
        for table in [TruthLesionRow::TABLE, TruthFindingRow::TABLE] {
            for partition in lake.partitions(table)?.into_iter().filter(|p| p.dataset == dataset) {
                found = true;
                digests.push_str(&format!("{table} {partition} {}\n", lake.content_digest(table, &partition)?));
                if table == TruthLesionRow::TABLE {
                    truth.add_lesions(lake.read(&partition)?);
                } else {
                    truth.add_findings(lake.read(&partition)?);
                }
            }
        }
        if !found {
            return Err(lake.no_rows(TruthLesionRow::TABLE, dataset, "`d2r phantom` writes the truth tables"));
        }
        truth.digest = sha256_hex(digests.as_bytes());
        Ok(truth)
    }

    fn add_lesions(&mut self, rows: Vec<TruthLesionRow>) {
        for row in rows {
            let region = BoxXyxy::new(row.x_min, row.y_min, row.x_max, row.y_max);
            let lesion = DrawnLesion { class_id: row.class_id, region, laterality: row.side, small: row.small };
            self.lesions.entry(row.image_id).or_default().push(lesion);
        }
    }

    fn add_findings(&mut self, rows: Vec<TruthFindingRow>) {
        for row in rows {
            let Some(label) = CHEXPERT_LABELS.iter().position(|l| *l == row.label) else { continue };
            let Some(state) = LabelState::parse(&row.state) else { continue };
            self.findings.entry(row.study_id).or_insert([LabelState::Blank; 14])[label] = state;
        }
    }

    /// The lesions of an image; none for a normal one.
    pub fn lesions_of(&self, image_id: &str) -> &[DrawnLesion] {
        self.lesions.get(image_id).map_or(&[], Vec::as_slice)
    }
}
