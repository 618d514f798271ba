//! A stage that ends early continues: images that are finished are not opened again, and the boxes are the same.

use image::GrayImage;
use tempfile::TempDir;

use super::*;
use crate::lake::atomic_file::faults;
use crate::lake::digest::sha256_file;
use crate::test_fixtures::{context, image};
use crate::training::model_card::ModelCard;
use crate::training::named_tensors::named_tensors;
use crate::training::run_dir::RunDir;

const IMAGES: u32 = 110;
const SIZE: u32 = 64;

struct Project {
    folder: TempDir,
    ctx: Context,
}

impl Project {
    /// A detector that was not trained, and a split of small images, one of which is damaged.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ctx = context(&["detector.model.input_size=64", "annotate.batch_size=3", "annotate.score_floor=0.001"]);
        tch::manual_seed(3);
        let detector = Detector::new(&ctx.config.detector.model, ctx.device).unwrap();
        let run = RunDir::at(folder.path().join("detector"), "detector-0123456789ab");
        std::fs::create_dir_all(run.best().parent().unwrap()).unwrap();
        run.write_best(&named_tensors(detector.variables())).unwrap();
        let card = crate::detector::card::DetectorCard::new(
            &ctx.config.detector.model,
            &LabelSet::vindr(),
            crate::detector::thresholds::Thresholds::one(0.5),
        );
        ModelCard::new("detector", run.id(), sha256_file(&run.best()).unwrap(), card).write(&run).unwrap();
        let project = Self { folder, ctx };
        std::fs::create_dir(project.images()).unwrap();
        let rows = (0..IMAGES).map(|i| project.draw(i)).collect();
        std::fs::write(project.images().join("i007.png"), "no image").unwrap();
        let lake = Lake::create(&project.lake()).unwrap();
        lake.register_dataset("mimic", &project.images(), "mimic").unwrap();
        let by = Provenance::of_work("ingest", "0123456789abcdef".into(), None);
        lake.write(&train(), Shard::WHOLE, rows, &by).unwrap();
        project
    }

    fn draw(&self, i: u32) -> ImageRow {
        let row = image(&format!("i{i:03}"));
        let grey = |x: u32, y: u32| image::Luma([(x * (i % 5 + 1) + y * (i % 7 + 2)) as u8]);
        GrayImage::from_fn(SIZE, SIZE, grey).save(self.images().join(&row.path)).unwrap();
        ImageRow { width: Some(SIZE as i32), height: Some(SIZE as i32), ..row }
    }

    fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    fn annotate(&self, shard: Shard) -> Result<StageResult> {
        let (dataset, splits) = ("mimic".to_owned(), Vec::new());
        let detector = self.folder.path().join("detector");
        run(&self.ctx, Args { lake: self.lake(), dataset, splits, detector, student: false, shard })
    }

    /// Content digests of boxes and failures, and the bytes of the boxes.
    fn found(&self) -> (String, String, Vec<u8>) {
        let lake = Lake::open(&self.lake()).unwrap();
        let digest = |table| lake.content_digest(table, &train()).unwrap();
        let part = lake.parts(LesionRow::TABLE, &train()).unwrap().pop().unwrap();
        (digest(LesionRow::TABLE), digest(FailureRow::TABLE), std::fs::read(self.lake().join(part.file)).unwrap())
    }

    /// Images that are finished and kept.
    fn kept(&self) -> u64 {
        let done = Lake::open(&self.lake()).unwrap().repair(false, true).unwrap();
        done.unfinished.iter().map(|(_, images)| images).sum()
    }

    /// The first images are gone: one that is opened again is a failure more.
    fn hide(&self, images: u64) {
        for i in 0..images {
            let _ = std::fs::remove_file(self.images().join(format!("i{i:03}.png")));
        }
    }
}

fn train() -> Partition {
    Partition::new("mimic", "train")
}

#[test]
fn finished_images_are_not_opened_again_and_the_boxes_are_the_same() {
    let undisturbed = Project::new();
    undisturbed.annotate(Shard::WHOLE).unwrap();
    let expected = undisturbed.found();
    assert!(Lake::open(&undisturbed.lake()).unwrap().rows(LesionRow::TABLE).unwrap() > 200);

    let project = Project::new();
    // The first sub-part, whose images have a failure, takes 15 changes of the file system, each further one 8.
    faults::fail_after(Some(25));
    let ended = project.annotate(Shard::WHOLE);
    faults::fail_after(None);
    assert_eq!(ended.unwrap_err().exit().code(), 75);
    let kept = project.kept();
    assert!(kept > 64 && kept < u64::from(IMAGES), "{kept}");
    project.hide(kept);
    let result = project.annotate(Shard::WHOLE).unwrap();
    assert_eq!((project.found(), result.cached, project.kept()), (expected.clone(), false, 0));
    assert!(project.annotate(Shard::WHOLE).unwrap().cached);

    // Shards are put together to the same bytes, each after an early end of its own.
    let project = Project::new();
    for index in [1, 0] {
        let shard = Shard { index, count: 2 };
        faults::fail_after(Some(16));
        let ended = project.annotate(shard);
        faults::fail_after(None);
        assert!(ended.is_err() && project.kept() > 32, "{}", project.kept());
        project.annotate(shard).unwrap();
    }
    assert_eq!((project.found(), project.kept()), (expected, 0));
}

/// What is kept after a signal that comes so many seconds after the second group of 18 images began to be opened, while the
/// model works on the first one: an image of the second group is a pipe, which is read until the signal.
fn kept_after_a_signal(seconds: u64) -> u64 {
    let project = Project::new();
    let (pipe, stop) = (project.images().join("i020.png"), project.ctx.stop.clone());
    std::fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let signal = std::thread::spawn(move || {
        let opened = std::fs::File::options().write(true).open(pipe).unwrap();
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        stop.request(15);
        drop(opened);
    });
    let ended = project.annotate(Shard::WHOLE);
    signal.join().unwrap();
    assert!(matches!(ended, Err(Error::Stopped { signal: 15 })), "{ended:?}");
    project.kept()
}

#[test]
fn a_stop_keeps_what_is_finished_since_the_last_sub_part() {
    // On a slow machine the model needs longer for the first group.
    let kept = [1, 4, 16, 64].into_iter().map(kept_after_a_signal).find(|kept| *kept > 0);
    assert_eq!(kept, Some(18), "the first group, whole");
}

#[test]
fn boxes_in_another_precision_are_other_work() {
    let mut project = Project::new();
    assert!(!project.annotate(Shard::WHOLE).unwrap().cached);
    assert!(project.annotate(Shard::WHOLE).unwrap().cached);
    project.ctx.config.run.precision = "bf16".into();
    assert!(!project.annotate(Shard::WHOLE).unwrap().cached, "the boxes in f32 are not taken for those in bf16");
}
