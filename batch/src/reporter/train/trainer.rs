//! Trains the report model: token loss, grounding loss and, on demand, alignment of image and text; Adam (AMSGrad)
//! with a visual and a language group, value clipping, warm-up and cosine, generated reports of the validation split
//! after each epoch, early stopping.

use std::collections::BTreeSet;

use d2r_contracts::labels::LabelState;
use d2r_contracts::tables::TrainLogRow;
use d2r_contracts::vocabulary::Vocabulary;
use tch::{Device, Kind, Tensor};

use crate::config::report::{ReportSchedule, ReportTrainConfig};
use crate::error::{Error, Result};
use crate::nn::running_statistics::running_statistics;
use crate::progress::Progress;
use crate::reporter::align::alignment::{Alignment, AlignmentLosses, ImageTokens};
use crate::reporter::batches::collate::{collate_targets, collate_visuals_of};
use crate::reporter::batches::collate_text::collate_texts;
use crate::reporter::batches::study::{ReportExample, VisualSpec};
use crate::reporter::batches::study_batch::{StudyBatch, StudyPlan};
use crate::reporter::decode::generation_options::GenerationOptions;
use crate::reporter::model::report_model::ReportModel;
use crate::reporter::model::visual::VisualFeatures;
use crate::reporter::train::epoch_order::{by_length, shuffled};
use crate::reporter::train::optimizer::optimizer;
use crate::reporter::train::token_weights::TokenWeights;
use crate::reporter::train::validation::score;
use crate::stop::StopFlag;
use crate::training::accumulation::{ShardLoss, accumulate};
use crate::training::epochs::Epochs;
use crate::training::lr_schedule::report_lr_factor;
use crate::training::named_tensors::{NamedTensors, named_tensors};
use crate::training::optimizer::Optimizer;
use crate::training::prefetch::{Batches, prefetched};
use crate::training::repeat_sampling::{repeat_factors, running_sums, systematic};
use crate::training::run_dir::RunDir;
use crate::training::running_sums::RunningSums;
use crate::training::streams::{purpose_rng, shard_seed};
use crate::training::training_loop;
use crate::training::training_loop::{LoopSchedule, Outcome, Trainer, TrainerState, VALIDATION, Validation};
use crate::training::virtual_shards::VirtualShards;

/// Names of a checkpoint's models.
const MODEL: &str = "model";
const ALIGNMENT: &str = "alignment";
/// Losses: token and grounding, not weighted; local and global alignment, weighted.
const LOSSES: [&str; 4] = ["word", "grounding", "local", "global"];

/// Studies with a label of fewer than this share of the studies are drawn more often (recipe `cosine`).
const RARE_SHARE: f64 = 0.2;

/// What is trained on, and how.
#[derive(Debug)]
pub struct ReportTraining<'a> {
    /// Studies of the training split, how they are augmented, and the seed of all random streams.
    pub plan: StudyPlan,
    /// Studies of the validation split; without any, the last epoch's weights are the best.
    pub validation: &'a [ReportExample],
    pub vocabulary: &'a Vocabulary,
    /// How images and crops were prepared.
    pub visual: VisualSpec,
    /// Hyper-parameters.
    pub config: &'a ReportTrainConfig,
    /// How validation reports are generated with `config.val_beam`; greedily without it.
    pub decode: GenerationOptions,
    /// Where the model is.
    pub device: Device,
    /// How progress is shown.
    pub progress: Progress,
    /// Read once per step and once per validation batch.
    pub stop: &'a StopFlag,
    /// The parts of a batch, and the processes that share them.
    pub shards: VirtualShards,
}

/// Trains `model` in `run`, from its newest checkpoint where there is one. `alignment`: its text encoder and losses,
/// where image and text are aligned.
///
/// # Errors
/// [`Error::NothingToDo`] without training studies; those of [`training_loop::train`].
pub fn train(
    model: &mut ReportModel,
    alignment: Option<&mut Alignment>,
    run: &RunDir,
    job: &ReportTraining,
) -> Result<Outcome> {
    if job.plan.train.is_empty() {
        return Err(Error::NothingToDo("no study with a report and a radiograph to train on".into()));
    }
    let optimizer = optimizer(model, alignment.as_deref(), job.config)?;
    let trainer = ReportTrainer {
        epochs: Epochs::new(job.plan.train.len(), job.config.batch_size, job.config.epochs),
        sums: RunningSums::new(LOSSES, job.device),
        weights: TokenWeights::new(job.vocabulary, job.config.laterality_weight, job.device)?,
        model,
        alignment,
        job,
    };
    training_loop::train(trainer, optimizer, run, job.progress, job.stop, job.shards.ranks())
}

struct ReportTrainer<'a> {
    model: &'a mut ReportModel,
    alignment: Option<&'a mut Alignment>,
    job: &'a ReportTraining<'a>,
    epochs: Epochs,
    sums: RunningSums<4>,
    weights: TokenWeights,
}

impl ReportTrainer<'_> {
    fn lr_factor(&self, step: i64) -> f64 {
        report_lr_factor(self.job.config, step, self.epochs.steps_per_epoch(), self.epochs.steps())
    }

    /// The loss of one virtual shard of the studies of a step.
    fn shard_loss(&mut self, step: i64, batch: &StudyBatch, shard: usize) -> Result<ShardLoss> {
        let job = self.job;
        // Dropout's random state cannot be saved; a seed per step and shard can be made again.
        tch::manual_seed(shard_seed(job.plan.seed, "report dropout", step, shard));
        let examples = batch.at(job.shards.places(shard, batch.size));
        let visual = collate_visuals_of(&examples, &job.visual, job.device)?;
        let mut targets = collate_targets(&examples, job.device)?;
        let features = self.model.features(&visual, true);
        targets.weights = self.weights.apply(targets.weights, &targets.ids);
        let losses = self.model.losses(&features, &targets, true);
        let aligned = self.aligned(&features, &examples, self.epochs.done(step))?;
        let mut loss = &losses.token + &losses.grounding * job.config.grounding_weight;
        if self.alignment.is_some() {
            loss = loss + &aligned.local + &aligned.global;
        }
        let parts = [&losses.token, &losses.grounding, &aligned.local, &aligned.global];
        let figures = Tensor::stack(&parts, 0).detach();
        Ok(ShardLoss { loss, figures, passes: self.model.take_passes() })
    }

    /// The losses of alignment; zero without it.
    fn aligned(
        &mut self,
        features: &VisualFeatures,
        examples: &[&ReportExample],
        epoch: i64,
    ) -> Result<AlignmentLosses> {
        let job = self.job;
        let Some(alignment) = &mut self.alignment else {
            let zero = || Tensor::zeros([], (Kind::Float, job.device));
            return Ok(AlignmentLosses { local: zero(), global: zero() });
        };
        let texts: Vec<_> = examples.iter().map(|e| &e.texts).collect();
        let texts = collate_texts(&texts, job.device)?;
        let VisualFeatures { patches, regions, present } = features;
        let views = job.visual.views as i64;
        Ok(alignment.losses(&ImageTokens { patches, views, regions, present }, &texts, epoch, true))
    }

    /// The studies that select the weights.
    fn validation(&self) -> &[ReportExample] {
        match self.job.config.val_studies {
            0 => self.job.validation,
            n => &self.job.validation[..n.min(self.job.validation.len())],
        }
    }
}

impl<'a> Trainer<'a> for ReportTrainer<'a> {
    type Batch = StudyBatch;

    fn schedule(&self) -> LoopSchedule {
        LoopSchedule {
            name: "train reporter",
            score: "score",
            steps: self.epochs.steps(),
            log_every: self.job.config.log_every,
            save_every: self.epochs.steps_per_epoch(),
            log_before_saving: true,
            patience: self.job.config.patience.max(1),
        }
    }

    fn batches(&self, step: i64) -> Result<Batches<'a, StudyBatch>> {
        let plan = self.job.plan.clone();
        let (schedule, batch_size, seed) = (self.job.config.schedule, self.job.config.batch_size, plan.seed);
        let lengths: Vec<usize> = plan.train.iter().map(|study| study.ids.len()).collect();
        let sums =
            running_sums(&repeat_factors(&plan.train.iter().map(positive_labels).collect::<Vec<_>>(), RARE_SHARE));
        let chosen = self.epochs.batches(step, move |epoch| match schedule {
            ReportSchedule::Cosine => {
                let order = systematic(&sums, sums.len(), &mut purpose_rng(seed, "report draws", epoch));
                by_length(&order, &lengths, batch_size, seed, epoch)
            }
            ReportSchedule::Epochs => shuffled(lengths.len(), seed, epoch),
        });
        let places = self.job.shards.own_places_of();
        prefetched((step..).zip(chosen), move |(step, chosen)| plan.batch(step, &chosen, places(chosen.len())))
    }

    fn step(&mut self, step: i64, batch: StudyBatch, optimizer: &mut Optimizer) -> Result<usize> {
        let shards = self.job.shards.clone();
        let buffers = running_statistics(self.model.variables());
        let size = (batch.size, LOSSES.len());
        let of_shard = |shard| self.shard_loss(step, &batch, shard);
        let parts = accumulate(&shards, optimizer, &buffers, size, of_shard)?;
        optimizer.clip_value(self.job.config.clip_value);
        optimizer.step(self.lr_factor(step));
        self.sums.add(&parts);
        Ok(batch.size)
    }

    fn log(&mut self, step: i64) -> Result<(TrainLogRow, String)> {
        let [token, grounding, local, global] = self.sums.means()?;
        if !(token + grounding + local + global).is_finite() {
            let problem = "the loss is not finite; lower report.train.lr and start again with --resume never";
            return Err(Error::bad_data(format!("training, step {step}"), problem));
        }
        self.sums.reset();
        let aligned = self.alignment.is_some();
        let row = TrainLogRow {
            lr: self.job.config.lr_visual * self.lr_factor(step),
            loss: token + self.job.config.grounding_weight * grounding + local + global,
            loss_word: Some(token),
            loss_grounding: Some(grounding),
            loss_local: aligned.then_some(local),
            loss_global: aligned.then_some(global),
            ..TrainLogRow::blank()
        };
        Ok((row, format!("loss {token:.3} grounding {grounding:.3}")))
    }

    fn validation_is_due(&self, step: i64) -> bool {
        !self.validation().is_empty() && self.epochs.end_at(step)
    }

    fn validate(&mut self, _step: i64) -> Result<Validation> {
        let (model, studies, job) = (&*self.model, self.validation(), self.job);
        let mut token_loss = None;
        let score = job.shards.ranks().decide(|| {
            let found = score(model, studies, job)?;
            token_loss = Some(found.token_loss);
            Ok(Some(found.score))
        })?;
        let loss = job.shards.ranks().decide(|| Ok(token_loss))?.unwrap_or_default();
        let row = TrainLogRow { phase: VALIDATION.into(), loss, loss_word: Some(loss), score, ..TrainLogRow::blank() };
        Ok(Validation { rows: vec![row], score })
    }

    /// The weights of the alignment are in a file of their own, which generation does not need.
    fn best(&self) -> Vec<(&'static str, NamedTensors)> {
        let alignment = self.alignment.as_ref().map(|a| (ALIGNMENT, named_tensors(a.variables())));
        alignment.into_iter().chain([(MODEL, named_tensors(self.model.variables()))]).collect()
    }

    fn state(&self) -> Result<TrainerState> {
        let models = self.best().into_iter().map(|(name, tensors)| (name.to_owned(), tensors)).collect();
        Ok(TrainerState { models, sums: self.sums.state()?, ..TrainerState::default() })
    }

    fn restore(&mut self, mut state: TrainerState) -> Result<()> {
        state.load(MODEL, self.model.variables_mut())?;
        if let Some(alignment) = &mut self.alignment {
            state.load(ALIGNMENT, alignment.variables_mut())?;
        }
        self.sums.restore(&state.sums);
        Ok(())
    }
}

/// Indices of the labels that a study's report gives as present.
fn positive_labels(study: &ReportExample) -> BTreeSet<usize> {
    (0..study.labels.len()).filter(|&i| study.labels[i] == LabelState::Positive).collect()
}

#[cfg(test)]
mod tests;
