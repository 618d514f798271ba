//! `d2r report`: opens images, detects lesions, writes reports, and stores their rows.
//! Images come from a split of a lake or from a folder; the report model or the browser's preview model writes about
//! them.

mod explanation;
mod images;
mod preview_model_writer;
mod report_model_writer;
mod report_part;
mod report_rows;
mod report_writer;
mod similarity;
mod text_files;

use std::path::{Path, PathBuf};
use std::time::Instant;

use self::images::{ImageReader, OpenedImages};
use self::preview_model_writer::PreviewModelWriter;
use self::report_model_writer::ReportModelWriter;
pub use self::report_part::FOLDER;
use self::report_part::{Counts, ReportPart};
use self::report_rows::ReportRows;
use self::report_writer::ReportWriter;
use crate::context::{Context, StageResult};
use crate::error::{Error, Result};
use crate::lake::{Lake, Shard, images_per_sub_part};
pub use crate::reporter::batches::given_boxes::BoxesFrom;
use crate::stages::evaluate;
use crate::stages::ingest::header_flags;
use crate::stages::stage_times::timed;

/// Where the images come from.
#[derive(Debug, Clone)]
pub enum ImageSource {
    /// A split of a lake; its rows go into the same partition.
    Lake { lake: PathBuf, dataset: String, split: String },
    /// A folder of PNG, JPEG and DICOM files; `out` receives a lake of their own, `reports/*.txt`,
    /// `reports.jsonl` and, unless the work is divided into shards, `report.html`.
    Folder { images: PathBuf, out: PathBuf },
}

/// What writes the reports.
#[derive(Debug, Clone)]
pub enum WritingModel {
    /// The run of a finished report model. `explain` receives a picture (SVG) of each image's first report.
    /// `boxes`: whose boxes it is given for a split of a lake.
    ReportModel { run: PathBuf, explain: Option<PathBuf>, boxes: BoxesFrom },
    /// The folder of a preview bundle, which detects lesions itself.
    PreviewModel { bundle: PathBuf },
}

/// What to report on, with what.
#[derive(Debug, Clone)]
pub struct Args {
    pub source: ImageSource,
    pub model: WritingModel,
    /// The part of the studies to do.
    pub shard: Shard,
    /// Images of a folder whose header says that text is burned into the pixels are rows of `failures`.
    pub refuse_burned_in: bool,
}

/// Writes reports, or finds that the same ones were written.
///
/// # Errors
/// [`crate::Error::NoRows`] for a split without images, [`crate::Error::InputMissing`] when a model is not there. An
/// image that cannot be used becomes a row of `failures`.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    let result = match &args.model {
        WritingModel::ReportModel { run, explain, boxes } => {
            write_reports(ctx, &args, &ReportModelWriter::load(ctx, &args.source, run, explain.clone(), *boxes)?)
        }
        WritingModel::PreviewModel { bundle } => {
            write_reports(ctx, &args, &PreviewModelWriter::load(ctx, &args.source, bundle)?)
        }
    }?;
    if let ImageSource::Folder { images, out } = &args.source
        && args.shard == Shard::default()
    {
        write_page(ctx, images, out)?;
    }
    Ok(StageResult { wall_s: start.elapsed().as_secs_f64(), ..result })
}

/// `report.html` beside the tables of a folder's reports: radiographs, boxes, reports and links.
fn write_page(ctx: &Context, images: &Path, out: &Path) -> Result<()> {
    let (dataset, split) = FOLDER;
    Lake::open(out)?.register_dataset(dataset, images, dataset)?;
    let (dataset, split) = (dataset.to_owned(), split.to_owned());
    let page = evaluate::Args { lake: out.to_path_buf(), dataset, split, truth: None };
    evaluate::write_report_html(ctx, &page, &out.join("report.html"))
}

/// Opened images, detections, written reports, rows: chunk by chunk.
fn write_reports<W: ReportWriter>(ctx: &Context, args: &Args, writer: &W) -> Result<StageResult> {
    let mut reader = ImageReader::new(ctx, args, writer.views())?;
    let part = ReportPart::new(ctx, args, writer, &reader.digests()?)?;
    if let Some(result) = part.current()?
        && !writer.explains()
    {
        part.write_texts(ctx)?;
        return Ok(result);
    }
    let drawn = writer.explains().then_some("for --explain draws all images");
    let mut kept = part.kept(ctx.again().or(drawn))?;
    let mut counts: Counts = kept.state()?.unwrap_or_default();
    let (studies, finished) = (reader.count(), kept.finished());
    let mut rows = ReportRows::default();
    if finished == 0 {
        rows.failures = reader.take_failures();
    } else {
        reader.skip(finished)?;
    }
    let task = ctx.progress.task("report", studies, "images");
    task.continue_after(finished);
    let (sub_part, mut in_rows) = (images_per_sub_part(reader.chunk_size()), 0);
    let mut chunks = reader.opened()?;
    while let Some(opened) = timed(&mut counts.times.waiting_ms, || chunks.next()).transpose()? {
        counts.times.add_opening(opened.wall_ms, opened.threads);
        if in_rows >= sub_part {
            part.keep(&mut kept, std::mem::take(&mut rows), in_rows, &mut counts)?;
            in_rows = 0;
        }
        let done = opened.studies;
        match write_chunk(ctx, writer, opened, &mut rows, &mut counts) {
            Ok(()) => in_rows += done,
            Err(error) => {
                if matches!(error, Error::Stopped { .. }) && in_rows > 0 {
                    part.keep(&mut kept, rows, in_rows, &mut counts)?;
                }
                return Err(error);
            }
        }
        task.advance(done);
    }
    task.finish();
    header_flags::warn_of_burned_in(counts.burned_in);
    let result = part.write(kept, rows, studies, counts.times)?;
    part.write_texts(ctx)?;
    Ok(result)
}

/// Detections, reports and rows of opened images.
fn write_chunk<W: ReportWriter>(
    ctx: &Context,
    writer: &W,
    opened: OpenedImages,
    rows: &mut ReportRows,
    counts: &mut Counts,
) -> Result<()> {
    ctx.stop.check()?;
    let burned_in = header_flags::burned_in(opened.images.iter().map(|i| &i.row));
    let times = &mut counts.times;
    let detections = timed(&mut times.model_ms, || writer.detect(&opened.images))?;
    let reports = timed(&mut times.model_ms, || writer.write(&opened.images, detections))?;
    rows.add(opened, reports, writer.model_sha256(), writer.labels());
    counts.burned_in += burned_in;
    Ok(())
}

#[cfg(test)]
mod tests;
