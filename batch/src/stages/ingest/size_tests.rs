//! Texts and lists of boxes that are too large are rows in `failures`, and their images are never normal.

use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow, ReportRow};

use super::tests::{args_of, context, mimic_folder, put, put_image, rows_of};
use super::*;

#[test]
fn a_report_without_an_end_costs_one_study_its_report() {
    let (dir, lake) = (mimic_folder(), tempfile::tempdir().unwrap());
    let secret = "FINDINGS: Secret effusion without a full stop ";
    put(dir.path(), "files/p10/p10000001/s50000001.txt", &secret.repeat(1000));
    put(dir.path(), "files/p10/p10000001/s50000002.txt", &secret.repeat(30_000));
    run(&context(&[]), args_of(Kind::Mimic, dir.path(), lake.path(), "set")).unwrap();
    let failures: Vec<FailureRow> = rows_of(lake.path(), "set");
    let codes: Vec<&str> = failures.iter().map(|f| f.code.as_str()).collect();
    assert_eq!(codes, ["too_long", "too_large"]);
    assert!(failures.iter().all(|f| !f.message.contains("ecret")), "no report text in messages");
    assert_eq!(rows_of::<ReportRow>(lake.path(), "set").len(), 1, "the other study keeps its report");
    assert_eq!(rows_of::<ImageRow>(lake.path(), "set").len(), 3);
}

#[test]
fn an_image_with_too_many_boxes_is_unread() {
    let (dir, lake) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut rows = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\nb,R1,Edema,5,6,30,40\n".to_owned();
    for i in 0..=crate::datasets::fusion::BOXES_PER_IMAGE_MAX {
        let (x, y) = ((i % 100) as f32 / 2.0, (i / 100) as f32 / 2.0);
        rows += &format!("a,R{},Cardiomegaly,{x},{y},{},{}\n", i % 3, x + 20.0, y + 20.0);
    }
    put(dir.path(), "annotations/annotations_train.csv", &rows);
    put(dir.path(), "annotations/annotations_test.csv", "image_id,class_name,x_min,y_min,x_max,y_max\n");
    put_image(dir.path(), "train/a.png", 100, 80);
    put_image(dir.path(), "train/b.png", 100, 80);
    let ctx = context(&["ingest.val_share=0.0", "ingest.min_annotators=1"]);
    for labels_only in [false, true] {
        let args = Args { labels_only, ..args_of(Kind::Vindr, dir.path(), lake.path(), "set") };
        run(&ctx, args).unwrap();
        let failures: Vec<FailureRow> = rows_of(lake.path(), "set");
        let found: Vec<_> = failures.iter().map(|f| (f.image_id.as_deref(), f.code.as_str())).collect();
        assert_eq!(found, [(Some("a"), "too_many_boxes")], "labels alone: {labels_only}");
        let images: Vec<ImageRow> = rows_of(lake.path(), "set");
        let unread: Vec<_> = images.iter().map(|i| (i.image_id.as_str(), i.n_boxes)).collect();
        assert_eq!(unread, [("a", None), ("b", Some(1))]);
        assert!(rows_of::<LesionRow>(lake.path(), "set").iter().all(|l| l.image_id == "b"));
    }
}
