//! `d2r export preview`: a preview model's run as a bundle for the browser: two ONNX graphs, a card, sample studies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow::ipc::writer::FileWriter;
use d2r_contracts::labels::{CHEXPERT_LABELS, LESION_CLASSES};
use d2r_contracts::preview_bundle::{
    BUNDLE_VERSION, BundleFile, CARD, DecoderSizes, ENCODER, PreviewCard, PreviewOptions, SAMPLES, STEP,
};
use d2r_contracts::tables::{GeneratedReportRow, ImageRow, ReportRow};
use d2r_viewer::sample_bundle::COLUMNS;
use d2r_viewer::session::PreviewSession;
use serde_json::json;

use crate::context::{Context, StageResult};
use crate::datasets::source::read_radiograph;
use crate::error::{Error, Result};
use crate::eval::page::gallery::picture;
use crate::lake::digest::FileDigest;
use crate::lake::{Lake, Partition, atomic_file};
use crate::preview_model::card::{PreviewModelCard, load_preview_model};
use crate::preview_model::onnx::graphs::graphs;
use crate::reporter::batches::given_boxes::{BoxesFrom, given_boxes};
use crate::training::model_card::{ModelCard, NOTICE};

/// The terms of the samples' data.
const LICENSE: &str = "LICENSE-DATA";
const LICENSE_TEXT: &str = "\
The sample studies and the preview model's weights come from the dataset that the model was distilled from, and are
under that dataset's terms. Phantoms are drawn and free of any. A preview model of credentialed data (MIMIC-CXR, VinDr-CXR)
stays with the credentialed user: do not publish such a bundle.
";

#[derive(Debug, Clone)]
pub struct Args {
    /// A finished distillation run.
    pub preview_model: PathBuf,
    /// The lake with the sample studies; without any the bundle has no samples.
    pub lake: PathBuf,
    pub dataset: String,
    pub split: String,
    pub out: PathBuf,
}

/// Writes the bundle; the card last, so that a half-written bundle has none.
///
/// # Errors
/// [`Error::InputMissing`] without a preview model or a lake; those of writing; [`Error::Internal`] when the written
/// bundle cannot be read back.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    let (model, card) = load_preview_model(&args.preview_model, tch::Device::Cpu)?;
    let lake = Lake::open(&args.lake)?;
    atomic_file::create_folders(&args.out)?;
    atomic_file::remove(&args.out.join(CARD))?;
    let properties =
        [("run_id", card.run_id.as_str()), ("model_sha256", card.model_sha256.as_str()), ("notice", NOTICE)];
    let graphs = graphs(&model, &properties)?;
    let (samples, count) = samples(ctx, &lake, &args)?;
    let mut files = Vec::new();
    for (name, bytes) in [
        (ENCODER, graphs.encoder.as_slice()),
        (STEP, graphs.step.as_slice()),
        (SAMPLES, samples.as_slice()),
        (LICENSE, LICENSE_TEXT.as_bytes()),
    ] {
        files.push(put(&args.out, name, bytes)?);
    }
    let preview = preview_card(ctx, &card, &files);
    let text = serde_json::to_vec_pretty(&preview).map_err(|e| Error::Internal(e.to_string()))?;
    PreviewSession::new(&text, &graphs.encoder, &graphs.step)
        .map_err(|e| Error::Internal(format!("the written bundle cannot be read back: {e}")))?;
    files.push(put(&args.out, CARD, &text)?);
    let model_bytes = (graphs.encoder.len() + graphs.step.len()) as f64;
    Ok(StageResult {
        stage: "export-preview".into(),
        cached: false,
        rows: BTreeMap::from([("samples".into(), count as u64)]),
        files,
        figures: BTreeMap::from([
            ("model_bytes".into(), model_bytes),
            ("parameters".into(), model.parameters() as f64),
        ]),
        wall_s: start.elapsed().as_secs_f64(),
    })
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<FileDigest> {
    let path = folder.join(name);
    atomic_file::write(&path, |w| w.write_all(bytes).map_err(|e| Error::io("write", &path, e)))
}

fn preview_card(ctx: &Context, card: &ModelCard<PreviewModelCard>, files: &[FileDigest]) -> PreviewCard {
    let (model, preview) = (&card.model.config, &ctx.config.preview.bundle);
    let grid = (model.input_size / 32) as usize;
    PreviewCard {
        version: BUNDLE_VERSION,
        run_id: card.run_id.clone(),
        model_sha256: card.model_sha256.clone(),
        report_model_sha256: card.model.report_model_sha256.clone(),
        code_version: env!("CARGO_PKG_VERSION").into(),
        input: card.model.input,
        classes: LESION_CLASSES.map(str::to_owned).into(),
        labels: CHEXPERT_LABELS.map(str::to_owned).into(),
        decoder: DecoderSizes {
            layers: model.layers as usize,
            heads: model.heads as usize,
            d_head: (model.d_model / model.heads) as usize,
            max_words: model.max_words as usize,
            grid,
            heat_grid: 2 * grid,
        },
        options: PreviewOptions {
            beam_size: preview.beam_size,
            block_ngram: preview.block_ngram,
            score_min: preview.score_min,
            nms_iou: preview.nms_iou,
            max_detections: preview.max_detections,
            link_weight_min: ctx.config.generate.link_weight_min as f32,
        },
        vocabulary: card.model.vocabulary.clone(),
        files: files
            .iter()
            .map(|f| BundleFile {
                name: f.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
                bytes: f.bytes,
                sha256: f.sha256.clone(),
            })
            .collect(),
        notice: NOTICE.into(),
    }
}

/// The first studies of the split that have a picture and a reference, as an uncompressed Arrow IPC file.
fn samples(ctx: &Context, lake: &Lake, args: &Args) -> Result<(Vec<u8>, usize)> {
    let partition = Partition::new(&args.dataset, &args.split);
    let images: Vec<ImageRow> = lake.read(&partition)?;
    let boxes = given_boxes(lake, &partition, BoxesFrom::Detector)?;
    let references: BTreeMap<String, String> = lake
        .read::<ReportRow>(&partition)?
        .into_iter()
        .filter(|r| r.section == ctx.config.ingest.section)
        .map(|r| (r.study_id, r.text_clean))
        .collect();
    let generated: BTreeMap<String, String> =
        lake.read::<GeneratedReportRow>(&partition)?.into_iter().map(|r| (r.image_id, r.text)).collect();
    let decode = ctx.decode_options();
    let mut columns: [Vec<String>; 4] = Default::default();
    let mut pictures: Vec<Vec<u8>> = Vec::new();
    let root = if images.is_empty() { PathBuf::new() } else { lake.dataset_root(&args.dataset)? };
    for image in images {
        if pictures.len() == ctx.config.preview.bundle.samples {
            break;
        }
        let Some(reference) = references.get(&image.study_id) else { continue };
        // An image that cannot be used has its row in `failures` since it was ingested.
        let Ok(radiograph) = read_radiograph(&root, &image, &decode) else { continue };
        let scale = |v: f32| v / radiograph.width.max(1) as f32;
        let found = boxes.get(&image.image_id).map_or(&[][..], Vec::as_slice);
        let list: Vec<_> = found
            .iter()
            .map(|b| {
                json!({ "class_name": b.class_name, "score": b.score,
                "region": [scale(b.x_min), scale(b.y_min), scale(b.x_max), scale(b.y_max)] })
            })
            .collect();
        let teacher = generated.get(&image.image_id).cloned().unwrap_or_default();
        // A number in place of the dataset's id: a bundle leaves the folders of its dataset.
        let sample = format!("sample-{}", pictures.len() + 1);
        for (column, text) in columns.iter_mut().zip([sample, reference.clone(), teacher, json!(list).to_string()]) {
            column.push(text);
        }
        pictures.push(picture(&radiograph)?);
    }
    let count = pictures.len();
    let [studies, references, teachers, boxes] = columns.map(|c| Arc::new(StringArray::from(c)) as ArrayRef);
    let pictures = Arc::new(BinaryArray::from_iter_values(pictures)) as ArrayRef;
    let internal = |e: arrow::error::ArrowError| Error::Internal(format!("write the samples: {e}"));
    let arrays = COLUMNS.into_iter().zip([studies, pictures, references, teachers, boxes]);
    let batch = RecordBatch::try_from_iter(arrays).map_err(internal)?;
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, &batch.schema()).map_err(internal)?;
    writer.write(&batch).map_err(internal)?;
    writer.finish().map_err(internal)?;
    drop(writer);
    Ok((bytes, count))
}
