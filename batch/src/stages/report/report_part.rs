//! Where the rows of one `d2r report` go: a part of each table, and text files where the images come from a folder.

use std::path::PathBuf;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{
    FailureRow, FindingRow, GeneratedReportRow, ImageRow, LesionRow, ReportSentenceRow, SentenceBoxRow, TimingRow,
};

use crate::context::{Context, StageResult};
use crate::error::Result;
use crate::lake::{Commit, Committed, Lake, Partition, Provenance, Shard};
use crate::progress::Progress;
use crate::stages::report::images::ImageDigests;
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
    /// The classes of the lesions.
    labels: LabelSet,
    progress: Progress,
}

impl ReportPart {
    /// The parts of this work.
    pub fn new<W: ReportWriter>(ctx: &Context, args: &Args, writer: &W, images: &ImageDigests) -> Result<Self> {
        let (lake, partition, out) = match &args.source {
            ImageSource::Lake { lake, dataset, split } => (Lake::open(lake)?, Partition::new(dataset, split), None),
            ImageSource::Folder { out, .. } => {
                (Lake::create(out)?, Partition::new(FOLDER.0, FOLDER.1), Some(out.clone()))
            }
        };
        let (identity, place) = (writer.identity()?, partition.to_string());
        let allow_phi = ctx.config.ingest.allow_phi.to_string();
        let burned_in = if args.refuse_burned_in { "refused" } else { "flagged" };
        let key_of = |images: &str| {
            let mut key = vec![("verb", STAGE), ("allow_phi", &allow_phi), ("burned_in", burned_in)];
            key.extend([("partition", place.as_str()), ("images", images)]);
            key.extend(identity.iter().map(|(label, value)| (*label, value.as_str())));
            work_key(&key)
        };
        let named = Provenance::of_work(STAGE, key_of(&images.names), Some(writer.model_sha256()));
        let provenance = Provenance { work_key: key_of(&images.own), group: key_of(&images.all), ..named };
        Ok(Self {
            lake,
            partition,
            shard: args.shard,
            provenance,
            out,
            finds_lesions: writer.finds_lesions(),
            labels: writer.labels().clone(),
            progress: ctx.progress,
        })
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
        let tables: Vec<_> = tables.into_iter().map(|table| (&self.partition, table)).collect();
        let found = self.lake.finished(&tables, self.shard, &self.provenance)?;
        Ok(found.map(|committed| self.result(&committed, true)))
    }

    /// Writes the rows about `studies` studies in one commit.
    pub fn write(&self, rows: ReportRows, studies: usize, mut times: StageTimes) -> Result<StageResult> {
        let mut commit = self.lake.begin(self.shard, &self.provenance)?.with_labels(&self.labels);
        let mut write_ms = 0.0;
        timed(&mut write_ms, || self.add(&mut commit, rows))?;
        times.write_ms += write_ms;
        commit.add(&self.partition, vec![times.row(STAGE, &self.provenance, self.shard, studies)])?;
        let committed = commit.finish()?;
        if let Some(notice) = committed.notice() {
            self.progress.line(&notice);
        }
        Ok(self.result(&committed, false))
    }

    fn result(&self, committed: &Committed, cached: bool) -> StageResult {
        StageResult { cached, ..StageResult::of_commit(STAGE, &self.lake, committed) }
    }

    fn add(&self, commit: &mut Commit<'_>, rows: ReportRows) -> Result<()> {
        let partition = &self.partition;
        if self.out.is_some() {
            commit.add(partition, rows.images)?;
            // For a split of a lake, evaluation labels the reports.
            commit.add(partition, rows.findings)?;
        }
        if self.finds_lesions {
            commit.add(partition, rows.lesions)?;
        } else {
            // Boxes of a preview model that reported on these images before.
            commit.remove::<LesionRow>(partition);
        }
        commit.add(partition, rows.reports)?;
        commit.add(partition, rows.sentences)?;
        commit.add(partition, rows.links)?;
        commit.add(partition, rows.failures)?;
        Ok(())
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
}
