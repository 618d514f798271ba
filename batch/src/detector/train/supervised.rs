//! Supervised training of the detector: SGD or Adam, warm-up and cosine, a moving average of the weights that is
//! evaluated and kept, AP50 on the validation split every so many steps.
//! Everything random is a function of (seed, step), so a resumed run goes the same way, bit for bit on CPU.

use std::sync::Arc;
use std::time::Instant;

use d2r_contracts::tables::TrainLogRow;
use tch::{Kind, Tensor};

use crate::config::detector::{DetectorTrainConfig, OptimizerKind};
use crate::detector::batches::augment::{LabelledBox, sample_rng};
use crate::detector::batches::collate::stack_images;
use crate::detector::batches::loader::{BatchPlan, DetectionSet, EpochSampler, PlainBatch};
use crate::detector::detector::{BatchNormStatistics, Detector};
use crate::detector::evaluation::evaluate;
use crate::detector::losses::{Part, read_parts};
use crate::detector::rcnn::sampler::Draw;
use crate::detector::target::{BatchTargets, Target};
use crate::error::{Error, Result};
use crate::lake::digest::sha256_file;
use crate::progress::Progress;
use crate::stop::StopFlag;
use crate::training::checkpoint;
use crate::training::checkpoint::{TrainState, assign_strict, copied, named_tensors};
use crate::training::lr_schedule::lr_factor;
use crate::training::metrics_log::MetricsLog;
use crate::training::optimizer::{Optimizer, ParamGroup, Rule, decay_split, ema_update};
use crate::training::run_dir::RunDir;

/// Adam's second decay and epsilon.
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;
/// The moving average follows quickly at first: after `t` steps it keeps at most `(1 + t) / (10 + t)`.
const AVERAGE_LAG: f64 = 10.0;
/// The place in a batch whose generator draws anchors and regions: no image's.
const DRAW: u64 = u64::MAX;
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
    /// Asked once per step and once per validation batch.
    pub stop: &'a StopFlag,
}

/// How training went.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorOutcome {
    /// Optimizer steps done.
    pub steps: i64,
    /// Best AP50 on the validation split, if there is one.
    pub best_score: Option<f64>,
    /// The step it was reached at.
    pub best_step: i64,
    /// Digest of the best weights.
    pub model_sha256: String,
    /// The log.
    pub log: Vec<TrainLogRow>,
}

/// Trains `model` in `run`, from its newest checkpoint where there is one. `average` is a second detector of the
/// same configuration that holds the moving average.
///
/// # Errors
/// [`Error::Stopped`] after a checkpoint; [`Error::NothingToDo`] without training images; [`Error::BadData`] when
/// the loss is not finite; those of reading and writing.
pub fn train(
    model: &mut Detector,
    average: &mut Detector,
    run: &RunDir,
    job: &DetectorTraining,
) -> Result<DetectorOutcome> {
    if job.train.examples.is_empty() {
        return Err(Error::NothingToDo("no image to train on".into()));
    }
    Loop::start(model, average, run, job)?.run_to_end()
}

struct Loop<'a> {
    model: &'a mut Detector,
    average: &'a mut Detector,
    run: &'a RunDir,
    job: &'a DetectorTraining<'a>,
    optimizer: Optimizer,
    state: TrainState,
    log: MetricsLog,
    /// f64 `[6]` on the device: sums of the parts of the loss, and steps, since the last logged step.
    sums: Tensor,
    logged_at: Instant,
    logged_images: u64,
}

/// Names of the pending sums in a checkpoint.
fn pending_names() -> [&'static str; 6] {
    let [a, b, c, d, e] = Part::ALL.map(Part::name);
    [a, b, c, d, e, "steps"]
}

impl<'a> Loop<'a> {
    fn start(
        model: &'a mut Detector,
        average: &'a mut Detector,
        run: &'a RunDir,
        job: &'a DetectorTraining<'a>,
    ) -> Result<Self> {
        let mut optimizer = optimizer(model, job.config)?;
        let mut state = TrainState::default();
        if let Some(loaded) = checkpoint::load_latest(run)? {
            for (name, detector) in [(MODEL, &mut *model), (AVERAGE, &mut *average)] {
                let absent = || Error::bad_data(run.path().display(), format!("its checkpoint holds no `{name}`"));
                let tensors = loaded.models.get(name).ok_or_else(absent)?;
                assign_strict(detector.variables_mut(), tensors, "checkpoint")?;
            }
            optimizer.load_state(loaded.optimizer)?;
            state = loaded.state;
        } else {
            let weights = copied(&named_tensors(model.variables()));
            assign_strict(average.variables_mut(), &weights, "moving average")?;
        }
        let pending = pending_names().map(|name| state.pending.get(name).copied().unwrap_or(0.0));
        let sums = Tensor::from_slice(&pending).to_device(model.device());
        let log = MetricsLog::open(run, &state.log)?;
        Ok(Self { model, average, run, job, optimizer, state, log, sums, logged_at: Instant::now(), logged_images: 0 })
    }

    fn run_to_end(mut self) -> Result<DetectorOutcome> {
        let config = self.job.config;
        let task = self.job.progress.task("train detector", config.steps as u64, "steps");
        task.advance(self.state.step as u64);
        let plan = BatchPlan {
            seed: self.job.seed,
            sampler: EpochSampler::new(self.job.seed, &self.job.train.repeat_factors(config.rare_share)),
            size: config.batch_size.max(1),
            augment: config.augment.clone(),
        };
        let epoch_length = plan.sampler.epoch_length().max(1) as i64;
        if self.validation_is_owed() {
            self.validate()?;
        }
        let batches = plan.start(Arc::clone(&self.job.train), self.state.step as u64..config.steps as u64)?;
        while self.state.step < config.steps {
            if let Err(stopped) = self.job.stop.check() {
                self.save()?;
                return Err(stopped);
            }
            let batch =
                batches.recv().map_err(|_| Error::Internal("the thread that prepares batches ended".into()))??;
            self.step(&batch)?;
            self.state.epoch = self.state.step * config.batch_size.max(1) as i64 / epoch_length;
            task.advance(1);
            let last = self.state.step == config.steps;
            let due = |every: i64| last || self.state.step % every.max(1) == 0;
            let (log, evaluate, save) = (due(config.log_every), due(config.eval_every), due(config.save_every));
            if log {
                task.message(self.write_log()?);
            }
            if evaluate {
                self.validate()?;
            }
            if save {
                self.save()?;
            }
        }
        task.finish();
        if !self.run.best().is_file() {
            self.run.write_best(&named_tensors(self.average.variables()))?;
        }
        let model_sha256 = sha256_file(&self.run.best())?;
        let TrainState { step, best_score, best_step, log, .. } = self.state;
        Ok(DetectorOutcome { steps: step, best_score, best_step, model_sha256, log })
    }

    /// A signal came while this step was being validated, before the resume.
    fn validation_is_owed(&self) -> bool {
        let (step, config) = (self.state.step, self.job.config);
        let due = step > 0 && (step == config.steps || step % config.eval_every.max(1) == 0);
        due && !self.state.log.iter().any(|r| r.phase == "validation" && r.step == step)
    }

    fn lr_factor(&self) -> f64 {
        lr_factor(self.job.config, self.state.step)
    }

    fn step(&mut self, batch: &PlainBatch) -> Result<()> {
        let config = self.job.config;
        let images = stack_images(&batch.pixels, &self.job.train.source.input, self.model.device())?;
        let targets: Vec<Vec<Target>> = batch.boxes.iter().map(|boxes| boxes.iter().map(target).collect()).collect();
        let mut draw = Draw::Random(Box::new(sample_rng(self.job.seed, batch.step, DRAW)));
        let targets = BatchTargets::labelled(&targets);
        let losses = self.model.losses(&images, targets, &mut draw, BatchNormStatistics::Updated)?;
        self.optimizer.backward(&losses.total())?;
        if config.clip_norm > 0.0 {
            self.optimizer.clip_norm(config.clip_norm);
        }
        self.optimizer.step(self.lr_factor());
        let parts = Tensor::cat(&[losses.parts().to_kind(Kind::Double), self.sums.ones_like().narrow(0, 5, 1)], 0);
        let _ = self.sums.g_add_(&parts);
        let done = self.state.step as f64;
        let keep = config.ema_keep_rate.min((1.0 + done) / (AVERAGE_LAG + done));
        ema_update(&mut named_tensors(self.average.variables()), &named_tensors(self.model.variables()), keep)?;
        self.state.step += 1;
        self.logged_images += batch.boxes.len() as u64;
        Ok(())
    }

    /// Writes a row of the log; returns a line for people.
    fn write_log(&mut self) -> Result<String> {
        let [class, boxes, centerness, rpn_class, rpn_box] = self.mean_parts()?;
        let seconds = self.logged_at.elapsed().as_secs_f64();
        let row = TrainLogRow {
            lr: self.job.config.lr * self.lr_factor(),
            loss: class + boxes + centerness + rpn_class + rpn_box,
            loss_class: Some(class),
            loss_box: Some(boxes),
            loss_centerness: Some(centerness),
            loss_rpn: Some(rpn_class + rpn_box),
            images_per_s: Some(self.logged_images as f64 / seconds.max(1e-9)),
            ..self.row("train")
        };
        self.push(row)?;
        let _ = self.sums.zero_();
        (self.logged_at, self.logged_images) = (Instant::now(), 0);
        let best = self.state.best_score.map(|s| format!(", best AP50 {s:.3}")).unwrap_or_default();
        Ok(format!("class {class:.3} box {boxes:.3} centre {centerness:.3} rpn {:.3}{best}", rpn_class + rpn_box))
    }

    fn mean_parts(&self) -> Result<[f64; 5]> {
        let steps = f64::try_from(self.sums.get(5))?.max(1.0);
        read_parts(&(self.sums.narrow(0, 0, 5) / steps), self.state.step)
    }

    fn push(&mut self, row: TrainLogRow) -> Result<()> {
        self.log.push(&row)?;
        self.state.log.push(row);
        Ok(())
    }

    fn row(&self, phase: &str) -> TrainLogRow {
        let (run_id, phase) = (self.run.id().to_owned(), phase.to_owned());
        TrainLogRow { run_id, phase, step: self.state.step, ..TrainLogRow::blank() }
    }

    /// Scores the validation split and keeps the averaged weights when they are the best so far; later ones win ties.
    fn validate(&mut self) -> Result<()> {
        if self.job.validation.examples.is_empty() {
            return Ok(());
        }
        let evaluated = evaluate(self.average, self.job.validation, self.job.config.batch_size, self.job.stop);
        let figures = match evaluated {
            // The step is done; its validation is made after the resume, before the next step.
            Err(stopped @ Error::Stopped { .. }) => {
                self.save()?;
                return Err(stopped);
            }
            other => other?,
        };
        let score = figures.ap50.unwrap_or(0.0);
        self.push(TrainLogRow { score: Some(score), ..self.row("validation") })?;
        if self.state.best_score.is_none_or(|best| score >= best) {
            self.run.write_best(&named_tensors(self.average.variables()))?;
            (self.state.best_score, self.state.best_step, self.state.since_best) = (Some(score), self.state.step, 0);
        } else {
            self.state.since_best += 1;
        }
        (self.logged_at, self.logged_images) = (Instant::now(), 0);
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        let sums = Vec::<f64>::try_from(&self.sums)?;
        self.state.pending = pending_names().map(str::to_owned).into_iter().zip(sums).collect();
        let (model, average) = (named_tensors(self.model.variables()), named_tensors(self.average.variables()));
        checkpoint::save(self.run, &[(MODEL, &model), (AVERAGE, &average)], &self.optimizer, &self.state)
    }
}

/// A reader's box as a target.
pub fn target(b: &LabelledBox) -> Target {
    Target::truth(b.class_id, b.region)
}

/// The optimizer of a detector's learned variables; norms and biases do not decay.
///
/// # Errors
/// [`Error::Internal`] when a name occurs twice.
pub fn optimizer(model: &Detector, config: &DetectorTrainConfig) -> Result<Optimizer> {
    let learned = named_tensors(model.variables()).into_iter().filter(|(_, t)| t.requires_grad()).collect();
    let (decayed, plain) = decay_split(learned);
    let rule = match config.optimizer {
        OptimizerKind::Sgd => Rule::Sgd { momentum: config.momentum },
        OptimizerKind::Adam => Rule::Adam { beta1: config.momentum, beta2: BETA2, eps: EPS, amsgrad: false },
    };
    let group =
        |name: &str, params, weight_decay| ParamGroup { name: name.into(), params, lr: config.lr, weight_decay };
    Optimizer::new(rule, vec![group("weights", decayed, config.weight_decay), group("norms and biases", plain, 0.0)])
}

#[cfg(test)]
pub(crate) mod tests;
