//! Studies as examples of the report model and of the preview model. Their pixels are in the store of prepared images, and none
//! are held in memory.

use std::path::PathBuf;
use std::sync::Arc;

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::labels::LabelState;
use d2r_contracts::preprocess::{InputSpec, letterbox_of, to_model_input};
use d2r_contracts::report_labeler::label;
use d2r_contracts::space::{ImageSize, Letterbox};
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow};
use rayon::prelude::*;

use crate::context::Context;
use crate::datasets::prepared::{self, PreparedBytes, PreparedKey, PreparedStore, StoredBytes};
use crate::datasets::source::read_radiograph;
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition};
use crate::preview_model::card::KIND;
use crate::preview_model::distill::batch::PreviewExample;
use crate::preview_model::distill::targets::TargetBox;
use crate::preview_model::distill::trainer::Pair;
use crate::reporter::batches::collate::collate_visuals_of;
use crate::reporter::batches::examples::examples_read_by;
use crate::reporter::batches::given_boxes::{BoxesFrom, given_boxes};
use crate::reporter::batches::study::{ReportExample, box_of};
use crate::reporter::batches::text_tokens::EncodedTexts;
use crate::reporter::batches::visual_reader::{ReadError, VisualReader};
use crate::reporter::card::ReporterCard;
use crate::reporter::model::report_model::ReportModel;
use crate::stages::decoding::{generation_options, swapped_tokens};
use crate::training::model_card::ModelCard;

/// Bytes of pixels of the report model's images that are kept in memory.
const KEPT_BYTES: usize = 0;

/// Reads studies as examples of both models.
pub(super) struct PairReader<'a> {
    pub ctx: &'a Context,
    pub lake: &'a Lake,
    pub report_model: &'a ReportModel,
    pub card: &'a ModelCard<ReporterCard>,
}

impl PairReader<'_> {
    /// Studies with reports; those of the training split with generated reports as well.
    pub fn reported(&self, partition: &Partition, input: &InputSpec) -> Result<(Vec<Pair>, Vec<FailureRow>)> {
        let card = &self.card.model;
        let visuals = VisualReader::new(self.ctx, self.lake, &partition.dataset, card.visual, KEPT_BYTES)?;
        let (studies, failures) =
            examples_read_by(visuals, self.ctx, self.lake, partition, card, None, BoxesFrom::Detector)?;
        let boxes = given_boxes(self.lake, partition, BoxesFrom::Detector)?;
        let images: Vec<ImageRow> = self.lake.read(partition)?;
        let with_report: std::collections::BTreeSet<&str> = studies.iter().map(|s| s.study_id.as_str()).collect();
        let failed: std::collections::BTreeSet<&str> = failures.iter().filter_map(|f| f.image_id.as_deref()).collect();
        let used: Vec<&ImageRow> = images
            .iter()
            .filter(|i| with_report.contains(i.study_id.as_str()) && !failed.contains(i.image_id.as_str()))
            .collect();
        if used.len() != studies.len() {
            let problem = format!("{} studies of {partition} against {} images", studies.len(), used.len());
            return Err(Error::Internal(problem));
        }
        let texts = match partition.split == "train" {
            true => self.generated(&studies)?,
            false => vec![Vec::new(); studies.len()],
        };
        let reader = PreviewReader::new(self.ctx, self.lake, &partition.dataset, *input)?;
        let made: Vec<Result<PreviewExample>> = studies
            .par_iter()
            .zip(used)
            .zip(texts)
            .map(|((study, image), generated_ids)| {
                let lesions = boxes.get(&image.image_id).map_or(&[][..], Vec::as_slice);
                let (pixels, boxes) = reader.input(image, lesions).map_err(|e| match e {
                    ReadError::Image(_) => {
                        Error::bad_data(&image.path, "the file changed during the run; run it again")
                    }
                    ReadError::Store(e) => e,
                })?;
                Ok(preview_example(study, pixels, boxes, generated_ids))
            })
            .collect();
        let made = made.into_iter().collect::<Result<Vec<PreviewExample>>>()?;
        Ok((studies.into_iter().zip(made).collect(), failures))
    }

    /// Images whose only report is the generated one.
    pub fn unreported(&self, partition: &Partition, input: &InputSpec) -> Result<(Vec<Pair>, Vec<FailureRow>)> {
        let card = &self.card.model;
        let images: Vec<ImageRow> = self.lake.read_some(partition, "run `d2r ingest`")?;
        let boxes = match given_boxes(self.lake, partition, BoxesFrom::Detector) {
            Err(Error::NoRows { .. }) => {
                self.ctx.progress.line(&format!("{partition} is not annotated: the annotators' boxes are taken"));
                given_boxes(self.lake, partition, BoxesFrom::Annotators)?
            }
            boxes => boxes?,
        };
        let visuals = VisualReader::new(self.ctx, self.lake, &partition.dataset, card.visual, KEPT_BYTES)?;
        let reader = PreviewReader::new(self.ctx, self.lake, &partition.dataset, *input)?;
        // Threads share these; tensors cannot be shared.
        let views = card.visual.views.max(1);
        let read: Vec<Result<Result<_, FailureRow>>> = images
            .par_iter()
            .map(|image| {
                let lesions = boxes.get(&image.image_id).map_or(&[][..], Vec::as_slice);
                let both = visuals.visual(&vec![image.clone(); views], lesions).and_then(|(visual, ..)| {
                    let input = reader.input(image, lesions)?;
                    let study_id = image.study_id.clone();
                    let study = ReportExample {
                        study_id,
                        visual,
                        ids: Vec::new(),
                        named: Vec::new(),
                        reference: String::new(),
                        labels: [LabelState::Blank; 14],
                        texts: EncodedTexts::default(),
                    };
                    Ok((study, input))
                });
                match both {
                    Ok(both) => Ok(Ok(both)),
                    Err(ReadError::Image(e)) => Ok(Err(e.into_row(KIND, &image.path, Some(&image.image_id)))),
                    Err(ReadError::Store(e)) => Err(e),
                }
            })
            .collect();
        self.ctx.stop.check()?;
        let (mut studies, mut inputs, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for result in read {
            match result? {
                Ok((study, input)) => {
                    studies.push(study);
                    inputs.push(input);
                }
                Err(failure) => failures.push(failure),
            }
        }
        let texts = self.generated(&studies)?;
        let with_text = studies.into_iter().zip(inputs).zip(texts).filter(|(_, ids)| ids.len() > 2);
        let pairs = with_text.map(|((study, (pixels, boxes)), ids)| {
            let reference = card.vocabulary.decode(&ids[1..ids.len() - 1]);
            let labels = label(&reference);
            let study = ReportExample { ids: ids.clone(), reference, labels, ..study };
            let example = preview_example(&study, pixels, boxes, ids);
            (study, example)
        });
        Ok((pairs.collect(), failures))
    }

    /// Ids of the report that the report model generates for each study, with their boundaries; empty where it
    /// contradicts the reference.
    fn generated(&self, studies: &[ReportExample]) -> Result<Vec<Vec<i64>>> {
        let (ctx, card) = (self.ctx, &self.card.model);
        let options = generation_options(ctx, &card.vocabulary);
        let mirrored = swapped_tokens(ctx, &card.vocabulary)?;
        let task = ctx.progress.task("generate reports", studies.len() as u64, "images");
        let mut texts = Vec::with_capacity(studies.len());
        for chunk in studies.chunks(ctx.config.generate.batch_size.max(1)) {
            ctx.stop.check()?;
            let batch = collate_visuals_of(&chunk.iter().collect::<Vec<_>>(), &card.visual, ctx.device)?;
            for (report, study) in
                self.report_model.generate(&batch, mirrored.as_deref(), &options)?.into_iter().zip(chunk)
            {
                let contradicts =
                    !study.reference.is_empty() && contradicts(&card.vocabulary.decode(&report.tokens), &study.labels);
                texts.push(if contradicts { Vec::new() } else { [&[0], report.tokens.as_slice(), &[0]].concat() });
            }
            task.advance(chunk.len() as u64);
        }
        task.finish();
        Ok(texts)
    }
}

/// Reads radiographs as inputs of the preview model: from the store of prepared images, or from their files, after which they
/// are kept in the store.
struct PreviewReader {
    root: PathBuf,
    store: PreparedStore,
    decode: ImageDecodeOptions,
    input: InputSpec,
}

impl PreviewReader {
    fn new(ctx: &Context, lake: &Lake, dataset: &str, input: InputSpec) -> Result<Self> {
        let store = PreparedStore::at(lake.root().join(prepared::FOLDER));
        Ok(Self { root: lake.dataset_root(dataset)?, store, decode: ctx.decode_options(), input })
    }

    /// Pixels and boxes of a radiograph in the preview model's input. One that is prepared is not decoded.
    fn input(&self, image: &ImageRow, lesions: &[LesionRow]) -> Result<(PreparedBytes, Vec<TargetBox>), ReadError> {
        let known = self.key(image);
        let stored = |key: PreparedKey| {
            let length = (self.input.size * self.input.size) as usize;
            PreparedBytes::Stored(Arc::new(StoredBytes { store: self.store.clone(), key, length }))
        };
        if let Some((key, letterbox)) = &known
            && self.store.contains(key)
        {
            return Ok((stored(key.clone()), self.boxes(lesions, letterbox)));
        }
        let resized = to_model_input(&read_radiograph(&self.root, image, &self.decode)?, &self.input);
        let boxes = self.boxes(lesions, &resized.letterbox);
        let Some((key, _)) = known else { return Ok((resized.pixels.into(), boxes)) };
        self.store.put(&key, &resized.pixels).map_err(ReadError::Store)?;
        Ok((stored(key), boxes))
    }

    /// The name under which an image is kept, and its letterbox; `None` for an image whose digest or size is not known.
    fn key(&self, image: &ImageRow) -> Option<(PreparedKey, Letterbox)> {
        let size = ImageSize { width: image.width?.try_into().ok()?, height: image.height?.try_into().ok()? };
        let input = serde_json::to_string(&(self.input.size, self.input.fit)).ok()?;
        let decode = if self.decode.allow_phi { "any" } else { "de-identified" };
        let parts = [("file", image.sha256.as_deref()?), ("preview input", &input), ("decode", decode)];
        Some((PreparedKey::of(&parts), letterbox_of(size, &self.input)))
    }

    fn boxes(&self, lesions: &[LesionRow], letterbox: &Letterbox) -> Vec<TargetBox> {
        let share = |row: &LesionRow| {
            let edges = letterbox.model_from_original(&box_of(row)).to_array().map(|v| v / self.input.size as f32);
            TargetBox { class_id: row.class_id.max(0) as usize, score: row.score.clamp(0.0, 1.0), edges }
        };
        lesions.iter().map(share).collect()
    }
}

/// Whether a label that is positive or uncertain in the reference is negative or blank in the text.
fn contradicts(text: &str, reference: &[LabelState; 14]) -> bool {
    let stated = |s: LabelState| matches!(s, LabelState::Positive | LabelState::Uncertain);
    reference.iter().zip(label(text)).any(|(&theirs, ours)| stated(theirs) && !stated(ours))
}

/// The reference where there is no generated text.
fn preview_example(
    study: &ReportExample,
    pixels: PreparedBytes,
    boxes: Vec<TargetBox>,
    generated_ids: Vec<i64>,
) -> PreviewExample {
    let states = &study.labels;
    let stated = |s: &LabelState| matches!(s, LabelState::Positive | LabelState::Uncertain);
    let generated_ids = if generated_ids.len() > 2 { generated_ids } else { study.ids.clone() };
    PreviewExample {
        pixels,
        boxes,
        labels: std::array::from_fn(|i| if stated(&states[i]) { 1.0 } else { 0.0 }),
        ids: study.ids.clone(),
        generated_ids,
    }
}

#[cfg(test)]
mod tests {
    use image::GrayImage;

    use super::*;
    use crate::lake::digest::sha256_file;
    use crate::preview_model::card::input_spec;
    use crate::test_fixtures::{context, image, lesion};

    #[test]
    fn a_radiograph_is_decoded_once_and_its_pixels_are_in_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let ctx = context(&[]);
        let lake = Lake::create(&folder.path().join("lake")).unwrap();
        lake.register_dataset("mimic", folder.path(), "mimic").unwrap();
        let row = image("i");
        let file = folder.path().join(&row.path);
        GrayImage::from_fn(100, 80, |x, y| image::Luma([(x * 2 + y) as u8])).save(&file).unwrap();
        let row = ImageRow { sha256: Some(sha256_file(&file).unwrap()), ..row };
        let input = input_spec(&ctx.config.preview.model);
        let reader = PreviewReader::new(&ctx, &lake, "mimic", input).unwrap();
        let lesions = [lesion("i", "b", 3, [10.0, 20.0, 60.0, 70.0])];
        let (pixels, boxes) = reader.input(&row, &lesions).unwrap();
        assert!(matches!(pixels, PreparedBytes::Stored(_)), "nothing is held in memory");
        let radiograph = read_radiograph(folder.path(), &row, &ctx.decode_options()).unwrap();
        let expected = to_model_input(&radiograph, &input);
        assert_eq!(*pixels.get().unwrap(), expected.pixels);
        std::fs::remove_file(&file).unwrap();
        let (again, same_boxes) = reader.input(&row, &lesions).unwrap();
        assert_eq!((again.get().unwrap(), same_boxes), (pixels.get().unwrap(), boxes));
        let unknown = ImageRow { sha256: None, ..row };
        assert!(reader.input(&unknown, &lesions).is_err(), "without a digest it is read from its file");
    }
}
