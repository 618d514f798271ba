//! Writes reports: for a split of the lake, from its annotated boxes; or for a folder of films, boxes included.

pub mod by_preview_model;
pub mod films;
mod report_rows;
mod similarity;
mod written;

use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{
    FailureRow, FindingRow, GeneratedReportRow, ImageRow, LesionRow, ReportSentenceRow, SentenceBoxRow, TimingRow,
};

use self::films::{Film, Films};
use self::report_rows::Tables;
use self::similarity::Similarity;
use self::written::Writer;
use crate::context::{Context, StageResult};
use crate::error::{Error, Result};
use crate::lake::{Lake, PartManifest, Partition, Provenance, Shard, atomic_file};
use crate::reporter::card::load_reporter;
use crate::stages::decoding::swapped_tokens;
use crate::stages::work_key::work_key;

/// Films read, and written about, at a time.
const CHUNK: usize = 64;
/// Dataset and split of a folder's own lake.
const FOLDER: (&str, &str) = ("films", "test");

/// Where the films come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An annotated split of a lake.
    Lake {
        /// The lake.
        lake: PathBuf,
        /// Its dataset.
        dataset: String,
        /// Its split.
        split: String,
    },
    /// A folder of PNG, JPEG and DICOM files.
    Folder {
        /// The folder.
        images: PathBuf,
    },
}

/// What to report on, with what.
#[derive(Debug, Clone)]
pub struct Args {
    /// The films.
    pub source: Source,
    /// A finished report model's run.
    pub reporter: PathBuf,
    /// For a folder: receives a small lake, `reports/*.txt` and `reports.jsonl`.
    pub out: Option<PathBuf>,
    /// Receives a picture of each report.
    pub explain: Option<PathBuf>,
    /// The part of the films to do.
    pub shard: Shard,
}

/// Writes reports, or finds that the same ones were written.
///
/// # Errors
/// [`Error::InputMissing`] when films, boxes or models are not there. A film that cannot be used becomes a row of
/// `failures`.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    let (mut model, card) = load_reporter(&args.reporter, ctx.device)?;
    model.set_compute(ctx.compute_kind());
    let decode = ImageDecodeOptions { allow_phi: ctx.config.ingest.allow_phi, ..ImageDecodeOptions::default() };
    let spec = card.model.visual;
    let (lake, partition, films, inputs) = match &args.source {
        Source::Lake { lake, dataset, split } => {
            let lake = Lake::open(lake)?;
            let partition = Partition::new(dataset, split);
            let inputs = format!(
                "{} {}",
                lake.content_digest(ImageRow::TABLE, &partition)?,
                lake.content_digest(LesionRow::TABLE, &partition)?
            );
            let films = Films::of_lake(&lake, &partition, args.shard, decode, spec)?;
            (lake, partition, films, inputs)
        }
        Source::Folder { images } => {
            let out = args.out.as_ref().ok_or_else(|| Error::Usage("--images needs --out DIR".into()))?;
            let floor = ctx.config.annotate.score_floor;
            let films = Films::of_folder(
                images,
                args.shard,
                &args.reporter.join("detector"),
                (floor, ctx.device),
                decode,
                spec,
            )?;
            let inputs = films.digest();
            (Lake::create(out)?, Partition::new(FOLDER.0, FOLDER.1), films, inputs)
        }
    };
    let (seed, generate) = (ctx.config.run.seed, &ctx.config.generate);
    let config = serde_json::to_string(&(generate, seed, &ctx.config.annotate, ctx.config.ingest.allow_phi))
        .map_err(|e| Error::Internal(e.to_string()))?;
    let key = work_key(&[
        ("verb", "report"),
        ("config", &config),
        ("model", &card.model_sha256),
        ("detector", card.model.detector_sha256.as_deref().unwrap_or("none")),
        ("shard", &args.shard.to_string()),
        ("inputs", &inputs),
    ]);
    let provenance = Provenance {
        run_id: format!("report-{}", &key[..12]),
        model_sha256: Some(card.model_sha256.clone()),
        work_key: key,
    };
    let job = Job {
        ctx,
        lake: &lake,
        partition,
        shard: args.shard,
        provenance,
        own_films: matches!(args.source, Source::Folder { .. }),
        own_boxes: matches!(args.source, Source::Folder { .. }),
    };
    if args.explain.is_none()
        && let Some(parts) = job.current()?
    {
        return Ok(job.result(&parts, true, start));
    }
    let films = films.with_pictures(args.explain.is_some());
    let similarity = match ctx.config.generate.similarity_share > 0.0 {
        true => Similarity::of_run(&args.reporter, &card.model, model.d_visual(), ctx.device)?,
        false => None,
    };
    let swapped_tokens = swapped_tokens(ctx, &card.model.vocabulary)?;
    let writer =
        Writer { ctx, model: &model, card: &card, swapped_tokens, similarity, explain: args.explain.as_deref() };
    let (tables, timing) = job.write_reports(&writer, films)?;
    if job.own_films
        && let Some(out) = &args.out
    {
        for_people(out, &tables)?;
    }
    let parts = job.put(tables, timing)?;
    Ok(job.result(&parts, false, start))
}

struct Job<'a> {
    ctx: &'a Context,
    lake: &'a Lake,
    partition: Partition,
    shard: Shard,
    provenance: Provenance,
    /// The films are a folder's: images and findings are ours to write.
    own_films: bool,
    /// The boxes were found with the reports.
    own_boxes: bool,
}

impl Job<'_> {
    fn tables(&self) -> Vec<&'static str> {
        let mut tables = vec![
            GeneratedReportRow::TABLE,
            ReportSentenceRow::TABLE,
            SentenceBoxRow::TABLE,
            FailureRow::TABLE,
            TimingRow::TABLE,
        ];
        if self.own_films {
            tables.extend([ImageRow::TABLE, FindingRow::TABLE]);
        }
        if self.own_boxes {
            tables.push(LesionRow::TABLE);
        }
        tables
    }

    /// The parts of this very work, if they are all there.
    fn current(&self) -> Result<Option<Vec<PartManifest>>> {
        let mut parts = Vec::new();
        for table in self.tables() {
            match self.lake.current(table, &self.partition, self.shard, &self.provenance.work_key)? {
                Some(part) => parts.push(part),
                None => return Ok(None),
            }
        }
        Ok(Some(parts))
    }

    fn write_reports(&self, writer: &Writer, films: Films) -> Result<(Tables, TimingRow)> {
        let mut tables = Tables::default();
        let (mut decode_ms, mut model_ms) = (0.0, 0.0);
        let n = films.count();
        let task = self.ctx.progress.task("report", n as u64, "films");
        let mut reader = films.into_reader();
        loop {
            self.ctx.stop.check()?;
            let before = Instant::now();
            let Some((read, failures)) = reader.next_chunk(CHUNK, self.ctx)? else { break };
            decode_ms += before.elapsed().as_secs_f64() * 1e3;
            let count = (read.len() + failures.len()) as u64;
            tables.failures.extend(failures);
            let before = Instant::now();
            for batch in read.chunks(self.ctx.config.generate.batch_size.max(1)) {
                self.ctx.stop.check()?;
                let batch: Vec<&Film> = batch.iter().collect();
                writer.write(&batch, &mut tables)?;
            }
            model_ms += before.elapsed().as_secs_f64() * 1e3;
            for film in read {
                tables.images.push(film.image);
                tables.lesions.extend(film.lesions);
            }
            task.advance(count);
        }
        tables.failures.extend(reader.left_over());
        task.finish();
        let timing = TimingRow {
            run_id: self.provenance.run_id.clone(),
            stage: "report".into(),
            shard: self.shard.to_string(),
            n: n as i64,
            read_ms: 0.0,
            decode_ms,
            model_ms,
            write_ms: 0.0,
            gpu_idle_share: None,
        };
        Ok((tables, timing))
    }

    fn put(&self, tables: Tables, timing: TimingRow) -> Result<Vec<PartManifest>> {
        let mut parts = Vec::new();
        if self.own_films {
            parts.push(self.write(tables.images)?);
            // For a split of the lake, evaluation labels the reports.
            parts.push(self.write(tables.findings)?);
        }
        if self.own_boxes {
            parts.push(self.write(tables.lesions)?);
        }
        parts.push(self.write(tables.reports)?);
        parts.push(self.write(tables.sentences)?);
        parts.push(self.write(tables.links)?);
        parts.push(self.write(tables.failures)?);
        parts.push(self.write(vec![timing])?);
        Ok(parts)
    }

    fn write<R: Row>(&self, rows: Vec<R>) -> Result<PartManifest> {
        self.lake.write(&self.partition, self.shard, rows, &self.provenance)
    }

    fn result(&self, parts: &[PartManifest], cached: bool, start: Instant) -> StageResult {
        StageResult {
            stage: "report".into(),
            cached,
            rows: parts.iter().map(|p| (p.table.clone(), p.rows)).collect(),
            files: parts.iter().map(|p| p.file_digest(self.lake.root())).collect(),
            wall_s: start.elapsed().as_secs_f64(),
            ..StageResult::default()
        }
    }
}

/// One text file per report and one line per report, for people without Parquet.
fn for_people(out: &Path, tables: &Tables) -> Result<()> {
    let mut lines = String::new();
    for report in &tables.reports {
        // `<film>.txt`, and `<film>-r1.txt` and so on for further reports.
        let name = report.report_id.strip_suffix("-r").unwrap_or(&report.report_id);
        let name = format!("{}.txt", name.replace(['/', '\\'], "_"));
        let path = out.join("reports").join(name);
        atomic_file::create_folders(&out.join("reports"))?;
        let notice = crate::training::model_card::NOTICE;
        let text = format!("{}\n\n{notice}\n", report.text);
        atomic_file::write(&path, |w| w.write_all(text.as_bytes()).map_err(|e| Error::io("write", &path, e)))?;
        lines.push_str(&serde_json::to_string(report).map_err(|e| Error::Internal(e.to_string()))?);
        lines.push('\n');
    }
    let path = out.join("reports.jsonl");
    atomic_file::write(&path, |w| w.write_all(lines.as_bytes()).map_err(|e| Error::io("write", &path, e)))?;
    Ok(())
}
