//! Scalars of a training run for inspection: `metrics.jsonl` and TensorBoard events. Rewritten whole from the
//! checkpointed log on resume, so that no step occurs twice.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use d2r_contracts::tables::TrainLogRow;
use prost::Message;

use crate::error::{Error, Result};
use crate::training::run_dir::RunDir;

/// Writes rows of the training log as they come.
#[derive(Debug)]
pub struct MetricsLog {
    jsonl: (PathBuf, File),
    events: (PathBuf, File),
}

impl MetricsLog {
    /// A log that starts with the rows so far.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn open(run: &RunDir, so_far: &[TrainLogRow]) -> Result<Self> {
        let create = |name: &str| {
            let path = run.path().join(name);
            let file = OpenOptions::new().create(true).write(true).truncate(true).open(&path);
            file.map(|f| (path.clone(), f)).map_err(|e| Error::io("create", &path, e))
        };
        let mut log = Self { jsonl: create("metrics.jsonl")?, events: create("events.out.tfevents.0.d2r")? };
        log.event(&Event { wall_time: 0.0, step: 0, file_version: Some("brain.Event:2".into()), summary: None })?;
        for row in so_far {
            log.push(row)?;
        }
        Ok(log)
    }

    /// Appends one row.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn push(&mut self, row: &TrainLogRow) -> Result<()> {
        let line = serde_json::to_string(row).map_err(|e| Error::Internal(e.to_string()))?;
        writeln!(self.jsonl.1, "{line}").map_err(|e| Error::io("write", &self.jsonl.0, e))?;
        let scalars = [
            ("lr", Some(row.lr)),
            ("loss", Some(row.loss)),
            ("loss_class", row.loss_class),
            ("loss_box", row.loss_box),
            ("loss_centerness", row.loss_centerness),
            ("loss_rpn", row.loss_rpn),
            ("loss_pseudo", row.loss_pseudo),
            ("loss_word", row.loss_word),
            ("loss_grounding", row.loss_grounding),
            ("loss_local", row.loss_local),
            ("loss_global", row.loss_global),
            ("loss_cells", row.loss_cells),
            ("pseudo_boxes_per_image", row.pseudo_boxes_per_image),
            ("pseudo_box_ratio", row.pseudo_box_ratio),
            ("unlabelled_weight", row.unlabelled_weight),
            ("score", row.score),
            ("images_per_s", row.images_per_s),
            ("waiting_share", row.waiting_share),
        ];
        let value = scalars
            .into_iter()
            .filter_map(|(name, v)| Some(Value { tag: format!("{}/{name}", row.phase), simple_value: v? as f32 }))
            .collect();
        // The step in place of the time: the log has no clock, so that equal runs give equal files.
        self.event(&Event {
            wall_time: row.step as f64,
            step: row.step,
            file_version: None,
            summary: Some(Summary { value }),
        })
    }

    /// One TFRecord: length, its masked CRC-32C, the message, its masked CRC-32C.
    fn event(&mut self, event: &Event) -> Result<()> {
        let data = event.encode_to_vec();
        let length = (data.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(&data);
        record.extend(masked_crc(&data).to_le_bytes());
        self.events.1.write_all(&record).map_err(|e| Error::io("write", &self.events.0, e))
    }
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// TensorFlow's `Event` message, as far as scalars need it.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: i64) -> TrainLogRow {
        TrainLogRow { run_id: "r".into(), phase: "train".into(), step, lr: 0.1, loss: 2.5, ..TrainLogRow::blank() }
    }

    #[test]
    fn events_read_back_with_their_checksums() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path(), "r");
        MetricsLog::open(&run, &[row(1)]).unwrap().push(&row(2)).unwrap();
        let bytes = std::fs::read(dir.path().join("events.out.tfevents.0.d2r")).unwrap();
        let (mut at, mut seen) = (0, Vec::new());
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            let crc = |from: usize| u32::from_le_bytes(bytes[from..from + 4].try_into().unwrap());
            let data = &bytes[at + 12..at + 12 + length];
            assert_eq!(crc(at + 8), masked_crc(&bytes[at..at + 8]));
            assert_eq!(crc(at + 12 + length), masked_crc(data));
            seen.push(Event::decode(data).unwrap());
            at += 16 + length;
        }
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[2].step, 2);
        let values = &seen[2].summary.as_ref().unwrap().value;
        assert!(values.iter().any(|v| v.tag == "train/loss" && v.simple_value == 2.5));
        assert_eq!(std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap().lines().count(), 2);
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }
}
