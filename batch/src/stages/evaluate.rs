//! `d2r evaluate`: tables of a split in, figures out, as rows of `metrics` and `findings` and as one HTML page.
//! The same inputs and settings give the same rows; figures that the lake holds are not computed again.

mod inputs;
mod page;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::labels::CHEXPERT_LABELS;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FindingRow, MetricRow};

use crate::context::{Context, StageResult};
use crate::error::{Error, Result};
use crate::eval::detection::detection_figures::{DetectionFigures, Resampling};
use crate::eval::figure::Figure;
use crate::eval::text::label_f1::States;
use crate::eval::text::report_figures::{ReportFigures, link_figures};
use crate::lake::digest::sha256_hex;
use crate::lake::validate::consistency;
use crate::lake::{Commit, Lake, Partition, Provenance, Shard, atomic_file};
use crate::stages::work_key::SOURCE_SHA256;
use d2r_contracts::report_labeler::label;
use inputs::{DetectorInput, ReportsInput};

#[derive(Debug, Clone)]
pub struct Args {
    pub lake: PathBuf,
    pub dataset: String,
    pub split: String,
    /// The truth tables of a phantom; annotators' boxes are the reference when absent.
    pub truth: Option<PathBuf>,
}

/// The whole partition in one part.
const WHOLE: Shard = Shard { index: 0, count: 1 };
fn resampling(ctx: &Context) -> Resampling {
    Resampling { draws: ctx.config.evaluate.bootstrap_draws, seed: ctx.config.run.seed }
}

/// The identity of an evaluation: its settings and the digests of all that is read.
fn evaluation(ctx: &Context, stage: &str, args: &Args, digests: &[String]) -> Provenance {
    let config = &ctx.config;
    let settings = serde_json::json!({
        "stage": stage,
        "sources": SOURCE_SHA256,
        "dataset": args.dataset,
        "split": args.split,
        "seed": config.run.seed,
        "draws": config.evaluate.bootstrap_draws,
        "link_iou_min": config.evaluate.link_iou_min,
        "section": config.ingest.section,
        "inputs": digests,
    });
    Provenance::of_work(stage, sha256_hex(settings.to_string().as_bytes()), None)
}

/// Figures of the detector's boxes in a split, against the truth or against annotators' boxes.
///
/// # Errors
/// [`Error::NoRows`] when the split has no images, no detections, or nothing to compare them with.
pub fn run_detector(ctx: &Context, args: Args) -> Result<StageResult> {
    const STAGE: &str = "evaluate-detector";
    let start = Instant::now();
    let split = EvaluatedSplit::open(&args)?;
    let digests = DetectorInput::digests(&split, &args)?;
    let provenance = evaluation(ctx, STAGE, &args, &digests);
    let owns = |row: &MetricRow| row.stage == "detector";
    if let Some(found) = split.written(&provenance.run_id, owns)? {
        return split.result(STAGE, true, found, start);
    }
    let input = DetectorInput::read(&split, &args)?;
    split.check_unchanged(&digests, &DetectorInput::digests(&split, &args)?)?;
    ctx.stop.check()?;
    let figures = DetectionFigures::of(&input.boxes, &input.labels, input.truth, resampling(ctx)).figures;
    let provenance = Provenance { model_sha256: input.model_sha256, ..provenance };
    let mut commit = split.lake.begin(WHOLE, &provenance)?;
    let rows = split.add_metrics(&mut commit, &figures, &provenance)?;
    commit.finish()?;
    split.result(STAGE, false, rows, start)
}

/// Figures of a split's generated reports against the references, and of their links against the truth.
///
/// # Errors
/// [`Error::NoRows`] when the split has no generated reports, or no references for them.
pub fn run_reports(ctx: &Context, args: Args) -> Result<StageResult> {
    const STAGE: &str = "evaluate-reports";
    let start = Instant::now();
    let split = EvaluatedSplit::open(&args)?;
    let digests = ReportsInput::digests(&split, &args)?;
    let provenance = evaluation(ctx, STAGE, &args, &digests);
    let owns = |row: &MetricRow| row.stage == "reports" || row.stage == "links";
    if let Some(found) = split.written(&provenance.run_id, owns)? {
        return split.result(STAGE, true, found, start);
    }
    let input = ReportsInput::read(ctx, &split, &args)?;
    split.check_unchanged(&digests, &ReportsInput::digests(&split, &args)?)?;
    ctx.stop.check()?;
    let computed = ReportFigures::of(&input.pairs, &input.train, resampling(ctx));
    let mut figures = computed.figures;
    if let Some(links) = &input.links {
        figures.extend(link_figures(links, ctx.config.evaluate.link_iou_min, resampling(ctx)));
    }
    ctx.stop.check()?;
    let provenance = Provenance { model_sha256: input.model_sha256.clone(), ..provenance };
    let mut commit = split.lake.begin(WHOLE, &provenance)?;
    split.add_findings(&mut commit, &input)?;
    let rows = split.add_metrics(&mut commit, &figures, &provenance)?;
    commit.finish()?;
    split.result(STAGE, false, rows, start)
}

/// Writes the page of a split: figures, tables, plots, studies, timings, failures. What is not there is left out.
///
/// # Errors
/// When tables cannot be read or the page cannot be written.
pub fn write_report_html(ctx: &Context, args: &Args, path: &Path) -> Result<()> {
    let split = EvaluatedSplit::open(args)?;
    let html = page::build(ctx, &split, args)?.html();
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    }
    atomic_file::write(path, |w| w.write_all(html.as_bytes()).map_err(|e| Error::io("write", path, e)))?;
    Ok(())
}

/// A partition of a lake that is evaluated.
struct EvaluatedSplit {
    lake: Lake,
    partition: Partition,
}

impl EvaluatedSplit {
    fn open(args: &Args) -> Result<Self> {
        let partition = Partition::new(&args.dataset, &args.split);
        partition.check()?;
        Ok(Self { lake: Lake::open(&args.lake)?, partition })
    }

    fn read<R: Row>(&self) -> Result<Vec<R>> {
        self.lake.read(&self.partition)
    }

    /// All tables that were read are of one state of the lake, and each stage's are of one run.
    fn check_unchanged(&self, before: &[String], after: &[String]) -> Result<()> {
        if before != after {
            let place = self.lake.root().display();
            return Err(Error::Temporary(format!(
                "{place}: {} was written while it was read; run again",
                self.partition
            )));
        }
        consistency::check_partition(&self.lake, &self.partition)
    }

    /// `table digest` of the partition, for work keys.
    fn digest(&self, table: &str) -> Result<String> {
        Ok(format!("{table} {}", self.lake.content_digest(table, &self.partition)?))
    }

    /// The figures that this very evaluation wrote before.
    fn written(&self, run_id: &str, owns: impl Fn(&MetricRow) -> bool) -> Result<Option<Vec<MetricRow>>> {
        let rows: Vec<MetricRow> =
            self.read::<MetricRow>()?.into_iter().filter(|r| r.run_id == run_id && owns(r)).collect();
        Ok((!rows.is_empty()).then_some(rows))
    }

    fn add_metrics(&self, commit: &mut Commit<'_>, figures: &[Figure], by: &Provenance) -> Result<Vec<MetricRow>> {
        let rows: Vec<MetricRow> = figures.iter().map(|f| f.metric_row(&by.run_id)).collect();
        commit.add(&self.partition, rows.clone())?;
        Ok(rows)
    }

    /// Labels of the generated reports; those of the references too, unless ingest read them from the dataset.
    fn add_findings(&self, commit: &mut Commit<'_>, input: &ReportsInput) -> Result<()> {
        let rows_of = |study_id: &str, report_id: Option<&str>, states: States| {
            let origin = if report_id.is_some() { "generated" } else { "reference" };
            let row = |(name, state): (&str, d2r_contracts::labels::LabelState)| FindingRow {
                study_id: study_id.to_owned(),
                report_id: report_id.map(str::to_owned),
                origin: origin.to_owned(),
                label: name.to_owned(),
                state: state.as_str().to_owned(),
            };
            CHEXPERT_LABELS.into_iter().zip(states).map(row).collect::<Vec<_>>()
        };
        let mut references: Vec<FindingRow> =
            input.references.iter().flat_map(|(study, text)| rows_of(study, None, text.labels())).collect();
        references.sort_by(Row::key_cmp);
        let parts = self.lake.parts(FindingRow::TABLE, &self.partition)?;
        let write_references = !parts.iter().any(|p| p.producer == "ingest" && p.rows > 0);
        let mut rows: Vec<FindingRow> =
            input.generated.iter().flat_map(|g| rows_of(&g.study_id, Some(&g.report_id), label(&g.text))).collect();
        if write_references {
            rows.extend(references);
        }
        commit.add(&self.partition, rows)?;
        Ok(())
    }

    fn result(&self, stage: &str, cached: bool, metrics: Vec<MetricRow>, start: Instant) -> Result<StageResult> {
        let parts = self.lake.parts(MetricRow::TABLE, &self.partition)?;
        Ok(StageResult {
            stage: stage.to_owned(),
            cached,
            rows: BTreeMap::from([(MetricRow::TABLE.to_owned(), metrics.len() as u64)]),
            files: parts.iter().map(|p| p.file_digest(self.lake.root())).collect(),
            figures: metrics.into_iter().map(|r| (format!("{}.{}", r.stage, r.metric), r.value)).collect(),
            wall_s: start.elapsed().as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests;
