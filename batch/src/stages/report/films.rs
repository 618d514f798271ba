//! Films with their boxes, a chunk at a time: from the lake's rows, or from a folder through the detector.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::labels::lesion_class_name;
use d2r_contracts::preprocess::{InputSpec, to_model_input};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow};
use rayon::prelude::*;
use tch::Device;

use crate::context::Context;
use crate::datasets::source::{SourceError, list_folder, measure, read_radiograph};
use crate::detector::batches::collate::stack_images;
use crate::detector::card::load_detector;
use crate::detector::detector::Detector;
use crate::detector::semi::pseudo_label;
use crate::detector::test_time_augmentation::detect;
use crate::error::{Error, Result};
use crate::eval::page::gallery::picture;
use crate::lake::digest::sha256_hex;
use crate::lake::{Lake, Partition, Shard};
use crate::reporter::batches::examples::accepted;
use crate::reporter::batches::study::{StudyVisual, VisualSpec, study_views, study_visual};

/// A film ready for the report model.
#[derive(Debug)]
pub struct Film {
    /// Its row.
    pub image: ImageRow,
    /// Its boxes: all above the floor, accepted or not.
    pub lesions: Vec<LesionRow>,
    /// Film and crops.
    pub visual: StudyVisual,
    /// For each crop its row in `lesions`.
    pub kept: Vec<usize>,
    /// Columns of the film.
    pub width: f32,
    /// A small JPEG of the film and the film's size, where pictures are wanted.
    pub picture: Option<(Vec<u8>, (u32, u32))>,
}

/// Films to come.
#[derive(Debug)]
pub struct Films {
    root: PathBuf,
    /// The views of each film's study, the film first.
    studies: Vec<Vec<ImageRow>>,
    boxes: Boxes,
    failures: Vec<FailureRow>,
    decode: ImageDecodeOptions,
    spec: VisualSpec,
    pictures: bool,
}

/// Where boxes come from.
#[derive(Debug)]
enum Boxes {
    Rows(BTreeMap<String, Vec<LesionRow>>),
    Detector { detector: Box<Detector>, input: InputSpec, threshold: f64, sha256: String },
}

impl Films {
    /// A shard of a partition, with its accepted boxes.
    pub fn of_lake(
        lake: &Lake,
        partition: &Partition,
        shard: Shard,
        decode: ImageDecodeOptions,
        spec: VisualSpec,
    ) -> Result<Self> {
        let images: Vec<ImageRow> = lake.read_some(partition, "run `d2r ingest`")?;
        let boxes = Boxes::Rows(accepted(lake.read(partition)?));
        let root = lake.dataset_root(&partition.dataset)?;
        let studies = shard.of(study_views(images, spec.views));
        Ok(Self { root, studies, boxes, failures: Vec::new(), decode, spec, pictures: false })
    }

    /// A shard of a folder's films; boxes come from the detector in `detector`, from `floor` on.
    pub fn of_folder(
        folder: &Path,
        shard: Shard,
        detector: &Path,
        (floor, device): (f64, Device),
        decode: ImageDecodeOptions,
        spec: VisualSpec,
    ) -> Result<Self> {
        let listed = list_folder(folder, "report")?;
        let (detector, card) = load_detector(detector, floor, device)?;
        let boxes = Boxes::Detector {
            detector: Box::new(detector),
            input: card.model.input,
            threshold: card.model.threshold,
            sha256: card.model_sha256,
        };
        let root = folder.to_path_buf();
        let (studies, failures) = (shard.of(study_views(listed.images, spec.views)), listed.failures);
        Ok(Self { root, studies, boxes, failures, decode, spec, pictures: false })
    }

    /// Keeps a small picture of each film, or none.
    pub fn with_pictures(self, pictures: bool) -> Self {
        Self { pictures, ..self }
    }

    /// How many studies there are.
    pub fn count(&self) -> usize {
        self.studies.len()
    }

    /// The identity of a folder's films: names and sizes of its files.
    pub fn digest(&self) -> String {
        let size = |i: &ImageRow| std::fs::metadata(self.root.join(&i.path)).map_or(0, |m| m.len());
        let lines: Vec<String> = self.studies.iter().flatten().map(|i| format!("{} {}", i.path, size(i))).collect();
        sha256_hex(lines.join("\n").as_bytes())
    }

    /// Starts reading.
    pub fn into_reader(self) -> Reader {
        Reader { films: self, next: 0 }
    }
}

/// A study's first film, decoded, and its other views.
type ReadStudy = (ImageRow, Radiograph, Vec<Radiograph>);

/// Reads films a chunk at a time.
#[derive(Debug)]
pub struct Reader {
    films: Films,
    next: usize,
}

impl Reader {
    /// Failures that were known before any film was opened.
    pub fn left_over(self) -> Vec<FailureRow> {
        self.films.failures
    }

    /// The next films and those that cannot be used; `None` at the end.
    pub fn next_chunk(&mut self, count: usize, ctx: &Context) -> Result<Option<(Vec<Film>, Vec<FailureRow>)>> {
        let films = &self.films;
        let chunk = &films.studies[self.next..(self.next + count).min(films.studies.len())];
        if chunk.is_empty() {
            return Ok(None);
        }
        self.next += chunk.len();
        let measured = matches!(films.boxes, Boxes::Detector { .. });
        // Threads share these, not the detector's tensors.
        let (root, decode, spec) = (films.root.as_path(), &films.decode, &films.spec);
        let read: Vec<Result<ReadStudy, FailureRow>> = chunk
            .par_iter()
            .map(|views| {
                let failed =
                    |e: SourceError, image: &ImageRow| e.into_row("report", &image.path, Some(&image.image_id));
                let first = &views[0];
                let found = if measured { open(root, first, decode) } else { known(root, first, decode) };
                let (image, film) = found.map_err(|e| failed(e, first))?;
                let more =
                    views[1..].iter().map(|view| read_radiograph(root, view, decode).map_err(|e| failed(e, view)));
                Ok((image, film, more.collect::<Result<_, _>>()?))
            })
            .collect();
        let (mut opened, mut further, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for result in read {
            match result {
                Ok((image, film, views)) => {
                    opened.push((image, film));
                    further.push(views);
                }
                Err(failure) => failures.push(failure),
            }
        }
        let lesions = films.lesions(&opened, ctx)?;
        let pictures = films.pictures;
        let made = opened.into_par_iter().zip(further).zip(lesions).map(|(((image, radiograph), views), lesions)| {
            let used: Vec<usize> = (0..lesions.len()).filter(|&i| lesions[i].accepted).collect();
            let rows: Vec<LesionRow> = used.iter().map(|&i| lesions[i].clone()).collect();
            let (visual, kept) = study_visual(&radiograph, &rows, spec);
            let visual = visual.with_views(views.iter(), spec);
            let kept = kept.into_iter().map(|i| used[i]).collect();
            let size = (radiograph.width, radiograph.height);
            let picture = if pictures { Some((picture(&radiograph)?, size)) } else { None };
            Ok(Film { image, lesions, visual, kept, width: radiograph.width as f32, picture })
        });
        Ok(Some((made.collect::<Result<Vec<Film>>>()?, failures)))
    }
}

impl Films {
    fn lesions(&self, opened: &[(ImageRow, Radiograph)], ctx: &Context) -> Result<Vec<Vec<LesionRow>>> {
        match &self.boxes {
            Boxes::Rows(rows) => {
                Ok(opened.iter().map(|(image, _)| rows.get(&image.image_id).cloned().unwrap_or_default()).collect())
            }
            Boxes::Detector { detector, input, threshold, sha256 } => {
                let mut found = Vec::new();
                for batch in opened.chunks(ctx.config.annotate.batch_size.max(1)) {
                    ctx.stop.check()?;
                    let inputs: Vec<_> = batch.par_iter().map(|(_, film)| to_model_input(film, input)).collect();
                    let pixels: Vec<u8> = inputs.iter().flat_map(|i| i.pixels.iter().copied()).collect();
                    let images = stack_images(&pixels, input, detector.device())?;
                    let detections = detect(detector, &images, ctx.config.annotate.flip_tta)?;
                    for (((image, _), input), detections) in batch.iter().zip(&inputs).zip(detections) {
                        let placed = detections.iter().filter_map(|d| d.in_original(&input.letterbox));
                        let rows = placed.enumerate().map(|(rank, d)| {
                            let region = d.region.to_array();
                            row(&image.image_id, rank, (d.class_id, d.score, region), *threshold, sha256)
                        });
                        found.push(rows.collect::<Result<Vec<LesionRow>>>()?);
                    }
                }
                Ok(found)
            }
        }
    }
}

/// Opens a film of the lake.
fn known(root: &Path, image: &ImageRow, decode: &ImageDecodeOptions) -> Result<(ImageRow, Radiograph), SourceError> {
    Ok((image.clone(), read_radiograph(root, image, decode)?))
}

/// Opens a file of a folder: its size and digest become known.
pub fn open(root: &Path, image: &ImageRow, decode: &ImageDecodeOptions) -> Result<(ImageRow, Radiograph), SourceError> {
    let measured = measure(&root.join(&image.path), decode)?;
    let film = measured.decoded.radiograph;
    let row = ImageRow {
        width: Some(film.width as i32),
        height: Some(film.height as i32),
        sha256: Some(measured.sha256),
        view: measured.decoded.projection.unwrap_or_else(|| image.view.clone()),
        ..image.clone()
    };
    Ok((row, film))
}

/// The row of a detection.
pub fn row(
    image_id: &str,
    rank: usize,
    (class_id, score, [x_min, y_min, x_max, y_max]): (i32, f32, [f32; 4]),
    threshold: f64,
    model_sha256: &str,
) -> Result<LesionRow> {
    let class_name =
        lesion_class_name(class_id).ok_or_else(|| Error::Internal(format!("the detector names class {class_id}")))?;
    Ok(LesionRow {
        image_id: image_id.to_owned(),
        box_id: format!("{image_id}-p{rank:03}"),
        class_name: class_name.into(),
        class_id,
        x_min,
        y_min,
        x_max,
        y_max,
        score,
        source: "pseudo".into(),
        reader_id: None,
        n_readers: None,
        std_x_min: None,
        std_y_min: None,
        std_x_max: None,
        std_y_max: None,
        student_iou: None,
        accepted: pseudo_label::accepted(score, threshold),
        threshold: Some(threshold as f32),
        model_sha256: Some(model_sha256.to_owned()),
    })
}
