//! Reports in small, in the published shape.

use std::fs;

use super::*;
use crate::datasets::label_sets::LabelChoice;

const OPTIONS: ListOptions =
    ListOptions { seed: 1, val_share: 0.0, frontal_only: true, labels_only: false, labels: LabelChoice::Vindr };

fn report(id: &str, findings: &str, impression: &str, images: &[&str], mesh: &[&str]) -> String {
    let images: String = images
        .iter()
        .map(|i| format!("<parentImage id=\"{i}\"><figureId>F1</figureId><caption>Chest</caption><panel type=\"single\"/></parentImage>"))
        .collect();
    let mesh: String = mesh.iter().map(|m| format!("<major>{m}</major>")).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><eCitation><meta type=\"rr\"/><uId id=\"{id}\"/><pmcId id=\"1\"/>\
         <MedlineCitation Owner=\"Indiana University\"><Article PubModel=\"Electronic\"><Abstract>\
         <AbstractText Label=\"COMPARISON\">None.</AbstractText><AbstractText Label=\"INDICATION\">Pain</AbstractText>\
         <AbstractText Label=\"FINDINGS\">{findings}</AbstractText><AbstractText Label=\"IMPRESSION\">{impression}</AbstractText>\
         </Abstract></Article></MedlineCitation><MeSH>{mesh}<automatic>heart</automatic></MeSH>{images}</eCitation>"
    )
}

fn folder(reports: &[(&str, String)], images: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("ecgen-radiology")).unwrap();
    fs::create_dir_all(dir.path().join("NLMCXR_png")).unwrap();
    for (name, text) in reports {
        fs::write(dir.path().join("ecgen-radiology").join(name), text).unwrap();
    }
    for name in images {
        fs::write(dir.path().join("NLMCXR_png").join(name), "x").unwrap();
    }
    dir
}

#[test]
fn sections_images_and_labels_of_a_report() {
    let one = report(
        "CXR1",
        "Heart &lt; normal.\n  Lungs &amp; pleura clear.",
        "No acute disease.",
        &["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"],
        &["Cardiomegaly/mild", "Thickening/pleura/apex", "Thickening/wall", "Catheters, Indwelling/right"],
    );
    let two = report("CXR2", "", "Normal chest.", &["CXR2_IM-0652-1001"], &["normal"]);
    let dir = folder(
        &[("1.xml", one), ("2.xml", two), ("._1.xml", "resource fork".into())],
        &["CXR1_1_IM-0001-3001.png", "CXR1_1_IM-0001-4001.png", "CXR2_IM-0652-1001.png"],
    );
    let listing = list(dir.path(), &OPTIONS).unwrap();
    assert_eq!(listing.failures, []);
    let brief: Vec<_> =
        listing.images.iter().map(|i| (i.image_id.as_str(), i.study_id.as_str(), i.path.as_str())).collect();
    assert_eq!(
        brief,
        [
            ("CXR1_1_IM-0001-3001", "CXR1", "NLMCXR_png/CXR1_1_IM-0001-3001.png"),
            ("CXR1_1_IM-0001-4001", "CXR1", "NLMCXR_png/CXR1_1_IM-0001-4001.png"),
            ("CXR2_IM-0652-1001", "CXR2", "NLMCXR_png/CXR2_IM-0652-1001.png"),
        ]
    );
    assert_eq!(
        listing.studies[0].report,
        Some(ReportSource::Sections {
            path: "ecgen-radiology/1.xml".into(),
            findings: "Heart < normal. Lungs & pleura clear.".into(),
            impression: "No acute disease.".into()
        })
    );
    let positive = |k: usize| -> Vec<&str> {
        listing.studies[k].labels.iter().filter(|(_, s)| *s == LabelState::Positive).map(|(l, _)| *l).collect()
    };
    assert_eq!(positive(0), ["Cardiomegaly", "Pleural Other", "Support Devices"]);
    assert_eq!(positive(1), ["No Finding"]);
}

#[test]
fn files_that_cannot_be_used_leave_the_others() {
    let reports = [
        ("1.xml", report("CXR1", "Clear.", "", &["a", "gone"], &[])),
        ("2.xml", "<eCitation><uId id=\"CXR2\"/>".to_owned()),
        ("3.xml", report("CXR1", "Clear.", "", &["b"], &[])),
        ("4.xml", report("CXR4", "", " ", &["c", "a"], &[])),
        ("5.xml", report("CXR5", "Clear.", "", &[], &[])),
        ("6.xml", "<html><body>Sign in</body></html>".to_owned()),
    ];
    let dir = folder(&reports, &["a.png", "b.png", "c.png"]);
    let listing = list(dir.path(), &OPTIONS).unwrap();
    let found: Vec<_> = listing.failures.iter().map(|f| (f.path.as_str(), f.code)).collect();
    assert_eq!(
        found,
        [
            ("ecgen-radiology/1.xml#gone", "missing_file"),
            ("ecgen-radiology/2.xml", "bad_xml"),
            ("ecgen-radiology/3.xml", "duplicate_id"),
            ("ecgen-radiology/4.xml", "missing_report"),
            ("ecgen-radiology/4.xml#a", "duplicate_id"),
            ("ecgen-radiology/6.xml", "bad_xml"),
        ]
    );
    assert_eq!(listing.images.iter().map(|i| i.image_id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!((listing.notes["reports_without_images"], listing.studies.len()), (1, 2));
    assert!(listing.failures.iter().all(|f| !f.message.contains("Clear")), "no report text");
}

#[test]
fn entities_that_expand_without_end_are_refused() {
    let bomb = "<!DOCTYPE x [<!ENTITY a \"0123456789\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">\
        <!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\"><!ENTITY e \"&d;&d;&d;&d;&d;&d;&d;&d;\"><!ENTITY f \"&e;&e;&e;&e;&e;&e;&e;&e;\">\
        <!ENTITY g \"&f;&f;&f;&f;&f;&f;&f;&f;\"><!ENTITY h \"&g;&g;&g;&g;&g;&g;&g;&g;\"><!ENTITY i \"&h;&h;&h;&h;&h;&h;&h;&h;\">]>\
        <eCitation><uId id=\"&i;\"/></eCitation>";
    assert!(parse(bomb.as_bytes()).is_err());
    assert!(parse(b"<!DOCTYPE x [<!ENTITY a \"&a;\">]><eCitation>&a;</eCitation>").is_err());
}

#[test]
fn what_is_missing_is_named() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(list(empty.path(), &OPTIONS).unwrap_err().exit().code(), 66);
    let dir = folder(&[("1.xml", report("CXR1", "Clear.", "", &["a"], &[]))], &[]);
    assert_eq!(list(dir.path(), &OPTIONS).unwrap_err().exit().code(), 66, "no images");
    let listing = list(dir.path(), &ListOptions { labels_only: true, ..OPTIONS }).unwrap();
    assert_eq!(listing.images[0].path, "NLMCXR_png/a.png");
}
