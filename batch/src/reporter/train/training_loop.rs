//! Trains the report model: word loss, grounding loss and, on demand, alignment of image and text; Adam (AMSGrad) with a visual and a language group, value
//! clipping, warm-up and cosine, a greedy look at the validation split after each epoch, early stopping.
//! Everything random is a function of (seed, epoch) or (seed, step), so a resumed run goes the same way, bit for
//! bit on CPU.

use std::collections::BTreeMap;
use std::time::Instant;

use d2r_contracts::tables::TrainLogRow;
use d2r_contracts::vocabulary::Vocabulary;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tch::{Device, Tensor};

use crate::config::report::ReportTrainConfig;
use crate::detector::batches::augment::sample_rng;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::reporter::align::alignment::{Alignment, AlignmentLosses, ImageTokens};
use crate::reporter::batches::augment::StudyAugment;
use crate::reporter::batches::collate::{collate_targets, collate_visuals};
use crate::reporter::batches::collate_text::collate_texts;
use crate::reporter::batches::study::{ReportExample, StudyVisual, VisualSpec};
use crate::reporter::decode::generation_options::GenerationOptions;
use crate::reporter::model::report_model::ReportModel;
use crate::reporter::model::visual::VisualFeatures;
use crate::reporter::train::optimizer::optimizer;
use crate::reporter::train::running_means::ReportSums;
use crate::reporter::train::token_weights::WordWeights;
use crate::reporter::train::validation::score;
use crate::stop::StopFlag;
use crate::training::checkpoint;
use crate::training::checkpoint::{TrainState, assign_strict, named_tensors};
use crate::training::lr_schedule::report_lr_factor;
use crate::training::metrics_log::MetricsLog;
use crate::training::optimizer::Optimizer;
use crate::training::run_dir::RunDir;

/// What is trained on, and how.
#[derive(Debug)]
pub struct ReportTraining<'a> {
    /// Studies of the training split.
    pub train: &'a [ReportExample],
    /// How they change each time they are shown; `None`: not at all.
    pub augment: Option<&'a StudyAugment<'a>>,
    /// Studies of the validation split; without any, the last epoch's weights are the best.
    pub validation: &'a [ReportExample],
    /// Words.
    pub vocabulary: &'a Vocabulary,
    /// How films were prepared.
    pub visual: VisualSpec,
    /// Hyper-parameters.
    pub config: &'a ReportTrainConfig,
    /// How validation reports are written; the likeliest word each time unless `config.val_beam` is on.
    pub decode: GenerationOptions,
    /// Seed of all random streams.
    pub seed: u64,
    /// Where the model is.
    pub device: Device,
    /// How progress is shown.
    pub progress: Progress,
    /// Asked once per step and once per validation batch.
    pub stop: &'a StopFlag,
}

/// How training went.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportOutcome {
    /// Optimizer steps done.
    pub steps: i64,
    /// Best validation score, if there was a validation split.
    pub best_score: Option<f64>,
    /// The step it was reached at.
    pub best_step: i64,
    /// Digest of the best weights.
    pub model_sha256: String,
    /// The log.
    pub log: Vec<TrainLogRow>,
}

/// Trains `model` in `run`, from its newest checkpoint where there is one. `alignment`: its text encoder and losses, where
/// image and text are aligned.
///
/// # Errors
/// [`Error::Stopped`] after a checkpoint; [`Error::NothingToDo`] without training studies; [`Error::BadData`] when
/// the loss is not finite; those of writing.
pub fn train(
    model: &mut ReportModel,
    alignment: Option<&mut Alignment>,
    run: &RunDir,
    job: &ReportTraining,
) -> Result<ReportOutcome> {
    if job.train.is_empty() {
        return Err(Error::NothingToDo("no study with a report and a radiograph to train on".into()));
    }
    let mut training = Run::start(model, alignment, run, job)?;
    training.run_to_end()
}

struct Run<'a> {
    model: &'a mut ReportModel,
    alignment: Option<&'a mut Alignment>,
    run: &'a RunDir,
    job: &'a ReportTraining<'a>,
    optimizer: Optimizer,
    state: TrainState,
    log: MetricsLog,
    sums: ReportSums,
    weights: WordWeights,
    logged_at: Instant,
    logged_images: u64,
}

impl<'a> Run<'a> {
    fn start(
        model: &'a mut ReportModel,
        mut alignment: Option<&'a mut Alignment>,
        run: &'a RunDir,
        job: &'a ReportTraining<'a>,
    ) -> Result<Self> {
        let mut optimizer = optimizer(model, alignment.as_deref(), job.config)?;
        let mut state = TrainState::default();
        if let Some(loaded) = checkpoint::load_latest(run)? {
            let missing = |what: &str| Error::bad_data(run.path().display(), format!("its checkpoint holds no {what}"));
            let tensors = loaded.models.get("model").ok_or_else(|| missing("model"))?;
            assign_strict(model.variables_mut(), tensors, "checkpoint")?;
            if let Some(alignment) = &mut alignment {
                let tensors = loaded.models.get("alignment").ok_or_else(|| missing("alignment"))?;
                assign_strict(alignment.variables_mut(), tensors, "checkpoint")?;
            }
            optimizer.load_state(loaded.optimizer)?;
            state = loaded.state;
        }
        let sums = ReportSums::of(&state.pending, job.device);
        let log = MetricsLog::open(run, &state.log)?;
        let weights = WordWeights::new(job.vocabulary, job.config.laterality_weight, job.device)?;
        let (logged_at, logged_images) = (Instant::now(), 0);
        Ok(Self { model, alignment, run, job, optimizer, state, log, sums, weights, logged_at, logged_images })
    }

    fn steps_per_epoch(&self) -> i64 {
        self.job.train.len().div_ceil(self.job.config.batch_size.max(1)) as i64
    }

    fn run_to_end(&mut self) -> Result<ReportOutcome> {
        let (per_epoch, config) = (self.steps_per_epoch(), self.job.config);
        let total = per_epoch * config.epochs;
        let task = self.job.progress.task("train reporter", total as u64, "steps");
        task.advance(self.state.step as u64);
        while self.state.epoch < config.epochs && self.state.since_best < config.patience.max(1) {
            let end = (self.state.epoch + 1) * per_epoch;
            let order = epoch_order(self.job.train.len(), self.job.seed, self.state.epoch);
            while self.state.step < end {
                if let Err(stopped) = self.job.stop.check() {
                    self.save()?;
                    return Err(stopped);
                }
                let first = (self.state.step - self.state.epoch * per_epoch) as usize * config.batch_size.max(1);
                let chosen = &order[first..order.len().min(first + config.batch_size.max(1))];
                self.step(chosen, total)?;
                task.advance(1);
                if self.state.step % config.log_every.max(1) == 0 || self.state.step == end {
                    task.message(self.write_log()?);
                }
            }
            self.validate()?;
            self.state.epoch += 1;
            self.save()?;
        }
        task.finish();
        if !self.run.best().is_file() {
            self.write_best()?;
        }
        let model_sha256 = crate::lake::digest::sha256_file(&self.run.best())?;
        let state = &self.state;
        Ok(ReportOutcome {
            steps: state.step,
            best_score: state.best_score,
            best_step: state.best_step,
            model_sha256,
            log: state.log.clone(),
        })
    }

    fn step(&mut self, chosen: &[usize], total: i64) -> Result<()> {
        let job = self.job;
        // Dropout's random state cannot be saved; a seed per step can be made again.
        tch::manual_seed(mixed_seed(job.seed, "report dropout", self.state.step));
        let changed = self.changed(chosen);
        let shown = |(place, &i): (usize, &usize)| changed.get(place).unwrap_or(&job.train[i]);
        let examples: Vec<&ReportExample> = chosen.iter().enumerate().map(shown).collect();
        let visuals: Vec<&StudyVisual> = examples.iter().map(|e| e.visual.as_ref()).collect();
        let visual = collate_visuals(&visuals, &job.visual, job.device)?;
        let mut targets = collate_targets(&examples, job.device)?;
        let features = self.model.features(&visual, true);
        targets.weights = self.weights.of(targets.weights, &targets.ids);
        let losses = self.model.losses(&features, &targets, true);
        let aligned = self.aligned(&features, &examples)?;
        let mut total_loss = &losses.token + &losses.grounding * job.config.grounding_weight;
        if self.alignment.is_some() {
            total_loss = total_loss + &aligned.local + &aligned.global;
        }
        self.optimizer.backward(&total_loss)?;
        self.optimizer.clip_value(job.config.clip_value);
        self.optimizer.step(self.lr_factor(total));
        self.sums.add([&losses.token, &losses.grounding, &aligned.local, &aligned.global]);
        self.state.step += 1;
        self.logged_images += chosen.len() as u64;
        Ok(())
    }

    /// The chosen studies, augmented by (seed, step, place); none where nothing is augmented.
    fn changed(&self, chosen: &[usize]) -> Vec<ReportExample> {
        let Some(augment) = self.job.augment else { return Vec::new() };
        let (studies, seed, step) = (self.job.train, self.job.seed, self.state.step as u64);
        let one = |(place, &i): (usize, &usize)| augment.apply(&studies[i], &mut sample_rng(seed, step, place as u64));
        chosen.par_iter().enumerate().map(one).collect()
    }

    /// The losses of alignment; zero without it.
    fn aligned(&mut self, features: &VisualFeatures, examples: &[&ReportExample]) -> Result<AlignmentLosses> {
        let (job, epoch) = (self.job, self.state.epoch);
        let Some(alignment) = &mut self.alignment else {
            let zero = || Tensor::zeros([], (tch::Kind::Float, job.device));
            return Ok(AlignmentLosses { local: zero(), global: zero() });
        };
        let texts: Vec<_> = examples.iter().map(|e| &e.texts).collect();
        let texts = collate_texts(&texts, job.device)?;
        let VisualFeatures { patches, regions, present } = features;
        let views = job.visual.views as i64;
        Ok(alignment.losses(&ImageTokens { patches, views, regions, present }, &texts, epoch, true))
    }

    fn lr_factor(&self, total: i64) -> f64 {
        report_lr_factor(self.job.config, self.state.step, self.steps_per_epoch(), total)
    }

    /// Writes a row of the log; returns a line for people.
    fn write_log(&mut self) -> Result<String> {
        let Some(means) = self.sums.means()? else { return Ok(String::new()) };
        if !means.total(1.0).is_finite() {
            let place = format!("training, step {}", self.state.step);
            return Err(Error::bad_data(
                place,
                "the loss is not finite; lower report.train.lr and start again with --resume never",
            ));
        }
        let seconds = self.logged_at.elapsed().as_secs_f64();
        let total = self.steps_per_epoch() * self.job.config.epochs;
        let base = TrainLogRow {
            lr: self.job.config.lr_visual * self.lr_factor(total),
            images_per_s: Some(self.logged_images as f64 / seconds.max(1e-9)),
            ..self.row("train")
        };
        let row = means.row(base, self.job.config.grounding_weight, self.alignment.is_some());
        self.sums = ReportSums::of(&BTreeMap::new(), self.job.device);
        (self.logged_at, self.logged_images) = (Instant::now(), 0);
        self.log.push(&row)?;
        self.state.log.push(row);
        Ok(format!("loss {:.3} grounding {:.3}", means.word, means.grounding))
    }

    fn row(&self, phase: &str) -> TrainLogRow {
        TrainLogRow {
            run_id: self.run.id().to_owned(),
            phase: phase.to_owned(),
            step: self.state.step,
            ..TrainLogRow::blank()
        }
    }

    /// Scores the validation split and keeps the weights when they are the best so far; a later epoch wins a tie.
    fn validate(&mut self) -> Result<()> {
        let of_interest = match self.job.config.val_studies {
            0 => self.job.validation,
            n => &self.job.validation[..n.min(self.job.validation.len())],
        };
        if of_interest.is_empty() {
            return Ok(());
        }
        let (score, loss) = match score(self.model, of_interest, self.job) {
            Err(stopped @ Error::Stopped { .. }) => {
                // The epoch's steps are done and saved; its validation is made again after the resume.
                self.save()?;
                return Err(stopped);
            }
            other => other?,
        };
        let row = TrainLogRow { loss, loss_word: Some(loss), score: Some(score), ..self.row("validation") };
        self.log.push(&row)?;
        self.state.log.push(row);
        if self.state.best_score.is_none_or(|best| score >= best) {
            self.write_best()?;
            (self.state.best_score, self.state.best_step, self.state.since_best) = (Some(score), self.state.step, 0);
        } else {
            self.state.since_best += 1;
        }
        (self.logged_at, self.logged_images) = (Instant::now(), 0);
        Ok(())
    }

    /// The weights as the run's best; those of the alignment in a file of their own, which writing does not need.
    fn write_best(&self) -> Result<()> {
        if let Some(alignment) = &self.alignment {
            self.run.write_best_of("alignment", &named_tensors(alignment.variables()))?;
        }
        self.run.write_best(&named_tensors(self.model.variables()))?;
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.state.pending = self.sums.read()?;
        let model = named_tensors(self.model.variables());
        let aligned = self.alignment.as_ref().map(|a| named_tensors(a.variables()));
        let mut models: Vec<(&str, &[(String, Tensor)])> = vec![("model", &model)];
        models.extend(aligned.as_ref().map(|tensors| ("alignment", tensors.as_slice())));
        checkpoint::save(self.run, &models, &self.optimizer, &self.state)
    }
}

/// The order of the studies in an epoch.
fn epoch_order(count: usize, seed: u64, epoch: i64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(mixed_seed(seed, "report shuffle", epoch) as u64));
    order
}

/// A seed that depends on the run's seed, a purpose and an index.
pub fn mixed_seed(seed: u64, purpose: &str, index: i64) -> i64 {
    let digest = Sha256::digest(format!("{seed} {purpose} {index}"));
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&digest[..8]);
    i64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
