//! Semi-supervised training on drawn squares: it resumes bit for bit, the guard handles a damaged teacher and a
//! diverging loss, and a loss that is not a number skips its step.

use std::path::Path;

use super::*;
use crate::config::RunConfig;
use crate::config::detector::{OptimizerKind, RcnnConfig};
use crate::detector::semi::mutual_loss::PSEUDO_FACTOR;
use crate::detector::train::fixtures;
use crate::detector::train::fixtures::squares;
use crate::progress::Progress;
use crate::stop::StopFlag;
use crate::training::checkpoint;
use crate::training::fixtures::{Disturbed, losses};
use crate::training::ranks::Ranks;
use crate::training::virtual_shards::VirtualShards;

fn config(overrides: &[&str]) -> RunConfig {
    let base = [
        "detector.train.steps=12",
        "semi.burn_in_steps=6",
        "semi.unlabelled_batch_size=2",
        "semi.threshold=0.01",
        "semi.ramp_steps=0",
    ];
    let mut config = fixtures::config(&[&base[..], overrides].concat());
    config.semi.guard.burn_in_ap_min = 0.0;
    config
}

/// Something that happens to the teacher before each step of the mutual phase.
type Intervention<'a> = &'a dyn Fn(i64, &mut Detector);

/// How a run ended.
struct Ended {
    outcome: Outcome,
    /// AP50 of the last weights on the validation split, whichever weights are kept.
    teacher: f64,
    student: f64,
}

fn run(folder: &Path, config: &RunConfig) -> Result<Outcome> {
    run_with(folder, config, &StopFlag::default(), &|_, _| {}, Vec::new()).map(|ended| ended.outcome)
}

fn run_with(
    folder: &Path,
    config: &RunConfig,
    stop: &StopFlag,
    intervene: Intervention,
    labellers: Vec<Detector>,
) -> Result<Ended> {
    let images = tempfile::tempdir().unwrap();
    tch::manual_seed(3);
    let mut student = Detector::new(&config.detector.model, tch::Device::Cpu)?;
    let mut teacher = Detector::new(&config.detector.model, tch::Device::Cpu)?;
    for detector in [&mut student, &mut teacher] {
        detector.set_compute(fixtures::compute_kind(config));
    }
    let validation = squares(images.path(), 4, &config.detector, "val");
    let job = SemiTraining {
        labelled: Arc::new(squares(images.path(), 4, &config.detector, "train")),
        unlabelled: Arc::new(squares(images.path(), 3, &config.detector, "train")),
        labellers,
        validation: &validation,
        config: &config.detector.train,
        semi: &config.semi,
        architecture: config.detector.model.architecture,
        seed: 1,
        progress: Progress::Quiet,
        stop,
        shards: VirtualShards::new(config.detector.train.accumulate, &Ranks::alone(), &[])?,
    };
    let (trainer, optimizer) = SemiTrainer::new(&mut student, &mut teacher, &job)?;
    let before = |trainer: &mut SemiTrainer, step| {
        if trainer.current_phase() == Phase::Mutual {
            intervene(step, trainer.teacher);
        }
    };
    let trainer = Disturbed { trainer, before };
    let run = RunDir::at(folder, "test");
    let outcome = training_loop::train(trainer, optimizer, &run, job.progress, stop, job.shards.ranks())?;
    let ap50 = |detector: &Detector| -> Result<f64> {
        let figures = evaluate(detector, &validation, job.config.batch_size, stop)?;
        Ok(figures.ap50.unwrap_or(0.0))
    };
    Ok(Ended { teacher: ap50(&teacher)?, student: ap50(&student)?, outcome })
}

/// The variables of a model in the last checkpoint.
fn last(folder: &Path, model: &str) -> NamedTensors {
    let mut loaded = checkpoint::load_latest(&RunDir::at(folder, "test")).unwrap().unwrap();
    loaded.models.remove(model).unwrap()
}

/// The names of the variables whose bits differ.
fn differing(a: &NamedTensors, b: &NamedTensors) -> Vec<String> {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).inspect(|((name, _), (other, _))| assert_eq!(name, other));
    pairs.filter(|((_, a), (_, b))| !a.equal(b)).map(|((name, _), _)| name.clone()).collect()
}

#[test]
fn both_phases_run_and_a_stopped_run_goes_on_bit_for_bit() {
    for set in [
        &[][..],
        &["semi.teacher_start=average", "semi.strong=mutual", "semi.flip_tta=true"],
        &["run.accumulate=2", "semi.teacher_start=average"],
        &["run.precision=bf16"],
        &["run.precision=bf16", "detector.model.architecture=faster_rcnn", "detector.model.profile=utv2"],
        &["detector.model.architecture=faster_rcnn", "detector.model.profile=utv2"][..],
        &[
            "detector.model.input=short_edge",
            "detector.train.augment=multi_scale",
            "detector.train.hflip=true",
            "detector.model.profile=utv2",
            "semi.flip_tta=true",
        ],
        &[
            "detector.model.input=short_edge",
            "detector.train.augment=multi_scale",
            "detector.model.architecture=faster_rcnn",
            "detector.model.profile=utv2",
        ],
    ] {
        let mut config = config(set);
        let rcnn = config.detector.model.rcnn.clone();
        config.detector.model.rcnn = RcnnConfig { box_features: 16, candidates_train: 50, proposals_train: 20, ..rcnn };
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let expected = run(whole.path(), &config).unwrap();
        assert_eq!(expected.steps, 12);
        let phases: Vec<&str> = expected.log.iter().map(|r| r.phase.as_str()).collect();
        for phase in ["burn_in", "mutual", "validation", "validation_student"] {
            assert!(phases.contains(&phase), "{phases:?}");
        }
        // A signal in the mutual phase.
        let stop = StopFlag::default();
        let ask = |step: i64, _: &mut Detector| {
            if step == 8 {
                stop.request(15)
            }
        };
        let first = run_with(parts.path(), &config, &stop, &ask, Vec::new());
        assert!(first.is_err_and(|e| e.exit().code() == 143));
        let resumed = run(parts.path(), &config).unwrap();
        assert_eq!(losses(&resumed), losses(&expected));
        assert_eq!(resumed.model_sha256, expected.model_sha256);
    }
}

/// Settings under which squares are learned well enough for a fall of AP50 to be measured.
const LEARNING: [&str; 8] = [
    "detector.train.steps=100",
    "detector.train.optimizer=adam",
    "detector.train.lr=0.004",
    "detector.train.eval_every=10",
    "run.log_every=10",
    "detector.train.save_every=100",
    "semi.burn_in_steps=70",
    "semi.ema_keep_rate=0.9",
];

/// AP50 at the end of the burn-in.
fn burn_in_ap50(outcome: &Outcome) -> f64 {
    let validations = outcome.log.iter().filter(|r| r.phase == VALIDATION);
    validations.filter(|r| r.step == 70).find_map(|r| r.score).unwrap()
}

#[test]
fn a_spoilt_teacher_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spoil = |_: i64, teacher: &mut Detector| {
        let _no_grad = tch::no_grad_guard();
        for (name, mut variable) in teacher.variables().variables() {
            if name.contains("head") {
                let noise = variable.randn_like();
                let _ = variable.g_add_(&noise);
            }
        }
    };
    let ended = run_with(folder.path(), &config(&LEARNING), &StopFlag::default(), &spoil, Vec::new()).unwrap();
    let Ended { outcome, teacher, student } = ended;
    let burn_in = burn_in_ap50(&outcome);
    assert!(burn_in > 0.3, "the burn-in learnt something: {burn_in}");
    for (last, whose) in [(teacher, "teacher"), (student, "student")] {
        assert!(last >= burn_in - 0.05, "the last {whose} has {last}, the burn-in {burn_in}");
    }
    let alarms: Vec<&str> = outcome.log.iter().filter_map(|r| r.alarm.as_deref()).collect();
    assert!(alarms.iter().any(|a| a.contains("reset to that step")), "{alarms:?}");
}

/// Runs with the loss on pseudo-labels multiplied by `factor`.
fn with_pseudo_factor<T>(factor: f64, run: impl FnOnce() -> T) -> T {
    PSEUDO_FACTOR.set(factor);
    let result = run();
    PSEUDO_FACTOR.set(1.0);
    result
}

#[test]
fn a_runaway_pseudo_loss_is_bounded_and_named() {
    let folder = tempfile::tempdir().unwrap();
    // Steps grow with the loss (no Adam, no clipping), and no fall of AP50 resets the models: the bound alone protects them.
    let set: Vec<&str> = LEARNING.into_iter().chain(["semi.threshold=0.2", "semi.ramp_steps=0"]).collect();
    let mut config = config(&set);
    config.semi.guard.ap_drop_max = 1.0;
    config.detector.train.optimizer = OptimizerKind::Sgd;
    (config.detector.train.lr, config.detector.train.clip_norm) = (0.02, 0.0);
    let train = || run_with(folder.path(), &config, &StopFlag::default(), &|_, _| {}, Vec::new());
    let Ended { outcome, teacher, student } = with_pseudo_factor(1000.0, train).unwrap();
    let burn_in = burn_in_ap50(&outcome);
    for (last, whose) in [(teacher, "teacher"), (student, "student")] {
        assert!(last >= burn_in - 0.05, "the last {whose} has {last}, the burn-in {burn_in}");
    }
    let alarms: Vec<&str> = outcome.log.iter().filter_map(|r| r.alarm.as_deref()).collect();
    assert!(alarms.iter().any(|a| a.contains("pseudo-loss bounded")), "{alarms:?}");
}

#[test]
fn without_pseudo_labels_the_background_of_unlabelled_images_hardly_counts_under_guard_rails() {
    let first = |few_boxes_weigh_less: bool| {
        let folder = tempfile::tempdir().unwrap();
        // With a small weight the weighted mean of both losses is nearly a sum.
        let mut config = config(&["semi.threshold=0.999", "semi.unlabelled_weight=0.1"]);
        config.semi.guard.few_boxes_weigh_less = few_boxes_weigh_less;
        let outcome = run(folder.path(), &config).unwrap();
        let row = outcome.log.into_iter().find(|r| r.phase == "mutual").unwrap();
        (row.loss_pseudo.unwrap(), row.pseudo_boxes_per_image.unwrap())
    };
    let ((with, boxes), (without, _)) = (first(true), first(false));
    assert_eq!(boxes, 0.0);
    assert!(0.0 < with && with < 0.2 * without, "{with} {without}");
}

#[test]
fn a_loss_that_is_no_number_skips_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&[]);
    let outcome = with_pseudo_factor(f64::NAN, || run(folder.path(), &config)).unwrap();
    let mutual: Vec<&TrainLogRow> = outcome.log.iter().filter(|r| r.phase == "mutual").collect();
    assert!(mutual.iter().all(|r| r.alarm.as_deref().is_some_and(|a| a.contains("2 steps skipped"))), "{mutual:?}");
    assert!(outcome.log.iter().all(|r| r.loss.is_finite()));
    config.semi.guard.skipped_max = 4;
    let folder = tempfile::tempdir().unwrap();
    let error = with_pseudo_factor(f64::NAN, || run(folder.path(), &config)).unwrap_err();
    assert!(error.to_string().contains("diverged"), "{error}");
}

#[test]
fn a_poor_burn_in_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&[]);
    config.semi.guard.burn_in_ap_min = 1.0;
    let outcome = run(folder.path(), &config).unwrap();
    assert!(outcome.log.iter().all(|r| r.phase != "mutual"));
    assert!(outcome.log.iter().any(|r| r.alarm.as_deref().is_some_and(|a| a.contains("burn-in continues"))));
}

/// Both architectures, with one and with several virtual shards, and with Faster R-CNN's draws of anchors and regions.
const ARCHITECTURES: [&[&str]; 4] = [
    &[],
    &["run.accumulate=2", "detector.model.profile=utv2"],
    &["detector.model.architecture=faster_rcnn", "detector.model.profile=utv2"],
    &["detector.model.architecture=faster_rcnn", "run.accumulate=2"],
];

/// A configuration of one of them, with a guard that goes back at every validation of the mutual phase.
fn guarded(sets: &[&[&str]]) -> RunConfig {
    let mut config = config(&sets.concat());
    let rcnn = config.detector.model.rcnn.clone();
    config.detector.model.rcnn = RcnnConfig { box_features: 16, candidates_train: 50, proposals_train: 20, ..rcnn };
    config.semi.guard.ap_drop_max = -2.0;
    config
}

#[test]
fn without_weight_of_pseudo_labels_the_student_is_that_of_supervised_training() {
    let unweighted = [
        "semi.unlabelled_weight=0",
        "semi.box_loss_weight=0",
        "semi.strong=unlabelled",
        // Gradients are clipped at each step.
        "detector.train.clip_norm=0.5",
    ];
    for architecture in ARCHITECTURES {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let config = guarded(&[architecture, &unweighted]);
        let outcome = run(folders[0].path(), &config).unwrap();
        assert!(outcome.log.iter().any(|r| r.phase == "mutual" && r.pseudo_boxes_per_image.is_some()));
        fixtures::run(folders[1].path(), &config, &StopFlag::default()).unwrap();
        let supervised = last(folders[1].path(), "model");
        let student = last(folders[0].path(), STUDENT);
        assert_eq!(differing(&student, &supervised), [""; 0], "{architecture:?}");
        let mut weighted = guarded(&[architecture, &["semi.strong=unlabelled"]]);
        weighted.semi.guard.ap_drop_max = 1.0;
        run(folders[2].path(), &weighted).unwrap();
        assert_ne!(
            differing(&last(folders[2].path(), STUDENT), &supervised),
            [""; 0],
            "with a weight it is another one"
        );
    }
}

#[test]
fn without_weight_of_pseudo_labels_the_mutual_phase_continues_the_burn_in() {
    let unweighted = ["semi.unlabelled_weight=0", "semi.box_loss_weight=0", "semi.strong=always"];
    for architecture in ARCHITECTURES {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let mutual = run(folders[0].path(), &guarded(&[architecture, &unweighted])).unwrap();
        let burn_in = guarded(&[architecture, &unweighted, &["semi.burn_in_steps=13"]]);
        let burn_in = run(folders[1].path(), &burn_in).unwrap();
        let of = |o: &Outcome| -> Vec<f64> {
            o.log.iter().filter(|r| ["burn_in", "mutual"].contains(&r.phase.as_str())).map(|r| r.loss).collect()
        };
        assert_eq!(of(&mutual), of(&burn_in));
        let [student, of_burn_in] = folders.each_ref().map(|folder| last(folder.path(), STUDENT));
        assert_eq!(differing(&student, &of_burn_in), [""; 0], "{architecture:?}");
    }
}

#[test]
fn an_ensemble_labels_in_the_teachers_place() {
    let mut config = config(&["semi.threshold=0.01", "semi.ramp_steps=0"]);
    config.semi.guard.ap_drop_max = 1.0;
    let ensemble = || {
        [7, 8].map(|seed| {
            tch::manual_seed(seed);
            Detector::new(&config.detector.model, tch::Device::Cpu).unwrap()
        })
    };
    let spoil = |_: i64, teacher: &mut Detector| {
        let _no_grad = tch::no_grad_guard();
        for (_, mut variable) in teacher.variables().variables() {
            let _ = variable.fill_(0.0);
        }
    };
    let pseudo_losses = |labellers: Vec<Detector>, intervene: Intervention| -> Vec<Option<f64>> {
        let folder = tempfile::tempdir().unwrap();
        let outcome = run_with(folder.path(), &config, &StopFlag::default(), intervene, labellers).unwrap().outcome;
        outcome.log.iter().filter(|r| r.phase == "mutual").map(|r| r.loss_pseudo).collect()
    };
    let untouched = |_: i64, _: &mut Detector| {};
    let expected = pseudo_losses(ensemble().into(), &untouched);
    assert!(expected.iter().any(|l| l.is_some_and(|l| l > 0.0)), "{expected:?}");
    assert_eq!(pseudo_losses(ensemble().into(), &spoil), expected, "the teacher has no influence");
    assert_ne!(pseudo_losses(Vec::new(), &untouched), expected);
    let [first, _] = ensemble();
    assert_ne!(pseudo_losses(vec![first], &untouched), expected, "each labeller has one");
}

#[test]
fn a_burn_in_on_weak_augmentation_is_supervised_training() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let set = [
        "detector.train.steps=6",
        "detector.train.ema_keep_rate=0.995",
        "semi.teacher_start=average",
        "semi.strong=mutual",
    ];
    let config = config(&set);
    let burn_in = run(folders[0].path(), &config).unwrap();
    let supervised = fixtures::run(folders[1].path(), &config, &StopFlag::default()).unwrap();
    let of = |o: &Outcome| -> Vec<(i64, f64, Option<f64>)> {
        let rows = o.log.iter().filter(|r| ["burn_in", "train", "validation"].contains(&r.phase.as_str()));
        rows.map(|r| (r.step, r.loss, r.score)).collect()
    };
    assert_eq!(of(&burn_in), of(&supervised));
    assert_eq!(burn_in.model_sha256, supervised.model_sha256);
}
