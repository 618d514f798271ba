//! Reports by a preview bundle, for a folder of films or a split of the lake: what the browser says of them, as rows.

use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::grounding::BoxFacts;
use d2r_contracts::preview_bundle::{CARD, ENCODER, STEP};
use d2r_contracts::report_text::sentences;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow, TimingRow};
use d2r_viewer::session::{Analysis, PreviewSession};

use super::{FOLDER, Job, Source, for_people};
use crate::context::{Context, StageResult};
use crate::datasets::source::list_folder;
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition, Provenance, Shard};
use crate::reporter::batches::study::box_of;
use crate::stages::report::films::{open, row};
use crate::stages::report::report_rows::{FinishedReport, LinkedSentence, Tables};
use crate::stages::work_key::work_key;

/// Who writes a detector's boxes.
const ANNOTATE: &str = "annotate";

/// What to report on, with what.
#[derive(Debug, Clone)]
pub struct Args {
    /// The films; those of a lake need no boxes, the student brings its own.
    pub source: Source,
    /// The bundle.
    pub bundle: PathBuf,
    /// For a folder: receives a small lake, `reports/*.txt` and `reports.jsonl`.
    pub out: Option<PathBuf>,
    /// The part of the films to do.
    pub shard: Shard,
}

/// A file of a bundle.
///
/// # Errors
/// [`Error::InputMissing`] when it is not there.
pub fn read_file(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(name);
    let hint = "expected a folder of `d2r export preview`".to_owned();
    std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::InputMissing { path: path.clone(), hint },
        _ => Error::io("read", &path, e),
    })
}

/// Reads a bundle from its folder.
///
/// # Errors
/// [`Error::InputMissing`] without its files, [`Error::BadData`] when they are not those of its card.
pub fn read_bundle(folder: &Path) -> Result<PreviewSession> {
    let (card, encoder, step) = (read_file(folder, CARD)?, read_file(folder, ENCODER)?, read_file(folder, STEP)?);
    PreviewSession::new(&card, &encoder, &step).map_err(|e| Error::bad_data(folder.display(), e))
}

/// Where the films are and where their rows go.
struct Place {
    lake: Lake,
    partition: Partition,
    root: PathBuf,
    images: Vec<ImageRow>,
    failures: Vec<FailureRow>,
    own_films: bool,
}

impl Place {
    fn of(args: &Args) -> Result<Self> {
        match &args.source {
            Source::Folder { images: root } => {
                let out = args.out.as_ref().ok_or_else(|| Error::Usage("--images needs --out DIR".into()))?;
                let listed = list_folder(root, "report")?;
                let (lake, partition) = (Lake::create(out)?, Partition::new(FOLDER.0, FOLDER.1));
                let (root, failures) = (root.clone(), listed.failures);
                Ok(Self { lake, partition, root, images: args.shard.of(listed.images), failures, own_films: true })
            }
            Source::Lake { lake, dataset, split } => {
                let (lake, partition) = (Lake::open(lake)?, Partition::new(dataset, split));
                let images: Vec<ImageRow> = lake.read_some(&partition, "run `d2r ingest`")?;
                let others = lake.parts(LesionRow::TABLE, &partition)?;
                if let Some(other) = others.iter().find(|p| p.producer == ANNOTATE && p.rows > 0) {
                    let problem = format!("{} holds a detector's boxes of {partition}", other.file);
                    let advice = "a student brings its own; use a lake without them";
                    return Err(Error::bad_data(lake.root().display(), format!("{problem}; {advice}")));
                }
                let root = lake.dataset_root(dataset)?;
                let images = args.shard.of(images);
                Ok(Self { lake, partition, root, images, failures: Vec::new(), own_films: false })
            }
        }
    }
}

/// Writes the reports, or finds that the same ones were written.
///
/// # Errors
/// Those of [`read_bundle`] and of writing. A film that cannot be used becomes a row of `failures`.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    let session = read_bundle(&args.bundle)?;
    let place = Place::of(&args)?;
    let size = |i: &ImageRow| std::fs::metadata(place.root.join(&i.path)).map_or(0, |m| m.len());
    let inputs: Vec<String> = place.images.iter().map(|i| format!("{} {}", i.path, size(i))).collect();
    let card = session.card();
    let files = serde_json::to_string(&(&card.files, &card.options)).map_err(|e| Error::Internal(e.to_string()))?;
    let key = work_key(&[
        ("verb", "report by student"),
        ("bundle", &files),
        ("allow_phi", &ctx.config.ingest.allow_phi.to_string()),
        ("shard", &args.shard.to_string()),
        ("inputs", &inputs.join("\n")),
    ]);
    let provenance = Provenance {
        run_id: format!("report-{}", &key[..12]),
        model_sha256: Some(card.model_sha256.clone()),
        work_key: key,
    };
    let Place { lake, partition, root, images, failures, own_films } = place;
    let job = Job { ctx, lake: &lake, partition, shard: args.shard, provenance, own_films, own_boxes: true };
    if let Some(parts) = job.current()? {
        return Ok(job.result(&parts, true, start));
    }
    let mut tables = Tables { failures, ..Tables::default() };
    let decode = ImageDecodeOptions { allow_phi: ctx.config.ingest.allow_phi, ..ImageDecodeOptions::default() };
    let task = ctx.progress.task("report", images.len() as u64, "films");
    let (n, mut decode_ms, mut model_ms) = (images.len() as i64, 0.0, 0.0);
    for image in images {
        ctx.stop.check()?;
        let before = Instant::now();
        let opened = open(&root, &image, &decode);
        decode_ms += before.elapsed().as_secs_f64() * 1e3;
        match opened {
            Ok((image, film)) => {
                let before = Instant::now();
                let analysis = session
                    .analyze_radiograph(&film, &mut |_| true)
                    .map_err(|e| Error::Internal(format!("{}: {e}", image.path)))?;
                model_ms += before.elapsed().as_secs_f64() * 1e3;
                add(&session, image, &analysis, &mut tables)?;
            }
            Err(e) => tables.failures.push(e.into_row("report", &image.path, Some(&image.image_id))),
        }
        task.advance(1);
    }
    task.finish();
    let timing = TimingRow {
        run_id: job.provenance.run_id.clone(),
        stage: "report".into(),
        shard: args.shard.to_string(),
        n,
        read_ms: 0.0,
        decode_ms,
        model_ms,
        write_ms: 0.0,
        gpu_idle_share: None,
    };
    if let Some(out) = args.out.as_ref().filter(|_| own_films) {
        for_people(out, &tables)?;
    }
    let parts = job.put(tables, timing)?;
    Ok(job.result(&parts, false, start))
}

fn add(session: &PreviewSession, image: ImageRow, analysis: &Analysis, tables: &mut Tables) -> Result<()> {
    let card = session.card();
    let first = tables.lesions.len();
    for (rank, detection) in analysis.image.detections.iter().enumerate() {
        let threshold = f64::from(card.options.score_min);
        let found = (detection.class_id, detection.score, detection.region);
        tables.lesions.push(row(&image.image_id, rank, found, threshold, &card.model_sha256)?);
    }
    let boxes: Vec<BoxFacts> = tables.lesions[first..]
        .iter()
        .map(|l| BoxFacts::of(l.class_id, &box_of(l), analysis.image.width as f32))
        .collect();
    let box_ids = tables.lesions[first..].iter().map(|l| l.box_id.clone()).collect();
    let spans = sentences(&analysis.report);
    let linked = spans.iter().zip(&analysis.sentences);
    tables.add_report(FinishedReport {
        report_id: format!("{}-r", image.image_id),
        image: &image,
        text: &analysis.report,
        sentences: linked
            .map(|(span, told)| LinkedSentence { span, log_prob: told.log_prob, links: told.links.clone() })
            .collect(),
        boxes,
        box_ids,
        log_probs: &analysis.log_probs,
        ended: analysis.ended,
        beam_size: card.options.beam_size,
        max_words: card.decoder.max_words,
        model_sha256: &card.model_sha256,
    });
    tables.images.push(image);
    Ok(())
}
