//! Boxes whose frame is not that of their file: resized copies, with and without the sizes of the originals, and files that
//! are stored turned.

use std::fs;

use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow};

use super::*;
use crate::stages::audit;
use crate::stages::ingest::tests::{args_of, context, grey_image, put, put_image, rows_of};

fn args(kind: Kind, root: &Path, lake: &Path) -> Args {
    args_of(kind, root, lake, "set")
}

fn n_boxes(lake: &Path) -> Vec<(String, Option<i32>)> {
    rows_of::<ImageRow>(lake, "set").into_iter().map(|i| (i.image_id, i.n_boxes)).collect()
}

fn codes(lake: &Path) -> Vec<(String, String)> {
    let failures: Vec<FailureRow> = rows_of(lake, "set");
    failures.into_iter().map(|f| (f.path.unwrap_or_default(), f.code)).collect()
}

const HEADER: &str = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n";

/// `x` has boxes of an original of 2400 x 1920 pixels, `y` none; both are copies of 120 x 96.
fn copies() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let rows =
        "y,No finding,14,R1,,,,\nx,Cardiomegaly,3,R1,1010,1010,1960,1760\nx,Cardiomegaly,3,R2,1020,1000,1950,1750\n";
    put(dir.path(), "train.csv", &format!("{HEADER}{rows}"));
    put_image(dir.path(), "train/x.png", 120, 96);
    put_image(dir.path(), "train/y.png", 120, 96);
    dir
}

#[test]
fn an_image_whose_boxes_are_all_outside_is_unread_and_a_set_of_such_images_is_bad_data() {
    let (dir, lake) = (copies(), tempfile::tempdir().unwrap());
    let all = context(&["ingest.val_share=0.0"]);
    for _ in 0..2 {
        let error = run(&all, args(Kind::Vindr, dir.path(), lake.path())).unwrap_err();
        assert_eq!(error.exit().code(), 65, "also when it is done already");
        let text = error.to_string();
        assert!(text.contains("1 of 1 images with boxes") && text.contains("larger images"), "{text}");
    }
    assert_eq!(n_boxes(lake.path()), [("x".into(), None), ("y".into(), Some(0))]);
    let outside = ["train.csv:3", "train.csv:4"].map(|p| (p.to_owned(), "box_outside".to_owned()));
    assert_eq!(codes(lake.path()), outside);
    assert!(rows_of::<LesionRow>(lake.path(), "set").is_empty());
    let audited = audit::run(&all, audit::Args { lake: lake.path().into(), ..audit::Args::default() }).unwrap();
    assert_eq!(audited.figures["box_left_out"], 2.0);
}

#[test]
fn the_size_of_the_original_scales_the_boxes() {
    let check = |root: &Path, original_size: Option<PathBuf>| {
        let lake = tempfile::tempdir().unwrap();
        let ctx = context(&["ingest.val_share=0.0"]);
        run(&ctx, Args { original_size, ..args(Kind::Vindr, root, lake.path()) }).unwrap();
        assert_eq!(n_boxes(lake.path()), [("x".into(), Some(1)), ("y".into(), Some(0))]);
        assert_eq!(codes(lake.path()), []);
        let reader: Vec<LesionRow> =
            rows_of(lake.path(), "set").into_iter().filter(|l: &LesionRow| l.source == "reader").collect();
        assert_eq!((reader[0].x_min, reader[0].y_min, reader[0].x_max, reader[0].y_max), (50.5, 50.5, 98.0, 88.0));
    };
    let dir = copies();
    let elsewhere = tempfile::tempdir().unwrap();
    put(elsewhere.path(), "sizes.csv", "image_id,width,height\nx,2400,1920\ny,2400,1920\n");
    check(dir.path(), Some(elsewhere.path().join("sizes.csv")));
    put(dir.path(), "train_meta.csv", "image_id,dim0,dim1\nx,1920,2400\ny,1920,2400\n");
    check(dir.path(), None);
    // Tables that come with copies may state the size beside each box.
    fs::remove_file(dir.path().join("train_meta.csv")).unwrap();
    let table = fs::read_to_string(dir.path().join("train.csv")).unwrap();
    let wide: Vec<String> = table.lines().skip(1).map(|row| format!("{row},2400,1920")).collect();
    put(dir.path(), "train.csv", &format!("{},width,height\n{}\n", HEADER.trim(), wide.join("\n")));
    check(dir.path(), None);
}

#[test]
fn boxes_that_happen_to_fit_are_not_trusted_where_most_do_not() {
    let (dir, lake) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut rows = HEADER.to_owned();
    for i in 0..14 {
        // Two of the images have a box in the first tenth of their original.
        let (x, y) = if i < 2 { (10, 10) } else { (900 + i, 700) };
        rows.push_str(&format!("i{i:02},ILD,5,R1,{x},{y},{},{}\n", x + 60, y + 60));
        put_image(dir.path(), &format!("train/i{i:02}.png"), 120, 96);
    }
    put(dir.path(), "train.csv", &rows);
    let error = run(&context(&[]), args(Kind::Vindr, dir.path(), lake.path())).unwrap_err();
    assert!(error.exit().code() == 65 && error.to_string().contains("14 of 14"), "{error}");
    assert!(n_boxes(lake.path()).iter().all(|(_, n)| n.is_none()));
    assert_eq!(codes(lake.path()).len(), 14);
    // A stray box among many is reported, and the set is read.
    let stray: String = rows
        .lines()
        .skip(1)
        .map(|row| {
            let id = row.split(',').next().unwrap();
            let last = if id == "i13" { "i13,ILD,5,R2,900,700,960,760\n" } else { "" };
            format!("{id},ILD,5,R1,10,10,70,70\n{last}")
        })
        .collect();
    put(dir.path(), "train.csv", &format!("{HEADER}{stray}"));
    run(&context(&[]), args(Kind::Vindr, dir.path(), lake.path())).unwrap();
    assert!(n_boxes(lake.path()).iter().all(|(_, n)| *n == Some(1)));
    assert_eq!(codes(lake.path()).len(), 1);
}

#[test]
fn boxes_that_were_scaled_already_are_not_scaled_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rows, mut sizes) = (HEADER.to_owned(), "image_id,dim0,dim1\n".to_owned());
    for i in 0..22 {
        rows.push_str(&format!("i{i:02},ILD,5,R1,{},40,110,90\n", 60 + i));
        sizes.push_str(&format!("i{i:02},1920,2400\n"));
        put_image(dir.path(), &format!("train/i{i:02}.png"), 120, 96);
    }
    put(dir.path(), "train.csv", &rows);
    put(dir.path(), "train_meta.csv", &sizes);
    let lake = tempfile::tempdir().unwrap();
    let error = run(&context(&[]), args(Kind::Vindr, dir.path(), lake.path())).unwrap_err();
    assert!(error.exit().code() == 65 && error.to_string().contains("scaled already"), "{error}");
    fs::remove_file(dir.path().join("train_meta.csv")).unwrap();
    run(&context(&[]), args(Kind::Vindr, dir.path(), lake.path())).unwrap();
    assert!(n_boxes(lake.path()).iter().all(|(_, n)| *n == Some(1)));
}

#[test]
fn coco_boxes_in_a_frame_that_is_not_the_files() {
    let set = |width: u32, height: u32, bbox: &str| {
        let dir = tempfile::tempdir().unwrap();
        put_image(dir.path(), "images/a.png", 120, 96);
        put_image(dir.path(), "images/b.png", 120, 96);
        let json = format!(
            r#"{{"images": [{{"id": 1, "file_name": "a.png", "width": {width}, "height": {height}}}, {{"id": 2, "file_name": "b.png", "width": 120, "height": 96}}],
            "annotations": [{{"id": 1, "image_id": 1, "category_id": 1, "bbox": {bbox}}}], "categories": [{{"id": 1, "name": "Cardiomegaly"}}]}}"#
        );
        put(dir.path(), "annotations/instances_train.json", &json);
        let lake = tempfile::tempdir().unwrap();
        let code =
            run(&context(&[]), args(Kind::Coco, dir.path(), lake.path())).map_or_else(|e| e.exit().code(), |_| 0);
        let x: Vec<f32> = rows_of::<LesionRow>(lake.path(), "set").iter().map(|l| l.x_min).collect();
        (code, n_boxes(lake.path())[0].1, x, codes(lake.path()))
    };
    let outside = vec![("annotations/instances_train.json#annotations[0]".to_owned(), "box_outside".to_owned())];
    // A thumbnail: the file states the original's size, or its own.
    assert_eq!(set(1200, 960, "[300, 240, 300, 240]"), (0, Some(1), vec![30.0], vec![]));
    assert_eq!(set(120, 96, "[300, 240, 300, 240]"), (65, None, vec![], outside.clone()));
    assert_eq!(set(120, 96, "[0.2, 0.1, 0.5, 0.5]"), (65, None, vec![], outside), "shares of the image");
    assert_eq!(set(120, 96, "[90, 24, 35, 24]"), (0, Some(1), vec![90.0], vec![]), "over the edge by a little");
}

/// A JPEG file of 120 x 96 stored pixels with an EXIF orientation.
fn put_turned(root: &Path, path: &str, exif: u8) {
    let mut jpeg = std::io::Cursor::new(Vec::new());
    grey_image(120, 96).write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    let tiff = [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[exif, 0, 0, 0], &[0; 4]].concat();
    let body = [&b"Exif\0\0"[..], &tiff].concat();
    let head = [&[0xff, 0xe1][..], &(body.len() as u16 + 2).to_be_bytes(), &body].concat();
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, [&jpeg[..2], &head, &jpeg[2..]].concat()).unwrap();
}

#[test]
fn boxes_of_a_turned_file_are_placed_by_the_stated_size_or_not_at_all() {
    let set = |size: &str, bbox: &str, exif: u8| {
        let dir = tempfile::tempdir().unwrap();
        put_turned(dir.path(), "images/a.jpg", exif);
        let json = format!(
            r#"{{"images": [{{"id": 1, "file_name": "a.jpg"{size}}}], "annotations": [{{"id": 1, "image_id": 1, "category_id": 1, "bbox": {bbox}}}],
            "categories": [{{"id": 1, "name": "Cardiomegaly"}}]}}"#
        );
        put(dir.path(), "annotations/instances_train.json", &json);
        let lake = tempfile::tempdir().unwrap();
        run(&context(&[]), args(Kind::Coco, dir.path(), lake.path())).unwrap();
        let image = rows_of::<ImageRow>(lake.path(), "set").remove(0);
        let boxes: Vec<_> =
            rows_of::<LesionRow>(lake.path(), "set").iter().map(|l| [l.x_min, l.y_min, l.x_max, l.y_max]).collect();
        (
            (image.width, image.height, image.n_boxes),
            boxes,
            codes(lake.path()).into_iter().map(|(_, c)| c).collect::<Vec<_>>(),
        )
    };
    let shown = vec![[10.0, 20.0, 40.0, 80.0]];
    let turned = (Some(96), Some(120), Some(1));
    assert_eq!(set(r#", "width": 96, "height": 120"#, "[10, 20, 30, 60]", 6), (turned, shown.clone(), vec![]));
    assert_eq!(set(r#", "width": 120, "height": 96"#, "[20, 56, 60, 30]", 6), (turned, shown, vec![]));
    let unread = (Some(96), Some(120), None);
    assert_eq!(set("", "[10, 20, 30, 60]", 6), (unread, vec![], vec!["turned_frame".to_owned()]));
    let mirrored = (Some(120), Some(96), None);
    let size = r#", "width": 120, "height": 96"#;
    assert_eq!(set(size, "[10, 20, 30, 60]", 2), (mirrored, vec![], vec!["turned_frame".to_owned()]));
}

#[test]
fn a_set_of_which_nothing_can_be_used_says_why_in_one_line() {
    let (dir, lake) = (copies(), tempfile::tempdir().unwrap());
    put(dir.path(), "train/x.png", "");
    put(dir.path(), "train/y.png", "not a picture");
    put(
        dir.path(),
        "train.csv",
        &format!("{HEADER}x,ILD,5,R1,1,1,9,9\ny,ILD,5,R1,1,1,9,9\nz,ILD,5,R1,1,1,9,9\nw,ILD,5,R1,1,1,9,9\n"),
    );
    for _ in 0..2 {
        let error = run(&context(&[]), args(Kind::Vindr, dir.path(), lake.path())).unwrap_err();
        assert_eq!(error.exit().code(), 65);
        let text = error.to_string();
        assert!(text.contains("2 missing_file, 1 empty_file, 1 not_an_image"), "{text}");
        assert!(!text.contains('\n') && text.contains("download it again"), "{text}");
    }
}
