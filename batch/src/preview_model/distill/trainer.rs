//! Distils the report model into the preview model: Adam, warm-up and cosine, the encoder alone first; the likelihood
//! of the validation split's references selects the weights.

use std::sync::Arc;

use d2r_contracts::tables::TrainLogRow;
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor, nn};

use crate::config::preview::DistillConfig;
use crate::datasets::prepared::PreparedBytes;
use crate::error::{Error, Result};
use crate::nn::mlp::linear;
use crate::preview_model::distill::augmentation::{AffineTransform, Padding, warped, with_random_intensity};
use crate::preview_model::distill::batch::{PreviewBatch, PreviewExample, collate_examples};
use crate::preview_model::distill::distillation::{ReportModelOutputs, losses};
use crate::preview_model::model::preview_model::PreviewModel;
use crate::progress::Progress;
use crate::reporter::batches::collate::collate_visuals_of;
use crate::reporter::batches::study::{ReportExample, VisualSpec};
use crate::reporter::batches::visual_handle::VisualHandle;
use crate::reporter::model::report_model::ReportModel;
use crate::stop::StopFlag;
use crate::training::epochs::Epochs;
use crate::training::lr_schedule::warmup_then_cosine;
use crate::training::named_tensors::{NamedTensors, named_tensors};
use crate::training::optimizer::{Optimizer, ParamGroup, Rule, decay_split};
use crate::training::prefetch::{Batches, prefetched};
use crate::training::ranks::Ranks;
use crate::training::run_dir::RunDir;
use crate::training::streams::{mixed_seed, purpose_rng};
use crate::training::training_loop;
use crate::training::training_loop::{LoopSchedule, Outcome, Trainer, TrainerState, VALIDATION, Validation};

/// The schedule ends at this share of the peak rate; warm-up takes this share of the steps.
const LR_FLOOR: f64 = 0.01;
const WARMUP: f64 = 0.05;
/// Gradients are scaled down to this norm.
const CLIP_NORM: f64 = 5.0;
/// Names of a checkpoint's models.
const MODEL: &str = "model";
const ADAPTER: &str = "adapter";

/// A study for both models.
pub type Pair = (ReportExample, PreviewExample);

/// The studies of a step.
#[derive(Debug)]
pub struct PairBatch {
    /// With their pixels in memory.
    pairs: Vec<Pair>,
    /// Of each, whether the report model's text is the target.
    generated: Vec<bool>,
}

impl PairBatch {
    /// The studies with these indices and targets; prepared ones are read in parallel.
    ///
    /// # Errors
    /// Those of [`VisualHandle::get`] and [`PreparedBytes::get`].
    fn of(train: &[Pair], chosen: &[(usize, bool)]) -> Result<Self> {
        let in_memory = |(study, example): &Pair| -> Result<Pair> {
            let (visual, pixels) =
                (VisualHandle::Kept(study.visual.get()?), PreparedBytes::Kept(example.pixels.get()?));
            Ok((ReportExample { visual, ..study.clone() }, PreviewExample { pixels, ..example.clone() }))
        };
        let pairs = chosen.par_iter().map(|(i, _)| in_memory(&train[*i])).collect::<Result<_>>()?;
        Ok(Self { pairs, generated: chosen.iter().map(|(_, generated)| *generated).collect() })
    }
}

/// What is distilled, and how.
#[derive(Debug)]
pub struct Distillation<'a> {
    pub report_model: &'a ReportModel,
    /// How its images are prepared.
    pub visual: VisualSpec,
    /// Both models letterbox alike, so that their feature maps cover the same part of an image.
    pub same_frame: bool,
    /// Studies of the training split.
    pub train: Arc<Vec<Pair>>,
    /// Studies of the validation split; without any, the last weights are the best.
    pub validation: &'a [Pair],
    /// Hyper-parameters.
    pub config: &'a DistillConfig,
    /// Seed of all random streams.
    pub seed: u64,
    /// Where both models are.
    pub device: Device,
    /// How progress is shown.
    pub progress: Progress,
    /// Read once per step and once per validation batch.
    pub stop: &'a StopFlag,
}

/// Trains `model` in `run`, from its newest checkpoint where there is one.
///
/// # Errors
/// [`Error::NothingToDo`] without training studies; those of [`training_loop::train`].
pub fn distill(model: &mut PreviewModel, run: &RunDir, job: &Distillation) -> Result<Outcome> {
    if job.train.is_empty() {
        return Err(Error::NothingToDo("no study with a report and a radiograph to distil from".into()));
    }
    let (trainer, optimizer) = PreviewTrainer::new(model, job)?;
    training_loop::train(trainer, optimizer, run, job.progress, job.stop, &Ranks::alone())
}

/// Adam over model and adapter; norms and biases do not decay.
fn optimizer(model: &PreviewModel, adapter: &nn::VarStore, config: &DistillConfig) -> Result<Optimizer> {
    let learned = |store| named_tensors(store).into_iter().filter(|(_, t)| t.requires_grad());
    let (decayed, plain) = decay_split(learned(model.variables()).chain(learned(adapter)).collect());
    let group =
        |name: &str, params, weight_decay| ParamGroup { name: name.into(), params, lr: config.lr, weight_decay };
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, amsgrad: false };
    Optimizer::new(rule, vec![group("all", decayed, config.weight_decay), group("norms and biases", plain, 0.0)])
}

struct PreviewTrainer<'a> {
    model: &'a mut PreviewModel,
    /// From the width of the preview model's features to that of the report model's; needed in training only.
    adapter: nn::Linear,
    adapter_store: nn::VarStore,
    job: &'a Distillation<'a>,
    epochs: Epochs,
    /// f32 `[3]` on the device: total, token and cell loss of the last step.
    last: Tensor,
}

impl<'a> PreviewTrainer<'a> {
    fn new(model: &'a mut PreviewModel, job: &'a Distillation<'a>) -> Result<(Self, Optimizer)> {
        let adapter_store = nn::VarStore::new(job.device);
        let (width, d_visual) = (model.encoder.token_width, job.report_model.d_visual());
        let adapter = linear(&(adapter_store.root() / "adapter"), width, d_visual);
        let optimizer = optimizer(model, &adapter_store, job.config)?;
        let epochs = Epochs::new(job.train.len(), job.config.batch_size, job.config.epochs);
        Ok((Self { model, adapter, adapter_store, job, epochs, last: Tensor::new() }, optimizer))
    }

    fn lr_factor(&self, step: i64) -> f64 {
        let total = self.epochs.steps();
        warmup_then_cosine(step, (total as f64 * WARMUP).round() as i64, total, LR_FLOOR)
    }

    /// The geometric augmentation of a step's images.
    fn transforms(&self, step: i64, images: usize) -> Vec<AffineTransform> {
        let mut rng = purpose_rng(self.job.seed, "distil moves", step);
        (0..images).map(|_| AffineTransform::random(&mut rng)).collect()
    }

    fn collate(
        &self,
        pairs: &[&Pair],
        generated: &[bool],
        transforms: Option<&[AffineTransform]>,
    ) -> Result<PreviewBatch> {
        let examples: Vec<&PreviewExample> = pairs.iter().map(|p| &p.1).collect();
        let config = &self.model.config;
        let max_words = config.max_words as usize;
        collate_examples(&examples, generated, transforms, i64::from(config.input_size), max_words, self.job.device)
    }

    /// The report model's outputs for the same images without augmentation; its feature map is transformed like the
    /// preview model's images. `log_probs` is undefined without `tokens`.
    fn report_model_outputs(
        &self,
        pairs: &[&Pair],
        batch: &PreviewBatch,
        transforms: Option<&[AffineTransform]>,
        tokens: bool,
    ) -> Result<ReportModelOutputs> {
        let _no_grad = tch::no_grad_guard();
        let (job, report_model) = (self.job, self.job.report_model);
        let studies: Vec<&ReportExample> = pairs.iter().map(|p| &p.0).collect();
        let visual = collate_visuals_of(&studies, &job.visual, job.device)?;
        let features = report_model.features(&visual, false);
        let log_probs = if tokens {
            let encoded = report_model.encode(&features, false);
            let inputs = batch.ids.narrow(1, 0, batch.ids.size()[1] - 1);
            report_model.encoder_decoder().forward_t(&encoded.tokens, &encoded.present, &inputs, false).log_probs
        } else {
            Tensor::new()
        };
        let (rows, cells, width) = (features.patches.size()[0], features.patches.size()[1], features.patches.size()[2]);
        let size = (cells as f64).sqrt().round() as i64;
        let map = (job.same_frame && size * size == cells)
            .then(|| features.patches.transpose(1, 2).reshape([rows, width, size, size]))
            .map(|map| transforms.map_or_else(|| map.shallow_clone(), |t| warped(&map, t, Padding::Border)));
        Ok(ReportModelOutputs { log_probs, map })
    }
}

impl<'a> Trainer<'a> for PreviewTrainer<'a> {
    type Batch = PairBatch;

    fn schedule(&self) -> LoopSchedule {
        LoopSchedule {
            name: "distil",
            score: "log-likelihood",
            steps: self.epochs.steps(),
            log_every: self.job.config.log_every,
            save_every: self.epochs.steps_per_epoch(),
            log_before_saving: false,
            patience: i64::MAX,
        }
    }

    fn batches(&self, step: i64) -> Result<Batches<'a, PairBatch>> {
        let (seed, teacher_share, train) = (self.job.seed, self.job.config.teacher_share, Arc::clone(&self.job.train));
        let count = train.len();
        let order = move |epoch| {
            let mut rng = purpose_rng(seed, "distil order", epoch);
            let mut order: Vec<(usize, bool)> = (0..count).map(|i| (i, rng.random::<f64>() < teacher_share)).collect();
            order.shuffle(&mut rng);
            order
        };
        prefetched(self.epochs.batches(step, order), move |chosen| PairBatch::of(&train, &chosen))
    }

    fn step(&mut self, step: i64, chosen: PairBatch, optimizer: &mut Optimizer) -> Result<usize> {
        let (job, config) = (self.job, self.job.config);
        tch::manual_seed(mixed_seed(job.seed, "distil step", step));
        let PairBatch { pairs, generated } = &chosen;
        let pairs: Vec<&Pair> = pairs.iter().collect();
        let transforms = config.augment.then(|| self.transforms(step, pairs.len()));
        let mut batch = self.collate(&pairs, generated, transforms.as_deref())?;
        if config.augment {
            batch.images = with_random_intensity(&batch.images);
        }
        let tokens = self.epochs.done(step) >= config.encoder_epochs;
        let outputs = self.report_model_outputs(&pairs, &batch, transforms.as_deref(), tokens)?;
        let losses = losses(self.model, &self.adapter, &batch, &outputs, config, tokens);
        let total = losses.total(config, tokens);
        optimizer.backward(&total)?;
        optimizer.clip_norm(CLIP_NORM);
        optimizer.step(self.lr_factor(step));
        self.last = Tensor::stack(&[&total, &losses.token, &losses.cells], 0).detach();
        Ok(pairs.len())
    }

    /// Learning rate and losses of the last step alone.
    fn log(&mut self, step: i64) -> Result<(TrainLogRow, String)> {
        let last = Vec::<f64>::try_from(&self.last.to_kind(Kind::Double))?;
        let [loss, token, cells] = last[..] else { return Err(Error::Internal("three losses of a step".into())) };
        if !loss.is_finite() {
            let problem = "the loss is not finite; lower preview.lr and start with --resume never";
            return Err(Error::bad_data(format!("distillation, step {step}"), problem));
        }
        let row = TrainLogRow {
            lr: self.job.config.lr * self.lr_factor(step - 1),
            loss,
            loss_word: Some(token),
            loss_cells: Some(cells),
            ..TrainLogRow::blank()
        };
        Ok((row, format!("loss {loss:.3} words {token:.3}")))
    }

    fn validation_is_due(&self, step: i64) -> bool {
        let decoder_trained = self.epochs.done(step) > self.job.config.encoder_epochs;
        !self.job.validation.is_empty() && decoder_trained && self.epochs.end_at(step)
    }

    /// Mean log-likelihood of the references' tokens.
    fn validate(&mut self, _step: i64) -> Result<Validation> {
        let (mut sum, mut count) = (0.0, 0.0);
        for chunk in self.job.validation.chunks(self.job.config.batch_size.max(1)) {
            self.job.stop.check()?;
            let _no_grad = tch::no_grad_guard();
            let pairs: Vec<&Pair> = chunk.iter().collect();
            let batch = self.collate(&pairs, &vec![false; chunk.len()], None)?;
            let length = batch.ids.size()[1] - 1;
            let source = self.model.features(&batch.images, false).tokens;
            let (logits, _) = self.model.decoder.forward_t(&batch.ids.narrow(1, 0, length), &source, false);
            let next = batch.ids.narrow(1, 1, length).unsqueeze(-1);
            let log_probs = logits.log_softmax(-1, Kind::Float).gather(2, &next, false).squeeze_dim(2);
            sum += f64::try_from((log_probs * &batch.weights).sum(Kind::Double))?;
            count += f64::try_from(batch.weights.sum(Kind::Double))?;
        }
        let score = sum / f64::max(count, 1.0);
        let row = TrainLogRow {
            phase: VALIDATION.into(),
            loss: -score,
            loss_word: Some(-score),
            score: Some(score),
            ..TrainLogRow::blank()
        };
        Ok(Validation { rows: vec![row], score: Some(score) })
    }

    fn best(&self) -> Vec<(&'static str, NamedTensors)> {
        vec![(MODEL, named_tensors(self.model.variables()))]
    }

    fn state(&self) -> Result<TrainerState> {
        let stores = [(MODEL, self.model.variables()), (ADAPTER, &self.adapter_store)];
        let models = stores.map(|(name, store)| (name.to_owned(), named_tensors(store))).into();
        Ok(TrainerState { models, ..TrainerState::default() })
    }

    fn restore(&mut self, mut state: TrainerState) -> Result<()> {
        state.load(MODEL, self.model.variables_mut())?;
        state.load(ADAPTER, &mut self.adapter_store)
    }
}

#[cfg(test)]
mod tests;
