use super::*;

fn case() -> Case {
    let a_box = |id: &str, class_id: i32, name: &str, x: f32| CaseBox {
        box_id: id.into(),
        class_id,
        class_name: name.into(),
        score: Some(0.87),
        region: BoxXyxy::new(x, 10.0, x + 40.0, 60.0),
    };
    Case {
        study_id: "s<1>".into(),
        size: ImageSize { width: 128, height: 96 },
        picture: Some(vec![0xff, 0xd8, 0xff]),
        boxes: vec![a_box("b-1", 3, "Cardiomegaly", 20.0), a_box("b-2", 15, "Nodule/Mass", -5.0)],
        truths: vec![CaseBox { score: None, ..a_box("t-1", 15, "Nodule/Mass", 2.0) }],
        generated: vec![
            CaseSentence { text: "the heart is enlarged .".into(), box_ids: vec!["b-1".into(), "unknown".into()] },
            CaseSentence { text: "no pneumothorax .".into(), box_ids: Vec::new() },
        ],
        reference: vec!["Cardiomegaly & a nodule.".into()],
        scores: vec![("ROUGE-L".into(), "0.52".into())],
        flags: vec!["needs review".into()],
    }
}

#[test]
fn sentences_point_to_boxes_that_are_there() {
    let page = render(&case(), 7).into_string();
    assert!(page.contains("data-boxes=\"case-7-box-1\""), "{page}");
    assert!(page.contains("id=\"case-7-box-1\"") && page.contains("href=\"#case-7-box-1\""));
    assert_eq!(page.matches("class=\"chip\"").count(), 1, "an unknown box has no number");
    assert_eq!(page.matches("class=\"truth\"").count(), 1);
}

#[test]
fn text_is_escaped_and_boxes_stay_inside_the_radiograph() {
    let page = render(&case(), 1).into_string();
    assert!(page.contains("s&lt;1&gt;") && page.contains("Cardiomegaly &amp; a nodule."));
    assert!(!page.contains("x=\"-"), "a box that leaves the radiograph is clipped");
}

#[test]
fn an_empty_study_says_so() {
    let empty = Case {
        picture: None,
        boxes: Vec::new(),
        truths: Vec::new(),
        generated: Vec::new(),
        reference: Vec::new(),
        scores: Vec::new(),
        flags: Vec::new(),
        ..case()
    };
    let page = render(&empty, 1).into_string();
    for words in ["file cannot be read", "No detection was accepted", "Nothing was generated", "No reference report"] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn pictures_are_small_jpegs_of_the_same_shape() {
    let radiograph = Radiograph::new(1000, 500, vec![90; 500_000]).unwrap();
    let bytes = picture(&radiograph).unwrap();
    let read = image::load_from_memory(&bytes).unwrap();
    assert_eq!((read.width(), read.height()), (448, 224));
    let tiny = Radiograph::new(1, 1, vec![9]).unwrap();
    assert_eq!(image::load_from_memory(&picture(&tiny).unwrap()).unwrap().width(), 1);
}

#[test]
fn base64_is_that_of_the_standard() {
    for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
    assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
}
