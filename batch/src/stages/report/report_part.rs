//! Where the rows of one `d2r report` go: a part of each table, and text files where the images come from a folder.

use std::path::PathBuf;

use d2r_contracts::rows::Row;
use d2r_contracts::tables::{
    FailureRow, FindingRow, GeneratedReportRow, ImageRow, LesionRow, ReportSentenceRow, SentenceBoxRow, TimingRow,
};

use crate::context::{Context, StageResult};
use crate::error::Result;
use crate::lake::{Lake, PartManifest, Partition, Provenance, Shard};
use crate::stages::report::report_rows::ReportRows;
use crate::stages::report::report_writer::ReportWriter;
use crate::stages::report::{Args, ImageSource, text_files};
use crate::stages::stage_times::{StageTimes, timed};
use crate::stages::work_key::work_key;

const STAGE: &str = "report";
/// Dataset and split of a folder's own lake.
pub const FOLDER: (&str, &str) = ("folder", "test");

/// The parts that a run of the stage writes.
pub struct ReportPart {
    lake: Lake,
    partition: Partition,
    shard: Shard,
    provenance: Provenance,
    /// The folder of the text files; with it, the rows of images and labels are written too.
    out: Option<PathBuf>,
    finds_lesions: bool,
}

impl ReportPart {
    /// The parts of this work. `images`: digest of the images.
    pub fn new<W: ReportWriter>(ctx: &Context, args: &Args, writer: &W, images: &str) -> Result<Self> {
        let (lake, partition, out) = match &args.source {
            ImageSource::Lake { lake, dataset, split } => (Lake::open(lake)?, Partition::new(dataset, split), None),
            ImageSource::Folder { out, .. } => {
                (Lake::create(out)?, Partition::new(FOLDER.0, FOLDER.1), Some(out.clone()))
            }
        };
        let (identity, shard) = (writer.identity()?, args.shard.to_string());
        let allow_phi = ctx.config.ingest.allow_phi.to_string();
        let mut key = vec![("verb", STAGE), ("allow_phi", &allow_phi), ("shard", &shard), ("images", images)];
        key.extend(identity.iter().map(|(label, value)| (*label, value.as_str())));
        let provenance = Provenance::of_work(STAGE, work_key(&key), Some(writer.model_sha256()));
        Ok(Self { lake, partition, shard: args.shard, provenance, out, finds_lesions: writer.finds_lesions() })
    }

    /// The result of this very work where all its parts are intact.
    pub fn current(&self) -> Result<Option<StageResult>> {
        let mut tables = vec![
            GeneratedReportRow::TABLE,
            ReportSentenceRow::TABLE,
            SentenceBoxRow::TABLE,
            FailureRow::TABLE,
            TimingRow::TABLE,
        ];
        if self.out.is_some() {
            tables.extend([ImageRow::TABLE, FindingRow::TABLE]);
        }
        if self.finds_lesions {
            tables.push(LesionRow::TABLE);
        }
        let mut parts = Vec::new();
        for table in tables {
            match self.lake.current(table, &self.partition, self.shard, &self.provenance.work_key)? {
                Some(part) => parts.push(part),
                None => return Ok(None),
            }
        }
        Ok(Some(StageResult { cached: true, ..StageResult::of_parts(STAGE, &self.lake, &parts) }))
    }

    /// Writes the rows about `studies` studies, the timings last.
    pub fn write(&self, rows: ReportRows, studies: usize, mut times: StageTimes) -> Result<StageResult> {
        let mut write_ms = 0.0;
        let mut parts = timed(&mut write_ms, || self.write_rows(rows))?;
        times.write_ms += write_ms;
        parts.push(self.put(vec![times.row(STAGE, &self.provenance, self.shard, studies)])?);
        Ok(StageResult::of_parts(STAGE, &self.lake, &parts))
    }

    fn write_rows(&self, rows: ReportRows) -> Result<Vec<PartManifest>> {
        let mut parts = Vec::new();
        if self.out.is_some() {
            parts.push(self.put(rows.images)?);
            // For a split of a lake, evaluation labels the reports.
            parts.push(self.put(rows.findings)?);
        }
        if self.finds_lesions {
            parts.push(self.put(rows.lesions)?);
        }
        parts.push(self.put(rows.reports)?);
        parts.push(self.put(rows.sentences)?);
        parts.push(self.put(rows.links)?);
        parts.push(self.put(rows.failures)?);
        Ok(parts)
    }

    /// Writes the texts for people where the images come from a folder, once all shards are there.
    pub fn write_texts(&self, ctx: &Context) -> Result<()> {
        if let Some(out) = &self.out
            && !text_files::write(out, &self.lake, &self.partition)?
        {
            ctx.progress.line("reports/*.txt and reports.jsonl are written with the last shard");
        }
        Ok(())
    }

    fn put<R: Row>(&self, rows: Vec<R>) -> Result<PartManifest> {
        self.lake.write(&self.partition, self.shard, rows, &self.provenance)
    }
}
