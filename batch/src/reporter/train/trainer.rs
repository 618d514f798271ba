//! Trains the report model: token loss, grounding loss and, on demand, alignment of image and text; Adam (AMSGrad)
//! with a visual and a language group, value clipping, warm-up and cosine, generated reports of the validation split
//! after each epoch, early stopping.

use std::collections::BTreeSet;
use std::ops::Range;

use d2r_contracts::labels::LabelState;
use d2r_contracts::tables::TrainLogRow;
use d2r_contracts::vocabulary::Vocabulary;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::config::report::{ReportSchedule, ReportTrainConfig};
use crate::error::{Error, Result};
use crate::nn::running_statistics::running_statistics;
use crate::progress::Progress;
use crate::reporter::align::alignment::{Alignment, AlignmentLosses, ImageTokens};
use crate::reporter::batches::augment::StudyAugment;
use crate::reporter::batches::collate::{collate_targets, collate_visuals_of};
use crate::reporter::batches::collate_text::collate_texts;
use crate::reporter::batches::study::{ReportExample, VisualSpec};
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
use crate::training::prefetch::Batches;
use crate::training::repeat_sampling::{repeat_factors, running_sums, systematic};
use crate::training::run_dir::RunDir;
use crate::training::running_sums::RunningSums;
use crate::training::streams::{purpose_rng, sample_rng, shard_seed};
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
    /// Studies of the training split.
    pub train: &'a [ReportExample],
    /// How they are augmented; `None`: not at all.
    pub augment: Option<&'a StudyAugment<'a>>,
    /// Studies of the validation split; without any, the last epoch's weights are the best.
    pub validation: &'a [ReportExample],
    pub vocabulary: &'a Vocabulary,
    /// How images and crops were prepared.
    pub visual: VisualSpec,
    /// Hyper-parameters.
    pub config: &'a ReportTrainConfig,
    /// How validation reports are generated with `config.val_beam`; greedily without it.
    pub decode: GenerationOptions,
    /// Seed of all random streams.
    pub seed: u64,
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
    if job.train.is_empty() {
        return Err(Error::NothingToDo("no study with a report and a radiograph to train on".into()));
    }
    let optimizer = optimizer(model, alignment.as_deref(), job.config)?;
    let trainer = ReportTrainer {
        epochs: Epochs::new(job.train.len(), job.config.batch_size, job.config.epochs),
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

    /// Augmented copies of the studies at some places of a batch, by (seed, step, place); empty without augmentation.
    fn augmented(&self, chosen: &[usize], places: Range<usize>, step: i64) -> Result<Vec<ReportExample>> {
        let Some(augment) = self.job.augment else { return Ok(Vec::new()) };
        let (studies, seed) = (self.job.train, self.job.seed);
        let one =
            |place: usize| augment.apply(&studies[chosen[place]], &mut sample_rng(seed, step as u64, place as u64));
        places.into_par_iter().map(one).collect()
    }

    /// The loss of one virtual shard of the studies of a step.
    fn shard_loss(&mut self, step: i64, chosen: &[usize], shard: usize) -> Result<ShardLoss> {
        let job = self.job;
        let places = job.shards.places(shard, chosen.len());
        // Dropout's random state cannot be saved; a seed per step and shard can be made again.
        tch::manual_seed(shard_seed(job.seed, "report dropout", step, shard));
        let augmented = self.augmented(chosen, places.clone(), step)?;
        let example = |(index, &i): (usize, &usize)| augmented.get(index).unwrap_or(&job.train[i]);
        let examples: Vec<&ReportExample> = chosen[places].iter().enumerate().map(example).collect();
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
        Ok(ShardLoss { loss, figures: Tensor::stack(&parts, 0).detach() })
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
    /// Indices of studies.
    type Batch = Vec<usize>;

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

    fn batches(&self, step: i64) -> Result<Batches<'a, Vec<usize>>> {
        let job = self.job;
        let lengths: Vec<usize> = job.train.iter().map(|study| study.ids.len()).collect();
        let sums =
            running_sums(&repeat_factors(&job.train.iter().map(positive_labels).collect::<Vec<_>>(), RARE_SHARE));
        Ok(self.epochs.batches(step, move |epoch| match job.config.schedule {
            ReportSchedule::Cosine => {
                let order = systematic(&sums, sums.len(), &mut purpose_rng(job.seed, "report draws", epoch));
                by_length(&order, &lengths, job.config.batch_size, job.seed, epoch)
            }
            ReportSchedule::Epochs => shuffled(lengths.len(), job.seed, epoch),
        }))
    }

    fn step(&mut self, step: i64, chosen: Vec<usize>, optimizer: &mut Optimizer) -> Result<usize> {
        let shards = self.job.shards.clone();
        let buffers = running_statistics(self.model.variables());
        let size = (chosen.len(), LOSSES.len());
        let of_shard = |shard| self.shard_loss(step, &chosen, shard);
        let parts = accumulate(&shards, optimizer, &buffers, size, of_shard)?;
        optimizer.clip_value(self.job.config.clip_value);
        optimizer.step(self.lr_factor(step));
        self.sums.add(&parts);
        Ok(chosen.len())
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
