//! A report that ends early continues: finished images are not opened again, and all tables have the same bytes.

use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FailureRow, GeneratedReportRow, ImageRow, ReportRow, ReportSentenceRow, SentenceBoxRow};
use image::GrayImage;
use tempfile::TempDir;

use super::*;
use crate::lake::atomic_file::faults;
use crate::lake::repair::Selection;
use crate::lake::{Partition, Provenance};
use crate::stages::train::reporter;
use crate::test_fixtures::{context, image, lesion};

const SIZE: u32 = 96;
const NORMAL: &str = "the heart size is normal . the lungs are clear . no pneumothorax is seen .";

struct Project {
    folder: TempDir,
    ctx: Context,
    lake: Lake,
}

impl Project {
    /// A report model, and a test split of 70 images whose reports are in another order than the images.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ctx = context(&["generate.max_words=6", "generate.beam_size=1", "generate.batch_size=3"]);
        let lake = Lake::create(&folder.path().join("lake")).unwrap();
        let project = Self { folder, ctx, lake };
        std::fs::create_dir(project.images()).unwrap();
        project.lake.register_dataset("mimic", &project.images(), "mimic").unwrap();
        project.write("train", &["a", "b", "c"].map(str::to_owned));
        project.write("val", &["d".to_owned()]);
        let ids: Vec<String> = (0..35).flat_map(|i| [format!("s{i:02}"), format!("s{i:02}-1")]).collect();
        project.write("test", &ids);
        std::fs::write(project.images().join("s02.png"), "no image").unwrap();
        let (lake, runs) = (project.folder.path().join("lake"), project.folder.path().join("runs"));
        let (dataset, boxes) = ("mimic".to_owned(), BoxesFrom::Detector);
        let args = reporter::Args { lake, dataset, detector: None, init: None, boxes, runs };
        reporter::run(&project.ctx, args).unwrap();
        project
    }

    fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    fn write(&self, split: &str, ids: &[String]) {
        let (partition, mut images, mut lesions, mut reports) =
            (Partition::new("mimic", split), vec![], vec![], vec![]);
        for (number, id) in ids.iter().enumerate() {
            let row = ImageRow { width: Some(SIZE as i32), height: Some(SIZE as i32), ..image(id) };
            let grey = |x: u32, y: u32| image::Luma([(x * (number as u32 % 5 + 1) + y * 2) as u8]);
            GrayImage::from_fn(SIZE, SIZE, grey).save(self.images().join(&row.path)).unwrap();
            for k in 0..number % 3 {
                let corners = [4.0 + 8.0 * k as f32, 4.0, 30.0 + 8.0 * k as f32, 40.0];
                lesions.push(lesion(id, &format!("{id}-p{k:03}"), k as i32, corners));
            }
            let (text, section) = (NORMAL.to_owned(), "findings".to_owned());
            reports.push(ReportRow { study_id: id.clone(), section, text_clean: text.clone(), text });
            images.push(row);
        }
        let by = |verb| Provenance::of_work(verb, "0123456789abcdef".into(), None);
        self.lake.write(&partition, Shard::WHOLE, images, &by("ingest")).unwrap();
        self.lake.write(&partition, Shard::WHOLE, lesions, &by("annotate")).unwrap();
        self.lake.write(&partition, Shard::WHOLE, reports, &by("ingest")).unwrap();
    }

    fn report(&self, shard: Shard) -> Result<StageResult> {
        let source =
            ImageSource::Lake { lake: self.folder.path().join("lake"), dataset: "mimic".into(), split: "test".into() };
        let run_folder = std::fs::read_dir(self.folder.path().join("runs")).unwrap().next().unwrap().unwrap().path();
        let model = WritingModel::ReportModel { run: run_folder, explain: None, boxes: BoxesFrom::Detector };
        run(&self.ctx, Args { source, model, shard, refuse_burned_in: false })
    }

    /// Ends after this many changes of the file system; the finished images that are kept.
    fn ended_early(&self, shard: Shard, changes: u32) -> u64 {
        faults::fail_after(Some(changes));
        let ended = self.report(shard);
        faults::fail_after(None);
        assert_eq!(ended.unwrap_err().exit().code(), 75);
        self.lake.repair(false, true).unwrap().unfinished.iter().map(|(_, images)| images).sum()
    }

    /// The bytes of all tables of the stage, which are removed.
    fn take(&self) -> Vec<Vec<u8>> {
        let tables = [GeneratedReportRow::TABLE, ReportSentenceRow::TABLE, SentenceBoxRow::TABLE, FailureRow::TABLE];
        let test = Partition::new("mimic", "test");
        let read = |table: &str| {
            let parts = self.lake.parts(table, &test).unwrap();
            let part = parts.iter().find(|p| p.producer == "report").unwrap();
            std::fs::read(self.lake.root().join(&part.file)).unwrap()
        };
        let bytes = tables.map(read).to_vec();
        let (dataset, split) = ("mimic".to_owned(), Some("test".to_owned()));
        let of_stage = Selection { dataset, split, tables: Vec::new(), producer: Some("report".into()) };
        self.lake.remove(&of_stage, false).unwrap();
        bytes
    }
}

#[test]
fn finished_images_are_not_opened_again_and_all_tables_have_the_same_bytes() {
    let project = Project::new();
    let result = project.report(Shard::WHOLE).unwrap();
    assert_eq!((result.rows["generated_reports"], result.rows["failures"]), (69, 1));
    let linked = result.rows["sentence_boxes"] > 0;
    let expected = project.take();

    let kept = project.ended_early(Shard::WHOLE, if linked { 30 } else { 24 });
    assert!((36..70).contains(&kept), "{kept}");
    // The first images are gone meanwhile: one that is opened again is a failure more.
    let aside = project.folder.path().join("aside");
    std::fs::create_dir(&aside).unwrap();
    let rows: Vec<ImageRow> = project.lake.read(&Partition::new("mimic", "test")).unwrap();
    let finished = &rows[..kept as usize];
    finished.iter().for_each(|i| std::fs::rename(project.images().join(&i.path), aside.join(&i.path)).unwrap());
    assert!(!project.report(Shard::WHOLE).unwrap().cached);
    finished.iter().for_each(|i| std::fs::rename(aside.join(&i.path), project.images().join(&i.path)).unwrap());
    assert!(project.report(Shard::WHOLE).unwrap().cached);
    assert!(project.take() == expected, "the tables of a continued report");

    for index in [1, 0] {
        project.report(Shard { index, count: 2 }).unwrap();
    }
    assert!(project.take() == expected, "the tables of two shards, each of which reads its own boxes");
    assert!(project.lake.repair(false, true).unwrap().unfinished.is_empty());
}
