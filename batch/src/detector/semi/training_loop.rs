//! Semi-supervised training of the detector (Unbiased Teacher v2, arXiv:2206.09500): a burn-in on readers' boxes, then a
//! teacher that labels unlabelled films for a student and follows it slowly. What is kept is the teacher.
//! Everything random is a function of (seed, step), so a resumed run goes the same way, bit for bit on CPU.

use std::time::Instant;

use crossbeam_channel::Receiver;
use d2r_contracts::tables::TrainLogRow;
use tch::Tensor;

use crate::config::semi::TeacherStart;
use crate::detector::batches::augment::sample_rng;
use crate::detector::batches::collate::stack_images;
use crate::detector::batches::semi_batch::{AugmentedImages, SemiBatch, SemiPlan};
use crate::detector::card::STUDENT_FILE;
use crate::detector::detector::{BatchNormStatistics, Detector};
use crate::detector::evaluation::evaluate;
use crate::detector::losses::DetectionLosses;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::semi::guard::{Guard, Verdict};
use crate::detector::semi::job::SemiTraining;
use crate::detector::semi::labelled_loss::labelled_loss;
use crate::detector::semi::mutual_loss::{MutualLoss, combined};
use crate::detector::semi::phase::{Phase, ramp};
use crate::detector::semi::pseudo_label::{PseudoLabels, select};
use crate::detector::semi::running_means::{SemiSums, StepSums};
use crate::detector::target::Target;
use crate::detector::test_time_augmentation::pseudo_boxes;
use crate::detector::train::supervised::{DetectorOutcome, optimizer, target};
use crate::error::{Error, Result};
use crate::lake::digest::sha256_file;
use crate::training::checkpoint;
use crate::training::checkpoint::{NamedTensors, TrainState, assign_strict, copied, named_tensors};
use crate::training::lr_schedule::lr_factor;
use crate::training::metrics_log::MetricsLog;
use crate::training::optimizer::{Optimizer, ema_update};
use crate::training::run_dir::RunDir;

/// Names of a checkpoint's models.
const STUDENT: &str = "student";
const TEACHER: &str = "teacher";
const BURN_IN: &str = "burn_in";
/// The average of a burn-in keeps at most `(1 + t) / (10 + t)` after `t` steps.
const AVERAGE_LAG: f64 = 10.0;
/// The place in a batch whose generator draws anchors and regions: no image's.
const DRAW: u64 = u64::MAX;

/// Trains `student` in `run`, from its newest checkpoint where there is one. `teacher`: a second detector of the same
/// configuration; its best weights are the run's.
///
/// # Errors
/// [`Error::Stopped`] after a checkpoint; [`Error::NothingToDo`] without labelled or unlabelled films;
/// [`Error::BadData`] when training diverges beyond what the guard rails mend; those of reading and writing.
pub fn train(
    student: &mut Detector,
    teacher: &mut Detector,
    run: &RunDir,
    job: &SemiTraining,
) -> Result<DetectorOutcome> {
    for (set, what) in [(&job.labelled, "labelled"), (&job.unlabelled, "unlabelled")] {
        if set.examples.is_empty() {
            return Err(Error::NothingToDo(format!("no {what} image to train on")));
        }
    }
    Loop::start(student, teacher, run, job)?.run_to_end()
}

struct Loop<'a> {
    student: &'a mut Detector,
    teacher: &'a mut Detector,
    run: &'a RunDir,
    job: &'a SemiTraining<'a>,
    optimizer: Optimizer,
    state: TrainState,
    log: MetricsLog,
    sums: SemiSums,
    /// Weights at the end of the burn-in.
    burn_in: NamedTensors,
    /// True boxes per labelled film.
    true_boxes: f64,
    logged_at: Instant,
    logged_images: u64,
}

impl<'a> Loop<'a> {
    fn start(
        student: &'a mut Detector,
        teacher: &'a mut Detector,
        run: &'a RunDir,
        job: &'a SemiTraining<'a>,
    ) -> Result<Self> {
        let mut optimizer = optimizer(student, job.config)?;
        let (mut state, mut burn_in) = (TrainState::default(), NamedTensors::new());
        if let Some(mut loaded) = checkpoint::load_latest(run)? {
            for (name, detector) in [(STUDENT, &mut *student), (TEACHER, &mut *teacher)] {
                let absent = || Error::bad_data(run.path().display(), format!("its checkpoint holds no `{name}`"));
                let tensors = loaded.models.get(name).ok_or_else(absent)?;
                assign_strict(detector.variables_mut(), tensors, "checkpoint")?;
            }
            burn_in = loaded.models.remove(BURN_IN).unwrap_or_default();
            optimizer.load_state(loaded.optimizer)?;
            state = loaded.state;
        } else {
            let weights = copied(&named_tensors(student.variables()));
            assign_strict(teacher.variables_mut(), &weights, "teacher")?;
        }
        let sums = SemiSums::new(&state.pending, student.device());
        Ok(Self {
            student,
            teacher,
            run,
            job,
            optimizer,
            log: MetricsLog::open(run, &state.log)?,
            state,
            sums,
            burn_in,
            true_boxes: job.true_boxes(),
            logged_at: Instant::now(),
            logged_images: 0,
        })
    }

    fn phase(&self) -> Phase {
        if self.state.guard.began.is_some() { Phase::Mutual } else { Phase::BurnIn }
    }

    fn batches(&self, plan: &SemiPlan) -> Result<Receiver<Result<SemiBatch>>> {
        self.job.batches(plan, self.state.step, self.phase() == Phase::Mutual)
    }

    fn run_to_end(mut self) -> Result<DetectorOutcome> {
        let config = self.job.config;
        let task = self.job.progress.task("train detector (semi-supervised)", config.steps as u64, "steps");
        task.advance(self.state.step as u64);
        let plan = self.job.plan();
        let epoch_length = plan.labelled.sampler.epoch_length().max(1) as i64;
        if self.validation_is_owed() {
            self.validate()?;
        }
        let mut batches = self.batches(&plan)?;
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
            let (log, save) = (due(config.log_every), due(config.save_every));
            if log {
                task.message(self.write_log()?);
            }
            if self.validation_is_due() {
                let before = self.phase();
                self.validate()?;
                if self.phase() != before {
                    batches = self.batches(&plan)?;
                }
            }
            if save {
                self.save()?;
            }
        }
        task.finish();
        if !self.run.best().is_file() {
            self.run.write_best(&named_tensors(self.judged().variables()))?;
        }
        checkpoint::write_tensors(&self.run.path().join(STUDENT_FILE), &named_tensors(self.student.variables()))?;
        let model_sha256 = sha256_file(&self.run.best())?;
        let TrainState { step, best_score, best_step, log, .. } = self.state;
        Ok(DetectorOutcome { steps: step, best_score, best_step, model_sha256, log })
    }

    /// At the end of the burn-in, every so many steps, and at the end.
    fn validation_is_due(&self) -> bool {
        let (step, config) = (self.state.step, self.job.config);
        let waiting = self.phase() == Phase::BurnIn && step == self.job.semi.burn_in_steps;
        step > 0 && (waiting || step == config.steps || step % config.eval_every.max(1) == 0)
    }

    /// A signal came while this step was being validated, before the resume.
    fn validation_is_owed(&self) -> bool {
        let step = self.state.step;
        self.validation_is_due() && !self.state.log.iter().any(|r| r.phase == "validation" && r.step == step)
    }

    fn step(&mut self, batch: &SemiBatch) -> Result<()> {
        let phase = self.phase();
        if phase == Phase::Mutual {
            self.update_teacher()?;
            if let Some(intervene) = self.job.intervene {
                intervene(self.state.step, self.teacher);
            }
        }
        let mut draw = Draw::Random(Box::new(sample_rng(self.job.seed, batch.step, DRAW)));
        let labelled = self.labelled_losses(&batch.labelled, &mut draw)?;
        let parts = labelled.parts();
        let mut counts = StepSums::default();
        let (mut pseudo, mut bounded) = (Tensor::from(0.0f32), Tensor::from(0.0f32));
        let total = match phase {
            Phase::BurnIn => labelled.total(),
            Phase::Mutual => {
                let labels = self.pseudo_labels(&batch.unlabelled)?;
                let images = self.images(&batch.unlabelled.strong)?;
                let statistics = BatchNormStatistics::Frozen;
                let losses = self.student.losses(&images, labels.targets(), &mut draw, statistics)?;
                let unlabelled_images = batch.unlabelled.boxes.len();
                counts = StepSums { unlabelled_images, found: labels.found, capped: labels.capped };
                let MutualLoss { labelled, pseudo: added, bounded: caught } =
                    combined(self.job.architecture, self.job.semi, self.share(), &labelled, &losses);
                (pseudo, bounded) = (added.detach(), caught);
                labelled + added
            }
        };
        self.optimizer.backward(&total)?;
        let skipped = self.optimizer.drop_unless_finite();
        if self.job.config.clip_norm > 0.0 {
            self.optimizer.clip_norm(self.job.config.clip_norm);
        }
        self.optimizer.step(lr_factor(self.job.config, self.state.step));
        if phase == Phase::BurnIn && self.averages_burn_in() {
            // The average follows quickly at first.
            let done = self.state.step as f64;
            self.move_teacher(self.job.config.ema_keep_rate.min((1.0 + done) / (AVERAGE_LAG + done)))?;
        }
        self.sums.add(&parts, [&pseudo, &bounded, &skipped], counts);
        self.state.step += 1;
        self.logged_images += batch.trained_images() as u64;
        Ok(())
    }

    /// The weight of pseudo-labels now.
    fn share(&self) -> f64 {
        let guard = &self.state.guard;
        guard.began.map_or(0.0, |began| guard.pseudo_label_factor * ramp(self.job.semi, began, self.state.step))
    }

    fn update_teacher(&mut self) -> Result<()> {
        let began = self.state.guard.began.unwrap_or(self.state.step);
        if (self.state.step - began) % self.job.semi.teacher_every.max(1) != 0 {
            return Ok(());
        }
        self.move_teacher(self.job.semi.ema_keep_rate)
    }

    fn move_teacher(&self, keep: f64) -> Result<()> {
        let mut teacher = named_tensors(self.teacher.variables());
        ema_update(&mut teacher, &named_tensors(self.student.variables()), keep)
    }

    fn averages_burn_in(&self) -> bool {
        self.job.semi.teacher_start == TeacherStart::Average
    }

    /// The model that counts: the teacher, in a burn-in without an average the student.
    fn judged(&self) -> &Detector {
        if self.phase() == Phase::Mutual || self.averages_burn_in() { self.teacher } else { self.student }
    }

    fn images(&self, pixels: &[u8]) -> Result<Tensor> {
        stack_images(pixels, &self.job.labelled.source.input, self.student.device())
    }

    fn labelled_losses(&self, views: &AugmentedImages, draw: &mut Draw) -> Result<DetectionLosses> {
        let boxes: Vec<Vec<Target>> = views.boxes.iter().map(|b| b.iter().map(target).collect()).collect();
        let strong = if views.strong.is_empty() { None } else { Some(self.images(&views.strong)?) };
        labelled_loss(self.student, &self.images(&views.weak)?, strong.as_ref(), &boxes, draw)
    }

    fn pseudo_labels(&self, views: &AugmentedImages) -> Result<PseudoLabels> {
        let images = self.images(&views.weak)?;
        let committee = &self.job.labellers;
        let teachers = if committee.is_empty() { vec![&*self.teacher] } else { committee.iter().collect() };
        let found = pseudo_boxes(&teachers, &images, self.job.semi.flip_tta)?;
        let most = self.true_boxes * self.job.semi.guard.box_ratio_max * views.boxes.len() as f64;
        Ok(select(&found, &views.report_classes, self.job.semi, most.ceil() as usize))
    }

    /// Writes a row of the log; returns a line for people.
    fn write_log(&mut self) -> Result<String> {
        let means = self.sums.means(self.state.step, self.true_boxes)?;
        if means.skipped_all {
            self.state.skipped_in_row += means.steps;
            if self.state.skipped_in_row >= self.job.semi.guard.skipped_max {
                let problem = "no finite gradient for many steps: training has diverged; lower detector.train.lr";
                return Err(Error::bad_data(format!("detector training, step {}", self.state.step), problem));
            }
        } else {
            self.state.skipped_in_row = 0;
        }
        let alarm = Guard::alarm(&self.job.semi.guard, &means.signals);
        let seconds = self.logged_at.elapsed().as_secs_f64();
        let mutual = self.phase() == Phase::Mutual;
        let base = TrainLogRow {
            lr: self.job.config.lr * lr_factor(self.job.config, self.state.step),
            unlabelled_weight: mutual.then(|| self.share()),
            alarm: alarm.clone(),
            images_per_s: Some(self.logged_images as f64 / seconds.max(1e-9)),
            ..self.row(self.phase().name())
        };
        let row = means.row(base, mutual);
        self.push(row)?;
        self.sums.reset();
        (self.logged_at, self.logged_images) = (Instant::now(), 0);
        let best = self.state.best_score.map(|s| format!(", best AP50 {s:.3}")).unwrap_or_default();
        let alarm = alarm.map(|a| format!(" ALARM: {a}")).unwrap_or_default();
        let (labelled, pseudo, count) = (means.parts.iter().sum::<f64>(), means.pseudo, means.boxes_per_image);
        Ok(format!("{} {labelled:.3} pseudo {pseudo:.3} boxes {count:.1}{best}{alarm}", self.phase().name()))
    }

    fn push(&mut self, row: TrainLogRow) -> Result<()> {
        self.log.push(&row)?;
        self.state.log.push(row);
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

    /// Scores the validation split, keeps the teacher's best weights, and asks the guard.
    fn validate(&mut self) -> Result<()> {
        match self.validated() {
            // The step is done; its validation is made after the resume, before the next step.
            Err(stopped @ Error::Stopped { .. }) => {
                self.save()?;
                Err(stopped)
            }
            other => other,
        }
    }

    fn validated(&mut self) -> Result<()> {
        let mutual = self.phase() == Phase::Mutual;
        let score = |detector: &Detector| -> Result<Option<f64>> {
            if self.job.validation.examples.is_empty() {
                return Ok(None);
            }
            let figures = evaluate(detector, self.job.validation, self.job.config.batch_size, self.job.stop)?;
            Ok(Some(figures.ap50.unwrap_or(0.0)))
        };
        let ap50 = score(self.judged())?;
        let of_student = if mutual { score(self.student)? } else { None };
        let verdict = match (mutual, ap50) {
            (true, Some(ap50)) => self.state.guard.check(&self.job.semi.guard, ap50),
            (false, _) if self.state.step >= self.job.semi.burn_in_steps => {
                self.state.guard.start_mutual_phase(&self.job.semi.guard, self.state.step, ap50)
            }
            _ => Verdict::Continue,
        };
        if !mutual && self.phase() == Phase::Mutual {
            let start = if self.averages_burn_in() { &*self.teacher } else { &*self.student };
            self.burn_in = copied(&named_tensors(start.variables()));
            assign_strict(self.teacher.variables_mut(), &self.burn_in, "teacher")?;
        }
        let alarm = match &verdict {
            Verdict::Continue => None,
            Verdict::Wait(why) | Verdict::RollBack(why) => Some(why.clone()),
        };
        if let Some(score) = of_student {
            self.push(TrainLogRow { score: Some(score), ..self.row("validation_student") })?;
        }
        self.push(TrainLogRow { score: ap50, alarm, ..self.row("validation") })?;
        if let Some(score) = ap50
            && self.state.best_score.is_none_or(|best| score >= best)
        {
            self.run.write_best(&named_tensors(self.judged().variables()))?;
            (self.state.best_score, self.state.best_step) = (Some(score), self.state.step);
        }
        if matches!(verdict, Verdict::RollBack(_)) {
            assign_strict(self.teacher.variables_mut(), &self.burn_in, "teacher")?;
            assign_strict(self.student.variables_mut(), &self.burn_in, "student")?;
            self.optimizer.reset();
        }
        (self.logged_at, self.logged_images) = (Instant::now(), 0);
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.state.pending = self.sums.pending()?;
        let (student, teacher) = (named_tensors(self.student.variables()), named_tensors(self.teacher.variables()));
        let mut models = vec![(STUDENT, student.as_slice()), (TEACHER, teacher.as_slice())];
        if !self.burn_in.is_empty() {
            models.push((BURN_IN, self.burn_in.as_slice()));
        }
        checkpoint::save(self.run, &models, &self.optimizer, &self.state)
    }
}

#[cfg(test)]
mod tests;
