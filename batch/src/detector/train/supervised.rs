//! Supervised training of the detector: SGD or Adam, warm-up and cosine, a moving average of the weights that is
//! evaluated and kept, AP50 on the validation split every so many steps.

use std::sync::Arc;

use d2r_contracts::tables::TrainLogRow;

use crate::config::detector::{DetectorTrainConfig, OptimizerKind, Profile};
use crate::detector::batches::augment::LabelledBox;
use crate::detector::batches::batch_plan::{BatchPlan, PlainBatch};
use crate::detector::batches::collate::image_batch;
use crate::detector::batches::loader::DetectionSet;
use crate::detector::evaluation::evaluate;
use crate::detector::losses::{Part, finite_parts};
use crate::detector::model::{BatchNormStatistics, Detector};
use crate::detector::rcnn::sampler::Draw;
use crate::detector::target::{BatchTargets, Target};
use crate::error::{Error, Result};
use crate::nn::running_statistics::running_statistics;
use crate::progress::Progress;
use crate::stop::StopFlag;
use crate::training::accumulation::{ShardLoss, accumulate};
use crate::training::lr_schedule::lr_factor;
use crate::training::named_tensors::{NamedTensors, assign_strict, named_tensors};
use crate::training::optimizer::{Optimizer, ParamGroup, Rule, decay_split, decay_split_of_norms, ema_update};
use crate::training::prefetch::{Batches, prefetched};
use crate::training::run_dir::RunDir;
use crate::training::running_sums::RunningSums;
use crate::training::streams::shard_rng;
use crate::training::training_loop;
use crate::training::training_loop::{LoopSchedule, Outcome, Trainer, TrainerState, VALIDATION, Validation, is_due};
use crate::training::virtual_shards::VirtualShards;

/// Adam's second decay and epsilon.
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;
/// Bounds a moving average's keep rate by `(1 + t) / (AVERAGE_LAG + t)` after `t` steps.
const AVERAGE_LAG: f64 = 10.0;
/// Names of a checkpoint's models.
const MODEL: &str = "model";
const AVERAGE: &str = "average";

/// What is trained on, and how.
#[derive(Debug)]
pub struct DetectorTraining<'a> {
    /// The training split.
    pub train: Arc<DetectionSet>,
    /// The validation split; without images the last weights are the best.
    pub validation: &'a DetectionSet,
    /// Hyper-parameters.
    pub config: &'a DetectorTrainConfig,
    /// Seed of all random streams.
    pub seed: u64,
    /// How progress is shown.
    pub progress: Progress,
    /// Read once per step and once per validation batch.
    pub stop: &'a StopFlag,
    /// The parts of a batch, and the processes that share them.
    pub shards: VirtualShards,
}

/// Trains `model` in `run`, from its newest checkpoint where there is one. `average` is a second detector of the
/// same configuration that holds the moving average.
///
/// # Errors
/// [`Error::NothingToDo`] without training images; those of [`training_loop::train`].
pub fn train(model: &mut Detector, average: &mut Detector, run: &RunDir, job: &DetectorTraining) -> Result<Outcome> {
    if job.train.examples.is_empty() {
        return Err(Error::NothingToDo("no image to train on".into()));
    }
    let optimizer = optimizer(model, job.config)?;
    let size = job.config.batch_size.max(1);
    assign_strict(average.variables_mut(), &named_tensors(model.variables()), "moving average")?;
    let plan = BatchPlan {
        seed: job.seed,
        sampler: job.train.sampler(job.seed, job.config.rare_share),
        size,
        places: job.shards.own_places(size),
        augment: job.config.augment.clone(),
    };
    let sums = RunningSums::new(Part::ALL.map(Part::name), model.device());
    let trainer = Supervised { model, average, job, plan, sums };
    training_loop::train(trainer, optimizer, run, job.progress, job.stop, job.shards.ranks())
}

struct Supervised<'a> {
    model: &'a mut Detector,
    average: &'a mut Detector,
    job: &'a DetectorTraining<'a>,
    plan: BatchPlan,
    /// Parts of the loss, in the order of [`Part::ALL`].
    sums: RunningSums<5>,
}

impl Supervised<'_> {
    /// The loss of one virtual shard. `batch`: the images that this process takes.
    fn shard_loss(&self, batch: &PlainBatch, shard: usize) -> Result<ShardLoss> {
        let (job, size) = (self.job, self.plan.size);
        let places = job.shards.places(shard, size);
        let own = places.start - self.plan.places.start..places.end - self.plan.places.start;
        let images = image_batch(&batch.images[own.clone()], &job.train.source.input, self.model.device())?;
        let targets: Vec<Vec<Target>> = batch.boxes[own].iter().map(|b| b.iter().map(target).collect()).collect();
        let mut draw = Draw::Random(Box::new(shard_rng(job.seed, batch.step, shard)));
        let targets = BatchTargets::labelled(&targets);
        let losses = self.model.losses(&images, targets, &mut draw, BatchNormStatistics::Updated)?;
        Ok(ShardLoss { loss: losses.total(), figures: losses.parts(), passes: self.model.take_passes() })
    }
}

impl<'a> Trainer<'a> for Supervised<'a> {
    type Batch = PlainBatch;

    fn schedule(&self) -> LoopSchedule {
        schedule(self.job.config, "train detector")
    }

    fn batches(&self, step: i64) -> Result<Batches<'a, PlainBatch>> {
        let (plan, set) = (self.plan.clone(), Arc::clone(&self.job.train));
        prefetched(step as u64..self.job.config.steps as u64, move |step| plan.batch(&set, step))
    }

    fn step(&mut self, step: i64, batch: PlainBatch, optimizer: &mut Optimizer) -> Result<usize> {
        let config = self.job.config;
        let size = (self.plan.size, Part::ALL.len());
        let buffers = running_statistics(self.model.variables());
        let of_shard = |shard| self.shard_loss(&batch, shard);
        let parts = accumulate(&self.job.shards, optimizer, &buffers, size, of_shard)?;
        if config.clip_norm > 0.0 {
            optimizer.clip_norm(config.clip_norm);
        }
        optimizer.step(lr_factor(config, step));
        self.sums.add(&parts);
        let (mut average, model) = (named_tensors(self.average.variables()), named_tensors(self.model.variables()));
        ema_update(&mut average, &model, warmed_up(config.ema_keep_rate, step))?;
        Ok(self.plan.size)
    }

    fn log(&mut self, step: i64) -> Result<(TrainLogRow, String)> {
        let [class, boxes, centerness, rpn_class, rpn_box] = finite_parts(self.sums.means()?, step)?;
        self.sums.reset();
        let row = TrainLogRow {
            lr: self.job.config.lr * lr_factor(self.job.config, step),
            loss: class + boxes + centerness + rpn_class + rpn_box,
            loss_class: Some(class),
            loss_box: Some(boxes),
            loss_centerness: Some(centerness),
            loss_rpn: Some(rpn_class + rpn_box),
            ..TrainLogRow::blank()
        };
        let rpn = rpn_class + rpn_box;
        Ok((row, format!("class {class:.3} box {boxes:.3} centerness {centerness:.3} rpn {rpn:.3}")))
    }

    fn validation_is_due(&self, step: i64) -> bool {
        !self.job.validation.examples.is_empty() && is_due(step, self.job.config.eval_every, self.job.config.steps)
    }

    /// AP50 of the averaged weights.
    fn validate(&mut self, _step: i64) -> Result<Validation> {
        let (average, job) = (&*self.average, self.job);
        let score = job.shards.ranks().decide(|| {
            let figures = evaluate(average, job.validation, job.config.batch_size, job.stop)?;
            Ok(Some(figures.ap50.unwrap_or(0.0)))
        })?;
        Ok(Validation { rows: vec![TrainLogRow { phase: VALIDATION.into(), score, ..TrainLogRow::blank() }], score })
    }

    fn best(&self) -> Vec<(&'static str, NamedTensors)> {
        vec![("model", named_tensors(self.average.variables()))]
    }

    fn state(&self) -> Result<TrainerState> {
        let models = [(MODEL, &self.model), (AVERAGE, &self.average)];
        let models = models.map(|(name, detector)| (name.to_owned(), named_tensors(detector.variables()))).into();
        Ok(TrainerState { models, sums: self.sums.state()?, ..TrainerState::default() })
    }

    fn restore(&mut self, mut state: TrainerState) -> Result<()> {
        state.load(MODEL, self.model.variables_mut())?;
        state.load(AVERAGE, self.average.variables_mut())?;
        self.sums.restore(&state.sums);
        Ok(())
    }
}

/// The keep rate of a moving average that follows quickly at first: after `step` steps `(1 + step) / (10 + step)` at
/// most.
pub fn warmed_up(keep_rate: f64, step: i64) -> f64 {
    let done = step as f64;
    keep_rate.min((1.0 + done) / (AVERAGE_LAG + done))
}

/// An annotated box as a target.
pub fn target(b: &LabelledBox) -> Target {
    Target::truth(b.class_id, b.region)
}

/// The schedule of both kinds of training: by steps, without early stopping.
pub fn schedule(config: &DetectorTrainConfig, name: &'static str) -> LoopSchedule {
    let DetectorTrainConfig { steps, log_every, save_every, .. } = *config;
    LoopSchedule { name, score: "AP50", steps, log_every, save_every, log_before_saving: false, patience: i64::MAX }
}

/// The optimizer of a detector's learned variables. Norms do not decay; biases do in profile `utv2` alone.
///
/// # Errors
/// [`Error::Internal`] when a name occurs twice.
pub fn optimizer(model: &Detector, config: &DetectorTrainConfig) -> Result<Optimizer> {
    let learned = named_tensors(model.variables()).into_iter().filter(|(_, t)| t.requires_grad()).collect();
    let (decayed, plain) = match model.config().profile {
        Profile::Torchvision => decay_split(learned),
        Profile::Utv2 => decay_split_of_norms(learned),
    };
    let rule = match config.optimizer {
        OptimizerKind::Sgd => Rule::Sgd { momentum: config.momentum },
        OptimizerKind::Adam => Rule::Adam { beta1: config.momentum, beta2: BETA2, eps: EPS, amsgrad: false },
    };
    let group =
        |name: &str, params, weight_decay| ParamGroup { name: name.into(), params, lr: config.lr, weight_decay };
    Optimizer::new(rule, vec![group("decayed", decayed, config.weight_decay), group("not decayed", plain, 0.0)])
}

#[cfg(test)]
mod tests;
