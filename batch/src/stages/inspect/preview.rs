//! `d2r inspect preview`: the preview model's outputs for the images of a folder, by libtorch or by a bundle's graphs,
//! for parity with other runtimes. Greedy decoding without `<unk>`, whatever the bundle's options are.

use std::path::PathBuf;

use d2r_contracts::preprocess::{InputSpec, to_model_input};
use d2r_contracts::preview_bundle::{ENCODER, PreviewCard, STEP};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::vocabulary::BOUNDARY_ID;
use d2r_viewer::graph::{Cache, Plan, encode, plan, step};
use d2r_viewer::session::{Analysis, PreviewSession};
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::context::Context;
use crate::datasets::source::{list_folder, open_listed};
use crate::error::{Error, Result};
use crate::lake::atomic_file;
use crate::preview_model::card::load_preview_model;
use crate::preview_model::model::preview_model::PreviewModel;
use crate::stages::preview_bundle::{read_bundle, read_file};
use crate::training::named_tensors::{NamedTensors, write_tensors};

/// Which form of the preview model runs.
#[derive(Debug, Clone)]
pub enum Form {
    /// A folder of `d2r export preview`: the graphs on tract.
    Bundle(PathBuf),
    /// A finished distillation run: libtorch.
    Run(PathBuf),
}

/// What to read and write.
#[derive(Debug, Clone)]
pub struct Args {
    pub form: Form,
    /// A folder of PNG, JPEG and DICOM files, taken in the order of their paths.
    pub images: PathBuf,
    /// The safetensors file to write. For each image `i`: `pixels_i` u8 `[S, S]`, `heat_i` f32 `[classes, G, G]`,
    /// `edges_i` `[4, G, G]`, `labels_i` `[14]`, `words_i` i64 `[N]` without boundaries, `log_probs_i` `[steps, V +
    /// 1]`.
    pub out: PathBuf,
    /// Receives the viewer's analysis of each image, as JSON; a bundle only.
    pub analyses: Option<PathBuf>,
}

/// An image's line in the JSON file: what [`PreviewSession::analyze`] serialises, with its file and its words.
#[derive(Debug, Serialize)]
struct Line {
    /// Path in the folder.
    file: String,
    /// Vocabulary ids of the report.
    words: Vec<i64>,
    #[serde(flatten)]
    analysis: Analysis,
}

/// The model's outputs for one image.
struct Outputs {
    heat: Vec<f32>,
    edges: Vec<f32>,
    labels: Vec<f32>,
    words: Vec<i64>,
    /// Step after step, `entries` values each.
    log_probs: Vec<f32>,
    entries: usize,
}

/// The preview model in one of its forms.
enum Runtime {
    Tract { session: Box<PreviewSession>, encoder: Plan, step: Plan },
    Torch { model: Box<PreviewModel>, input: InputSpec, unknown: i64 },
}

/// Runs the model on every image; returns the number of words of each report.
///
/// # Errors
/// [`Error::BadData`] for an image that cannot be used; those of reading the model and of writing.
pub fn run(ctx: &Context, args: &Args) -> Result<Vec<usize>> {
    ctx.refuse_bf16("a preview model")?;
    let runtime = Runtime::open(&args.form)?;
    let listed = list_folder(&args.images, "inspect")?;
    if let Some(bad) = listed.failures.first() {
        return Err(Error::bad_data(args.images.join(bad.path.as_deref().unwrap_or_default()).display(), &bad.message));
    }
    let decode = ctx.decode_options();
    let (mut tensors, mut lines, mut words) = (NamedTensors::new(), Vec::new(), Vec::new());
    let _no_grad = tch::no_grad_guard();
    for (i, image) in listed.images.iter().enumerate() {
        ctx.stop.check()?;
        let path = args.images.join(&image.path);
        let opened = open_listed(&args.images, image, &decode).map_err(|e| Error::bad_data(path.display(), e))?;
        let pixels = to_model_input(&opened.radiograph, &runtime.input()).pixels;
        let outputs = runtime.outputs(&pixels)?;
        words.push(outputs.words.len());
        add(&mut tensors, i, &pixels, &outputs);
        if let (Runtime::Tract { session, .. }, Some(_)) = (&runtime, &args.analyses) {
            lines.push(line(session, image.path.clone(), &opened.radiograph)?);
        }
    }
    write_tensors(&args.out, &tensors)?;
    if let Some(path) = &args.analyses {
        let text = serde_json::to_vec_pretty(&lines).map_err(|e| Error::Internal(e.to_string()))?;
        atomic_file::write(path, |w| w.write_all(&text).map_err(|e| Error::io("write", path, e)))?;
    }
    Ok(words)
}

fn line(session: &PreviewSession, file: String, radiograph: &Radiograph) -> Result<Line> {
    let failed = |e| Error::Internal(format!("{file}: {e}"));
    let mut generation = session.begin(radiograph).map_err(failed)?;
    while generation.advance().map_err(failed)? {}
    Ok(Line { words: generation.words().to_vec(), analysis: session.finish(generation), file })
}

fn add(tensors: &mut NamedTensors, image: usize, pixels: &[u8], outputs: &Outputs) {
    let size = (pixels.len() as f64).sqrt().round() as i64;
    let grid = ((outputs.edges.len() / 4) as f64).sqrt().round() as i64;
    for (name, tensor) in [
        ("pixels", Tensor::from_slice(pixels).view([size, size])),
        ("heat", Tensor::from_slice(&outputs.heat).view([-1, grid, grid])),
        ("edges", Tensor::from_slice(&outputs.edges).view([4, grid, grid])),
        ("labels", Tensor::from_slice(&outputs.labels)),
        ("words", Tensor::from_slice(&outputs.words)),
        ("log_probs", Tensor::from_slice(&outputs.log_probs).view([-1, outputs.entries as i64])),
    ] {
        tensors.push((format!("{name}_{image}"), tensor));
    }
}

impl Runtime {
    fn open(form: &Form) -> Result<Self> {
        match form {
            Form::Bundle(folder) => {
                let session = Box::new(read_bundle(folder)?);
                let graph = |name: &str| {
                    plan(&read_file(folder, name)?).map_err(|e| Error::bad_data(folder.join(name).display(), e))
                };
                Ok(Self::Tract { session, encoder: graph(ENCODER)?, step: graph(STEP)? })
            }
            Form::Run(run) => {
                let (model, card) = load_preview_model(run, Device::Cpu)?;
                let unknown = card.model.vocabulary.unknown_id();
                Ok(Self::Torch { model: Box::new(model), input: card.model.input, unknown })
            }
        }
    }

    fn input(&self) -> InputSpec {
        match self {
            Self::Tract { session, .. } => session.card().input,
            Self::Torch { input, .. } => *input,
        }
    }

    fn outputs(&self, pixels: &[u8]) -> Result<Outputs> {
        match self {
            Self::Tract { session, encoder, step } => {
                by_tract(session.card(), encoder, step, pixels).map_err(|e| Error::Internal(e.to_string()))
            }
            Self::Torch { model, input, unknown } => by_torch(model, i64::from(input.size), *unknown, pixels),
        }
    }
}

fn by_tract(card: &PreviewCard, encoder: &Plan, stepper: &Plan, pixels: &[u8]) -> d2r_viewer::error::Result<Outputs> {
    let encoded = encode(encoder, pixels, card.input.size as usize)?;
    let mut cache = Cache::new(&card.decoder)?;
    let (words, log_probs) = greedy(card.decoder.max_words, card.vocabulary.unknown_id(), |words| {
        let last = words.last().copied().unwrap_or(BOUNDARY_ID);
        Ok::<_, d2r_viewer::error::ViewerError>(step(stepper, &card.decoder, &encoded.memory, &mut cache, last)?.0)
    })?;
    Ok(Outputs {
        heat: encoded.heat,
        edges: encoded.edges,
        labels: encoded.labels,
        words,
        log_probs,
        entries: card.vocabulary.len() + 1,
    })
}

/// Computes the whole prefix again for every word: an independent check of cached decoding.
fn by_torch(model: &PreviewModel, size: i64, unknown: i64, pixels: &[u8]) -> Result<Outputs> {
    let images = Tensor::f_from_slice(pixels)?.f_view([1, 1, size, size])?.to_kind(Kind::Float) / 255.0;
    let features = model.features(&images, false);
    let (words, log_probs) = greedy(model.config.max_words as usize, unknown, |words| {
        let ids = [&[BOUNDARY_ID], words].concat();
        let (logits, _) = model.decoder.forward_t(&Tensor::from_slice(&ids).unsqueeze(0), &features.tokens, false);
        Ok::<_, Error>(Vec::try_from(logits.get(0).get(words.len() as i64).log_softmax(-1, Kind::Float))?)
    })?;
    let flat = |t: &Tensor| Vec::<f32>::try_from(t.contiguous().reshape([-1]));
    Ok(Outputs {
        heat: flat(&features.heat.sigmoid())?,
        edges: flat(&features.edges)?,
        labels: flat(&features.labels.sigmoid())?,
        words,
        log_probs,
        entries: model.decoder.table.size()[0] as usize,
    })
}

/// Greedy decoding; of equal log-probabilities the lowest id. Returns the words and every step's log-probabilities.
fn greedy<E>(
    max_words: usize,
    unknown: i64,
    mut next: impl FnMut(&[i64]) -> Result<Vec<f32>, E>,
) -> Result<(Vec<i64>, Vec<f32>), E> {
    let (mut words, mut all) = (Vec::new(), Vec::new());
    while words.len() < max_words {
        let log_probs = next(&words)?;
        let mut best = BOUNDARY_ID;
        for (id, log_prob) in log_probs.iter().enumerate() {
            if id as i64 != unknown && *log_prob > log_probs[best as usize] {
                best = id as i64;
            }
        }
        all.extend(log_probs);
        if best == BOUNDARY_ID {
            break;
        }
        words.push(best);
    }
    Ok((words, all))
}
