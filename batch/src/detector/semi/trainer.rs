//! Semi-supervised training of the detector (Unbiased Teacher v2, arXiv:2206.09500): a burn-in on annotated boxes, then
//! a mutual phase in which a teacher labels unlabelled images for a student and follows it as a moving average. The
//! teacher's weights are kept.

use std::sync::Arc;

use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::tables::TrainLogRow;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::config::semi::TeacherStart;
use crate::detector::batches::batch_plan::BatchPlan;
use crate::detector::batches::collate::image_batch;
use crate::detector::batches::semi_batch::{ImagesPart, SemiBatch, SemiPlan, SemiSets};
use crate::detector::card::STUDENT_FILE;
use crate::detector::evaluation::evaluate;
use crate::detector::losses::DetectionLosses;
use crate::detector::model::{BatchNormStatistics, Detector};
use crate::detector::pyramid::ImageBatch;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::semi::guard::{Guard, Verdict};
use crate::detector::semi::job::SemiTraining;
use crate::detector::semi::labelled_loss::labelled_loss;
use crate::detector::semi::mutual_loss::{MutualLoss, combined, share_of_boxes};
use crate::detector::semi::phase::{Phase, ramp};
use crate::detector::semi::pseudo_label::{PseudoLabels, select};
use crate::detector::semi::running_means::{FIGURES, PseudoCounts, SemiSums, figures};
use crate::detector::target::Target;
use crate::detector::test_time_augmentation::pseudo_boxes;
use crate::detector::train::supervised::{optimizer, schedule, target, warmed_up};
use crate::error::{Error, Result};
use crate::nn::running_statistics::running_statistics;
use crate::training::accumulation::{ShardLoss, accumulate};
use crate::training::lr_schedule::lr_factor;
use crate::training::named_tensors::{NamedTensors, assign_strict, copied, named_tensors, write_tensors};
use crate::training::optimizer::{Optimizer, ema_update};
use crate::training::prefetch::{Batches, prefetched};
use crate::training::run_dir::RunDir;
use crate::training::streams::shard_rng;
use crate::training::training_loop;
use crate::training::training_loop::{LoopSchedule, Outcome, Trainer, TrainerState, VALIDATION, Validation, is_due};

/// Names of a checkpoint's models.
const STUDENT: &str = "student";
const TEACHER: &str = "teacher";
const BURN_IN: &str = "burn_in";

/// Trains `student` in `run`, from its newest checkpoint where there is one. `teacher`: a second detector of the same
/// configuration; its best weights are the run's.
///
/// # Errors
/// [`Error::NothingToDo`] without labelled or unlabelled images; [`Error::BadData`] when training diverges beyond what
/// the guard rails correct; those of [`training_loop::train`].
pub fn train(student: &mut Detector, teacher: &mut Detector, run: &RunDir, job: &SemiTraining) -> Result<Outcome> {
    let (trainer, optimizer) = SemiTrainer::new(student, teacher, job)?;
    let outcome = training_loop::train(trainer, optimizer, run, job.progress, job.stop, job.shards.ranks())?;
    if job.shards.ranks().is_first() {
        write_tensors(&run.path().join(STUDENT_FILE), &named_tensors(student.variables()))?;
    }
    Ok(outcome)
}

/// What a checkpoint holds beside tensors and sums.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    guard: Guard,
    /// Steps in a row without a finite gradient.
    skipped_in_row: i64,
}

struct SemiTrainer<'a> {
    student: &'a mut Detector,
    teacher: &'a mut Detector,
    job: &'a SemiTraining<'a>,
    plan: SemiPlan,
    sums: SemiSums,
    memory: Memory,
    /// Weights at the end of the burn-in.
    burn_in: NamedTensors,
    /// Annotated boxes per labelled image.
    true_boxes: f64,
    /// The last validation requires a return to the end of the burn-in.
    rolls_back: bool,
}

impl<'a> SemiTrainer<'a> {
    fn new(
        student: &'a mut Detector,
        teacher: &'a mut Detector,
        job: &'a SemiTraining<'a>,
    ) -> Result<(Self, Optimizer)> {
        for (set, what) in [(&job.labelled, "labelled"), (&job.unlabelled, "unlabelled")] {
            if set.examples.is_empty() {
                return Err(Error::NothingToDo(format!("no {what} image to train on")));
            }
        }
        let optimizer = optimizer(student, job.config)?;
        assign_strict(teacher.variables_mut(), &named_tensors(student.variables()), "teacher")?;
        let (sums, memory) = (SemiSums::new(student.device()), Memory::default());
        let (plan, true_boxes) = (job.plan(), job.true_boxes());
        let burn_in = NamedTensors::new();
        Ok((Self { student, teacher, job, plan, sums, memory, burn_in, true_boxes, rolls_back: false }, optimizer))
    }

    fn current_phase(&self) -> Phase {
        if self.memory.guard.began.is_some() { Phase::Mutual } else { Phase::BurnIn }
    }

    /// The factor of the pseudo-losses' weights at a step.
    fn pseudo_factor(&self, step: i64) -> f64 {
        let guard = &self.memory.guard;
        guard.began.map_or(0.0, |began| guard.pseudo_label_factor * ramp(self.job.semi, began, step))
    }

    fn update_teacher(&mut self, step: i64) -> Result<()> {
        let began = self.memory.guard.began.unwrap_or(step);
        if (step - began) % self.job.semi.teacher_every.max(1) != 0 {
            return Ok(());
        }
        self.move_teacher(self.job.semi.ema_keep_rate)
    }

    fn move_teacher(&self, keep_rate: f64) -> Result<()> {
        let mut teacher = named_tensors(self.teacher.variables());
        ema_update(&mut teacher, &named_tensors(self.student.variables()), keep_rate)
    }

    fn averages_burn_in(&self) -> bool {
        self.job.semi.teacher_start == TeacherStart::Average
    }

    /// The model that is evaluated and kept: the teacher; in a burn-in without an average the student.
    fn evaluated(&self) -> &Detector {
        if self.current_phase() == Phase::Mutual || self.averages_burn_in() { self.teacher } else { self.student }
    }

    fn images(&self, images: &[Radiograph]) -> Result<ImageBatch> {
        image_batch(images, &self.job.labelled.source.input, self.student.device())
    }

    fn labelled_losses(&self, batch: ImagesPart, draw: &mut Draw) -> Result<DetectionLosses> {
        let boxes: Vec<Vec<Target>> = batch.boxes.iter().map(|b| b.iter().map(target).collect()).collect();
        let strong = if batch.strong.is_empty() { None } else { Some(self.images(batch.strong)?) };
        labelled_loss(self.student, &self.images(batch.weak)?, strong.as_ref(), &boxes, draw)
    }

    fn pseudo_labels(&self, batch: ImagesPart) -> Result<PseudoLabels> {
        let images = self.images(batch.weak)?;
        let ensemble = &self.job.labellers;
        let labellers = if ensemble.is_empty() { vec![&*self.teacher] } else { ensemble.iter().collect() };
        let found = pseudo_boxes(&labellers, &images, self.job.semi.flip_tta)?;
        let ratio = self.job.semi.guard.box_ratio_max;
        let most = (self.true_boxes * ratio * batch.boxes.len() as f64).ceil() as usize;
        let most = if ratio > 0.0 { most } else { usize::MAX };
        Ok(select(&found, batch.report_classes, self.job.semi, most))
    }

    /// The loss of one virtual shard: its part of the labelled images and, in the mutual phase, of the unlabelled ones.
    /// `batch`: the images that this process takes.
    fn shard_loss(&self, step: i64, batch: &SemiBatch, shard: usize) -> Result<ShardLoss> {
        let job = self.job;
        let places = |plan: &BatchPlan| {
            let places = job.shards.places(shard, plan.size);
            places.start - plan.places.start..places.end - plan.places.start
        };
        let mut draw = Draw::Random(Box::new(shard_rng(job.seed, batch.step, shard)));
        let labelled = self.labelled_losses(batch.labelled.part(places(&self.plan.labelled)), &mut draw)?;
        let parts = labelled.parts();
        let mut counts = PseudoCounts::default();
        let (mut pseudo, mut bounded) = (Tensor::from(0.0f32), Tensor::from(0.0f32));
        let loss = match self.current_phase() {
            Phase::BurnIn => labelled.total(),
            Phase::Mutual => {
                let unlabelled = batch.unlabelled.part(places(&self.plan.unlabelled));
                let labels = self.pseudo_labels(unlabelled)?;
                let images = unlabelled.boxes.len();
                counts = PseudoCounts { images, found: labels.found, capped: labels.capped };
                let boxes = labels.classes.iter().map(Vec::len).sum();
                let share = share_of_boxes(job.architecture, &job.semi.guard, boxes, self.true_boxes * images as f64);
                let factor = self.pseudo_factor(step) * share;
                if factor == 0.0 || !job.semi.weights_pseudo_labels() {
                    // Without a weight the student is not shown these images.
                    labelled.total()
                } else {
                    let images = self.images(unlabelled.strong)?;
                    let statistics = BatchNormStatistics::Frozen;
                    let losses = self.student.losses(&images, labels.targets(), &mut draw, statistics)?;
                    let MutualLoss { labelled, pseudo: added, bounded: caught } =
                        combined(job.architecture, job.semi, factor, &labelled, &losses);
                    (pseudo, bounded) = (added.detach(), caught);
                    labelled + added
                }
            }
        };
        let share = 1.0 / job.shards.count() as f64;
        let figures = figures(&parts, &pseudo, &bounded, counts, share)?;
        Ok(ShardLoss { loss, figures, passes: self.student.take_passes() })
    }

    /// AP50 on the validation split; `None` without images.
    fn score(&self, detector: &Detector) -> Result<Option<f64>> {
        if self.job.validation.examples.is_empty() {
            return Ok(None);
        }
        self.job.shards.ranks().decide(|| {
            let figures = evaluate(detector, self.job.validation, self.job.config.batch_size, self.job.stop)?;
            Ok(Some(figures.ap50.unwrap_or(0.0)))
        })
    }

    /// Applies the guard; the mutual phase begins with a copy of the burn-in's weights. Pseudo-labels without a weight
    /// cause no fall of AP50: nothing is reset then.
    fn verdict(&mut self, step: i64, ap50: Option<f64>) -> Result<Verdict> {
        let (semi, before) = (self.job.semi, self.current_phase());
        let verdict = match (before, ap50) {
            (Phase::Mutual, Some(ap50)) if semi.weights_pseudo_labels() => self.memory.guard.check(&semi.guard, ap50),
            (Phase::BurnIn, _) if step >= semi.burn_in_steps => {
                self.memory.guard.start_mutual_phase(&semi.guard, step, ap50)
            }
            _ => Verdict::Continue,
        };
        if self.current_phase() != before {
            let start = if self.averages_burn_in() { &*self.teacher } else { &*self.student };
            self.burn_in = copied(&named_tensors(start.variables()));
            assign_strict(self.teacher.variables_mut(), &self.burn_in, "teacher")?;
        }
        Ok(verdict)
    }
}

impl<'a> Trainer<'a> for SemiTrainer<'a> {
    type Batch = SemiBatch;

    fn schedule(&self) -> LoopSchedule {
        schedule(self.job.config, "train detector (semi-supervised)")
    }

    fn phase(&self) -> &'static str {
        self.current_phase().name()
    }

    fn batches(&self, step: i64) -> Result<Batches<'a, SemiBatch>> {
        let job = self.job;
        let sets = SemiSets { labelled: Arc::clone(&job.labelled), unlabelled: Arc::clone(&job.unlabelled) };
        let (plan, mutual) = (self.plan.clone(), self.current_phase() == Phase::Mutual);
        let steps = step as u64..job.config.steps as u64;
        prefetched(steps, move |step| plan.batch(&sets, step, mutual))
    }

    fn step(&mut self, step: i64, batch: SemiBatch, optimizer: &mut Optimizer) -> Result<usize> {
        let phase = self.current_phase();
        if phase == Phase::Mutual {
            self.update_teacher(step)?;
        }
        let size = (self.plan.labelled.size, FIGURES);
        let buffers = running_statistics(self.student.variables());
        let of_shard = |shard| self.shard_loss(step, &batch, shard);
        let figures = accumulate(&self.job.shards, optimizer, &buffers, size, of_shard)?;
        let skipped = optimizer.drop_unless_finite();
        if self.job.config.clip_norm > 0.0 {
            optimizer.clip_norm(self.job.config.clip_norm);
        }
        optimizer.step(lr_factor(self.job.config, step));
        if phase == Phase::BurnIn && self.averages_burn_in() {
            self.move_teacher(warmed_up(self.job.config.ema_keep_rate, step))?;
        }
        self.sums.add(&figures, &skipped);
        Ok(batch.trained_images() * self.job.shards.ranks().size())
    }

    fn log(&mut self, step: i64) -> Result<(TrainLogRow, String)> {
        let means = self.sums.means(step, self.true_boxes)?;
        self.memory.skipped_in_row = if means.skipped_all { self.memory.skipped_in_row + means.steps } else { 0 };
        let guard = &self.job.semi.guard;
        if means.skipped_all && self.memory.skipped_in_row >= guard.skipped_max {
            let problem = "no finite gradient for many steps: training has diverged; lower detector.train.lr";
            return Err(Error::bad_data(format!("detector training, step {step}"), problem));
        }
        let alarm = Guard::alarm(guard, &means.signals);
        let mutual = self.current_phase() == Phase::Mutual;
        let row = TrainLogRow {
            lr: self.job.config.lr * lr_factor(self.job.config, step),
            unlabelled_weight: mutual.then(|| self.pseudo_factor(step)),
            alarm: alarm.clone(),
            ..means.row(mutual)
        };
        self.sums.reset();
        let alarm = alarm.map(|a| format!(" ALARM: {a}")).unwrap_or_default();
        let (labelled, pseudo, count) = (means.parts.iter().sum::<f64>(), means.pseudo, means.boxes_per_image);
        Ok((row, format!("{} {labelled:.3} pseudo {pseudo:.3} boxes {count:.1}{alarm}", self.phase())))
    }

    /// At the end of the burn-in, every so many steps, and at the end; without a validation split too, since the mutual
    /// phase begins here.
    fn validation_is_due(&self, step: i64) -> bool {
        let burn_in_ends = self.current_phase() == Phase::BurnIn && step == self.job.semi.burn_in_steps;
        burn_in_ends || is_due(step, self.job.config.eval_every, self.job.config.steps)
    }

    fn validate(&mut self, step: i64) -> Result<Validation> {
        let mutual = self.current_phase() == Phase::Mutual;
        let score = self.score(self.evaluated())?;
        let of_student = if mutual { self.score(self.student)? } else { None };
        let verdict = self.verdict(step, score)?;
        self.rolls_back = matches!(verdict, Verdict::RollBack(_));
        let alarm = match verdict {
            Verdict::Continue => None,
            Verdict::Wait(why) | Verdict::RollBack(why) => Some(why),
        };
        let row = |phase: &str, score| TrainLogRow { phase: phase.into(), score, ..TrainLogRow::blank() };
        let mut rows: Vec<TrainLogRow> = of_student.map(|s| row("validation_student", Some(s))).into_iter().collect();
        rows.push(TrainLogRow { alarm, ..row(VALIDATION, score) });
        Ok(Validation { rows, score })
    }

    fn after_validation(&mut self, optimizer: &mut Optimizer) -> Result<()> {
        if std::mem::take(&mut self.rolls_back) {
            assign_strict(self.teacher.variables_mut(), &self.burn_in, "teacher")?;
            assign_strict(self.student.variables_mut(), &self.burn_in, "student")?;
            optimizer.reset();
        }
        Ok(())
    }

    fn best(&self) -> Vec<(&'static str, NamedTensors)> {
        vec![("model", named_tensors(self.evaluated().variables()))]
    }

    fn state(&self) -> Result<TrainerState> {
        let extra = serde_json::to_value(&self.memory).map_err(|e| Error::Internal(e.to_string()))?;
        let mut state = TrainerState { sums: self.sums.state()?, extra, ..TrainerState::default() };
        for (name, detector) in [(STUDENT, &self.student), (TEACHER, &self.teacher)] {
            state.models.insert(name.into(), named_tensors(detector.variables()));
        }
        if !self.burn_in.is_empty() {
            let burn_in = self.burn_in.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
            state.models.insert(BURN_IN.into(), burn_in.collect());
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: TrainerState) -> Result<()> {
        state.load(STUDENT, self.student.variables_mut())?;
        state.load(TEACHER, self.teacher.variables_mut())?;
        self.burn_in = state.models.remove(BURN_IN).unwrap_or_default();
        self.sums.restore(&state.sums);
        self.memory = serde_json::from_value(state.extra).map_err(|e| Error::bad_data("checkpoint", e))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
