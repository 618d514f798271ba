//! Where the rows of one `d2r report` go: a part of each table, and text files where the images come from a folder.

use std::path::PathBuf;
use std::time::Instant;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{
    FailureRow, FindingRow, GeneratedReportRow, ImageRow, LesionRow, ReportSentenceRow, SentenceBoxRow, TimingRow,
};
use serde::{Deserialize, Serialize};

use crate::context::{Context, StageResult};
use crate::error::Result;
use crate::lake::{Commit, Committed, Lake, Partition, Provenance, Shard, Unfinished};
use crate::progress::Progress;
use crate::stages::report::images::ImageDigests;
use crate::stages::report::report_rows::ReportRows;
use crate::stages::report::report_writer::ReportWriter;
use crate::stages::report::{Args, ImageSource, text_files};
use crate::stages::stage_times::StageTimes;
use crate::stages::work_key::work_key;

const STAGE: &str = "report";
/// Dataset and split of a folder's own lake.
pub const FOLDER: (&str, &str) = ("folder", "test");

/// What is counted over all images of a shard.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Counts {
    pub times: StageTimes,
    /// Images whose header says that text is burned into the pixels.
    pub burned_in: usize,
}

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
        if let Some(committed) = &found {
            self.lake.discard_unfinished(&self.partition, self.shard, &self.provenance, committed)?;
        }
        Ok(found.map(|committed| self.result(&committed, true)))
    }

    /// What an earlier process finished of this work; nothing where `again` says why.
    pub fn kept(&self, again: Option<&str>) -> Result<Unfinished> {
        let kept = self.lake.unfinished(&self.partition, self.shard, &self.provenance, again)?;
        kept.said().iter().for_each(|line| self.progress.line(line));
        Ok(kept)
    }

    /// Keeps the rows about `studies` studies, so that a later process continues after them.
    pub fn keep(&self, kept: &mut Unfinished, rows: ReportRows, studies: u64, counts: &mut Counts) -> Result<()> {
        let start = Instant::now();
        let mut sub_part = kept.begin(&self.provenance)?;
        if self.out.is_some() {
            sub_part.add(rows.images)?;
            sub_part.add(rows.findings)?;
        }
        if self.finds_lesions {
            sub_part.add(rows.lesions)?;
        }
        sub_part.add(rows.reports)?;
        sub_part.add(rows.sentences)?;
        sub_part.add(rows.links)?;
        sub_part.add(rows.failures)?;
        counts.times.add_writing(start);
        sub_part.finish(studies, counts)
    }

    /// Writes the rows about all `studies` studies in one commit: those that were kept, and the last ones.
    pub fn write(
        &self,
        kept: Unfinished,
        rows: ReportRows,
        studies: u64,
        mut times: StageTimes,
    ) -> Result<StageResult> {
        let mut commit = self.lake.begin(self.shard, &self.provenance)?.with_labels(&self.labels);
        let start = Instant::now();
        self.add(&mut commit, &kept, rows)?;
        times.add_writing(start);
        let studies = usize::try_from(studies).unwrap_or(usize::MAX);
        commit.add(&self.partition, vec![times.row(STAGE, &self.provenance, self.shard, studies)])?;
        let committed = commit.finish()?;
        kept.discard(&committed)?;
        if let Some(notice) = committed.notice() {
            self.progress.line(&notice);
        }
        Ok(self.result(&committed, false))
    }

    fn result(&self, committed: &Committed, cached: bool) -> StageResult {
        StageResult { cached, ..StageResult::of_commit(STAGE, &self.lake, committed) }
    }

    fn add(&self, commit: &mut Commit<'_>, kept: &Unfinished, rows: ReportRows) -> Result<()> {
        let partition = &self.partition;
        if self.out.is_some() {
            commit.add_all(partition, kept, rows.images)?;
            // For a split of a lake, evaluation labels the reports.
            commit.add_all(partition, kept, rows.findings)?;
        }
        if self.finds_lesions {
            commit.add_all(partition, kept, rows.lesions)?;
        } else {
            // Boxes of a preview model that reported on these images before.
            commit.remove::<LesionRow>(partition);
        }
        commit.add_all(partition, kept, rows.reports)?;
        commit.add_all(partition, kept, rows.sentences)?;
        commit.add_all(partition, kept, rows.links)?;
        commit.add_all(partition, kept, rows.failures)?;
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
