use super::*;

fn subject(split: &str, id: &str) -> Subject {
    Subject { dataset: "d".into(), split: split.into(), id: id.into() }
}

fn page() -> AuditPage {
    let size = ImageSize { width: 100, height: 80 };
    let shown = |s: Subject, region| ShownPicture { subject: s, size, jpeg: Ok(vec![1, 2, 3]), region };
    let pair = Issue {
        other: Some(subject("test", "b<1>")),
        similarity: Some(0.934),
        ..Issue::new(Kind::NearDuplicateInTwoSplits, subject("train", "a"))
    };
    let outside = Issue {
        image_id: Some("a".into()),
        detail: Some("Cardiomegaly".into()),
        ..Issue::new(Kind::BoxOutside, subject("train", "box-1"))
    };
    let named = |id: &str| Issue::new(Kind::EmptyReport, subject("train", id));
    AuditPage {
        lake: "lake".into(),
        datasets: vec!["d".into()],
        images: [(("d".to_owned(), "train".to_owned()), 2)].into(),
        pictures_read: Some(2),
        issues: vec![pair.clone(), outside.clone(), named("s1"), named("s2"), named("s3")],
        labels: vec![],
        cards: vec![
            Card {
                issue: pair,
                pictures: vec![shown(subject("train", "a"), None), shown(subject("test", "b<1>"), None)],
            },
            Card {
                issue: outside,
                pictures: vec![shown(subject("train", "a"), Some(BoxXyxy::new(50.0, 10.0, 120.0, 60.0)))],
            },
            Card { issue: named("s1"), pictures: vec![] },
        ],
        list: None,
    }
}

#[test]
fn the_page_shows_counts_pairs_boxes_and_how_many_are_left_out() {
    let html = page().html();
    assert!(html.contains("similarity <b>0.93</b>") && html.contains("b&lt;1&gt;"));
    assert!(html.contains("viewBox=\"0 0 123 80\""), "the part of the box beyond the image is shown");
    assert!(html.contains("2 more; <code>--out FILE</code> writes all."));
    assert!(html.contains("Leaks between splits</span><b>1</b>"));
    let leaks = html.find("id=\"near_duplicate_in_two_splits\"").unwrap();
    assert!(html.find("id=\"counts\"").unwrap() < leaks && leaks < html.find("id=\"empty_report\"").unwrap());
    for loaded in ["http:", "https:", "src=", "<script", "@import", "url("] {
        assert!(!html.contains(loaded), "{loaded}");
    }
}

#[test]
fn what_was_not_checked_is_no_zero() {
    let unread = AuditPage { pictures_read: None, ..page() };
    assert!(unread.html().contains("aria-label=\"not checked\""));
    assert!(!page().html().contains("aria-label=\"not checked\""));
}

#[test]
fn label_tables_mark_what_differs() {
    let share = |split: &str, positives, differs| LabelShare {
        dataset: "d".into(),
        split: split.into(),
        unit: "positive_studies",
        label: "Edema".into(),
        positives,
        total: 1000,
        published: (split == "train").then(|| PUBLISHED[1].share("Edema").unwrap()),
        differs,
    };
    let labels = vec![share("train", 400, true), share("test", 120, false), share(ALL_SPLITS, 520, false)];
    let html = AuditPage { labels, ..page() }.html();
    assert!(html.contains("<td class=\"differs\">40.0 %</td>"), "{html}");
    assert_eq!(html.matches("<td class=\"differs\">").count(), 1);
    for shown in ["12.0 %", "52.0 %", "11.5 %"] {
        assert!(html.contains(&format!(">{shown}</td>")), "{shown}");
    }
    assert!(html.contains("train (n = 1000)") && html.contains("CheXpert and NegBio"));
}
