//! Distils the report model into the student: Adam, warm-up and cosine, the encoder alone first, a look at the
//! validation split's words after each epoch. Everything random is a function of (seed, epoch) or (seed, step).

use std::time::Instant;

use d2r_contracts::tables::TrainLogRow;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor, nn};

use crate::config::preview::DistillConfig;
use crate::error::{Error, Result};
use crate::nn::mlp::linear;
use crate::preview_model::distill::augmentation::{Beyond, Move, in_other_greys, moved};
use crate::preview_model::distill::batch::{PreviewBatch, PreviewExample, stack_examples};
use crate::preview_model::distill::distillation::{TeacherView, losses};
use crate::preview_model::model::preview_model::PreviewModel;
use crate::progress::Progress;
use crate::reporter::batches::collate::collate_visuals;
use crate::reporter::batches::study::{ReportExample, StudyVisual, VisualSpec};
use crate::reporter::model::report_model::ReportModel;
use crate::reporter::train::training_loop::{ReportOutcome, mixed_seed};
use crate::stop::StopFlag;
use crate::training::checkpoint;
use crate::training::checkpoint::{TrainState, assign_strict, named_tensors};
use crate::training::lr_schedule::warmup_then_cosine;
use crate::training::metrics_log::MetricsLog;
use crate::training::optimizer::{Optimizer, ParamGroup, Rule, decay_split};
use crate::training::run_dir::RunDir;

/// The schedule ends at this share of the peak rate; warm-up takes this share of the steps.
const LR_FLOOR: f64 = 0.01;
const WARMUP: f64 = 0.05;
/// Entries of the gradient are scaled down to this norm.
const CLIP_NORM: f64 = 5.0;

/// A study for both models.
pub type Pair = (ReportExample, PreviewExample);

/// What is distilled, and how.
#[derive(Debug)]
pub struct Distillation<'a> {
    /// The teacher.
    pub teacher: &'a ReportModel,
    /// How its films are prepared.
    pub visual: VisualSpec,
    /// Its films cover the student's grid cell by cell.
    pub same_frame: bool,
    /// Studies of the training split.
    pub train: &'a [Pair],
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
    /// Asked once per step.
    pub stop: &'a StopFlag,
}

/// Trains `student` in `run`, from its newest checkpoint where there is one.
///
/// # Errors
/// [`Error::Stopped`] after a checkpoint; [`Error::NothingToDo`] without training studies; [`Error::BadData`] when the
/// loss is not finite; those of writing.
pub fn distill(student: &mut PreviewModel, run: &RunDir, job: &Distillation) -> Result<ReportOutcome> {
    if job.train.is_empty() {
        return Err(Error::NothingToDo("no study with a report and a radiograph to distil from".into()));
    }
    let adapter_vs = nn::VarStore::new(job.device);
    let width = student.encoder.token_width;
    let adapter = linear(&(adapter_vs.root() / "adapter"), width, job.teacher.d_visual());
    let learned =
        |vs: &nn::VarStore| named_tensors(vs).into_iter().filter(|(_, t)| t.requires_grad()).collect::<Vec<_>>();
    let (decayed, plain) = decay_split(learned(student.variables()).into_iter().chain(learned(&adapter_vs)).collect());
    let group =
        |name: &str, params, weight_decay| ParamGroup { name: name.into(), params, lr: job.config.lr, weight_decay };
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, amsgrad: false };
    let groups = vec![group("all", decayed, job.config.weight_decay), group("norms and biases", plain, 0.0)];
    let mut optimizer = Optimizer::new(rule, groups)?;
    let mut state = TrainState::default();
    let mut adapter_vs = adapter_vs;
    if let Some(loaded) = checkpoint::load_latest(run)? {
        for (name, vs) in [("model", student.variables_mut()), ("adapter", &mut adapter_vs)] {
            let missing = || Error::bad_data(run.path().display(), format!("its checkpoint holds no {name}"));
            assign_strict(vs, loaded.models.get(name).ok_or_else(missing)?, "checkpoint")?;
        }
        optimizer.load_state(loaded.optimizer)?;
        state = loaded.state;
    }
    let log = MetricsLog::open(run, &state.log)?;
    let mut training = Run { student, adapter, adapter_vs, run, job, optimizer, state, log, logged_at: Instant::now() };
    training.run_to_end()
}

struct Run<'a> {
    student: &'a mut PreviewModel,
    adapter: nn::Linear,
    adapter_vs: nn::VarStore,
    run: &'a RunDir,
    job: &'a Distillation<'a>,
    optimizer: Optimizer,
    state: TrainState,
    log: MetricsLog,
    logged_at: Instant,
}

impl Run<'_> {
    fn run_to_end(&mut self) -> Result<ReportOutcome> {
        let (job, config) = (self.job, self.job.config);
        let size = config.batch_size.max(1);
        let per_epoch = job.train.len().div_ceil(size) as i64;
        let total = per_epoch * config.epochs;
        let task = job.progress.task("distil", total as u64, "steps");
        task.advance(self.state.step as u64);
        while self.state.epoch < config.epochs {
            let mut rng = ChaCha8Rng::seed_from_u64(mixed_seed(job.seed, "distil order", self.state.epoch) as u64);
            let mut order: Vec<(usize, bool)> =
                (0..job.train.len()).map(|i| (i, rng.random::<f64>() < config.teacher_share)).collect();
            order.shuffle(&mut rng);
            while self.state.step < (self.state.epoch + 1) * per_epoch {
                if let Err(stopped) = job.stop.check() {
                    self.save()?;
                    return Err(stopped);
                }
                let first = (self.state.step - self.state.epoch * per_epoch) as usize * size;
                let line = self.step(&order[first..order.len().min(first + size)], total)?;
                task.advance(1);
                if let Some(line) = line {
                    task.message(line);
                }
            }
            self.state.epoch += 1;
            self.validate()?;
            self.save()?;
        }
        task.finish();
        if !self.run.best().is_file() {
            self.run.write_best(&named_tensors(self.student.variables()))?;
        }
        let state = &self.state;
        Ok(ReportOutcome {
            steps: state.step,
            best_score: state.best_score,
            best_step: state.best_step,
            model_sha256: crate::lake::digest::sha256_file(&self.run.best())?,
            log: state.log.clone(),
        })
    }

    /// One step; a line for people when the log has a new row.
    fn step(&mut self, chosen: &[(usize, bool)], total: i64) -> Result<Option<String>> {
        let (job, config) = (self.job, self.job.config);
        tch::manual_seed(mixed_seed(job.seed, "distil step", self.state.step));
        let pairs: Vec<&Pair> = chosen.iter().map(|(i, _)| &job.train[*i]).collect();
        let from_teacher: Vec<bool> = chosen.iter().map(|(_, teacher)| *teacher).collect();
        let moves = config.augment.then(|| self.moves(pairs.len()));
        let mut batch = self.stack(&pairs, &from_teacher, moves.as_deref())?;
        if config.augment {
            batch.films = in_other_greys(&batch.films);
        }
        let words = self.state.epoch >= config.encoder_epochs;
        let teacher = self.teacher_view(&pairs, &batch, moves.as_deref(), words)?;
        let losses = losses(self.student, &self.adapter, &batch, &teacher, config, words);
        let total_loss = losses.total(config, words);
        self.optimizer.backward(&total_loss)?;
        self.optimizer.clip_norm(CLIP_NORM);
        let warmup = (total as f64 * WARMUP).round() as i64;
        let factor = warmup_then_cosine(self.state.step, warmup, total, LR_FLOOR);
        self.optimizer.step(factor);
        self.state.step += 1;
        if self.state.step % config.log_every.max(1) != 0 && self.state.step != total {
            return Ok(None);
        }
        let loss = f64::try_from(&total_loss)?;
        if !loss.is_finite() {
            let place = format!("distillation, step {}", self.state.step);
            return Err(Error::bad_data(
                place,
                "the loss is not finite; lower preview.train.lr and start with --resume never",
            ));
        }
        let row = TrainLogRow {
            loss,
            loss_word: Some(f64::try_from(&losses.word)?),
            loss_grounding: Some(f64::try_from(&losses.cells)?),
            lr: config.lr * factor,
            images_per_s: Some(
                (config.log_every * chosen.len() as i64) as f64 / self.logged_at.elapsed().as_secs_f64().max(1e-9),
            ),
            ..self.row("train")
        };
        self.logged_at = Instant::now();
        let line = format!("loss {loss:.3} words {:.3}", row.loss_word.unwrap_or(0.0));
        self.log.push(&row)?;
        self.state.log.push(row);
        Ok(Some(line))
    }

    /// Where the films of this step are moved.
    fn moves(&self, films: usize) -> Vec<Move> {
        let seed = mixed_seed(self.job.seed, "distil moves", self.state.step);
        let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
        (0..films).map(|_| Move::drawn(&mut rng)).collect()
    }

    fn stack(&self, pairs: &[&Pair], from_teacher: &[bool], moves: Option<&[Move]>) -> Result<PreviewBatch> {
        let examples: Vec<&PreviewExample> = pairs.iter().map(|p| &p.1).collect();
        let config = &self.student.config;
        let longest = config.max_words as usize;
        stack_examples(&examples, from_teacher, moves, i64::from(config.input_size), longest, self.job.device)
    }

    /// What the teacher says of the same films, unmoved, and words; its map is moved as the student's films are.
    fn teacher_view(
        &self,
        pairs: &[&Pair],
        batch: &PreviewBatch,
        moves: Option<&[Move]>,
        words: bool,
    ) -> Result<TeacherView> {
        let _no_grad = tch::no_grad_guard();
        let (job, teacher) = (self.job, self.job.teacher);
        let visuals: Vec<&StudyVisual> = pairs.iter().map(|p| p.0.visual.as_ref()).collect();
        let visual = collate_visuals(&visuals, &job.visual, job.device)?;
        let features = teacher.features(&visual, false);
        let log_probs = if words {
            let encoded = teacher.encode(&features, false);
            let inputs = batch.ids.narrow(1, 0, batch.ids.size()[1] - 1);
            teacher.encoder_decoder().forward_t(&encoded.tokens, &encoded.present, &inputs, false).log_probs
        } else {
            Tensor::new()
        };
        let (rows, cells, width) = (features.patches.size()[0], features.patches.size()[1], features.patches.size()[2]);
        let size = (cells as f64).sqrt().round() as i64;
        let map = (job.same_frame && size * size == cells)
            .then(|| features.patches.transpose(1, 2).reshape([rows, width, size, size]))
            .map(|map| moves.map_or_else(|| map.shallow_clone(), |m| moved(&map, m, Beyond::Nearest)));
        Ok(TeacherView { log_probs, map })
    }

    /// Mean log-likelihood of the references' words on the validation split; the best weights so far are kept.
    fn validate(&mut self) -> Result<()> {
        if self.job.validation.is_empty() || self.state.epoch <= self.job.config.encoder_epochs {
            return Ok(());
        }
        let (mut sum, mut count) = (0.0, 0.0);
        for chunk in self.job.validation.chunks(self.job.config.batch_size.max(1)) {
            let _no_grad = tch::no_grad_guard();
            let pairs: Vec<&Pair> = chunk.iter().collect();
            let batch = self.stack(&pairs, &vec![false; chunk.len()], None)?;
            let length = batch.ids.size()[1] - 1;
            let tokens = self.student.features(&batch.films, false).tokens;
            let (logits, _) = self.student.decoder.forward_t(&batch.ids.narrow(1, 0, length), &tokens, false);
            let next = batch.ids.narrow(1, 1, length).unsqueeze(-1);
            let picked = logits.log_softmax(-1, Kind::Float).gather(2, &next, false).squeeze_dim(2);
            sum += f64::try_from((picked * &batch.kept).sum(Kind::Double))?;
            count += f64::try_from(batch.kept.sum(Kind::Double))?;
        }
        let score = sum / f64::max(count, 1.0);
        let row = TrainLogRow { loss: -score, loss_word: Some(-score), score: Some(score), ..self.row("validation") };
        self.log.push(&row)?;
        self.state.log.push(row);
        if self.state.best_score.is_none_or(|best| score >= best) {
            self.run.write_best(&named_tensors(self.student.variables()))?;
            (self.state.best_score, self.state.best_step) = (Some(score), self.state.step);
        }
        Ok(())
    }

    fn row(&self, phase: &str) -> TrainLogRow {
        TrainLogRow {
            run_id: self.run.id().to_owned(),
            phase: phase.to_owned(),
            step: self.state.step,
            ..TrainLogRow::blank()
        }
    }

    fn save(&self) -> Result<()> {
        let (model, adapter) = (named_tensors(self.student.variables()), named_tensors(&self.adapter_vs));
        checkpoint::save(self.run, &[("model", &model), ("adapter", &adapter)], &self.optimizer, &self.state)
    }
}
