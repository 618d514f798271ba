use super::*;

const FULL: &str = "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  \
    cough\n \n FINDINGS: \n \n The heart is large.\n Lungs: clear.\n \n IMPRESSION: \n \n Large heart.\n";

fn text(report: &str, wanted: Section) -> Result<String, NoSection> {
    section(report, wanted).map(|s| s.text)
}

#[track_caller]
fn assert_findings(report: &str, expected: &str) {
    assert_eq!(text(report, Section::Findings).as_deref(), Ok(expected), "{report}");
}

#[track_caller]
fn assert_impression(report: &str, expected: &str) {
    assert_eq!(text(report, Section::Impression).as_deref(), Ok(expected), "{report}");
}

#[test]
fn sections_of_a_full_report() {
    assert_findings(FULL, "The heart is large.\nLungs: clear.");
    assert_impression(FULL, "Large heart.");
    let both = section(FULL, Section::Both).unwrap();
    assert_eq!(both.text, "The heart is large.\nLungs: clear.\nLarge heart.");
    assert!(!both.partial);
}

#[test]
fn headings_vary() {
    for head in ["FINDINGS:", " FINDING:", "FINDNGS:", "FIDNINGS:", "Findings:", "CHEST FINDINGS:", "FINDINGS :"] {
        assert_findings(&format!("{head} one.\nIMPRESSION: two."), "one.");
    }
    for head in ["IMPRESSION:", "IMPRESSIONS:", "IMPRESSON:", "Impression:", "CONCLUSION:", "OPINION:", "IMPRESSION"] {
        assert_impression(&format!("FINDINGS: one.\n{head}\n two."), "two.");
    }
    for joint in ["FINDINGS AND IMPRESSION: one.", "FINDINGS/IMPRESSION: one.", "Findings and impression: one."] {
        for wanted in [Section::Findings, Section::Impression, Section::Both] {
            assert_eq!(text(joint, wanted).as_deref(), Ok("one."));
        }
    }
}

#[test]
fn projections_are_a_heading_of_findings() {
    for head in [
        "PA AND LATERAL VIEWS",
        "PA AND LATERAL VIEWS OF THE CHEST",
        "AP VIEW",
        "FRONTAL AND LATERAL VIEWS OF THE CHEST",
        "CHEST PA AND LATERAL",
        "CHEST, PA AND LATERAL",
        "CHEST (PA AND LAT)",
        "CHEST, TWO VIEWS",
        "CHEST, 2 VIEWS",
        "CHEST",
        "SINGLE AP PORTABLE VIEW",
        "UPRIGHT PORTABLE",
        "UPRIGHT PORTABLE CHEST RADIOGRAPH",
        "SEMI-UPRIGHT AP VIEW OF THE CHEST",
        "PORTABLE CHEST, 8:15 AM",
        "AP CHEST RADIOGRAPH AT 04:50 HOURS",
        "CHEST X-RAY",
        "AP FILM OF THE CHEST",
        "TWO VIEWS",
        "PORTABLE",
        "Frontal and lateral views of the chest",
    ] {
        for space in [" ", "\n", "\n \n "] {
            let report =
                format!(" HISTORY:  Pain.\n \n {head}:{space}The lungs are clear.\n \n IMPRESSION:  Normal.\n");
            assert_findings(&report, "The lungs are clear.");
            assert_impression(&report, "Normal.");
        }
    }
    for other in ["EXAMINATION", "TECHNIQUE", "COMPARISON", "COMPARISON FILM", "VIEWS", "TYPE OF EXAM", "CT CHEST"] {
        let report = format!(" {other}:  PA and lateral views.\n \n IMPRESSION:  Normal.\n");
        assert_eq!(text(&report, Section::Findings), Err(NoSection::Missing), "{other}");
    }
    // A title over the whole report is empty; the named section counts.
    assert_findings("CHEST, PA LATERAL:\n\n INDICATION: pain.\n\n FINDINGS: one.\n", "one.");
    assert_findings(
        "CHEST, PA LATERAL:\n\n INDICATION: pain.\n\n FINDINGS:\n\n IMPRESSION: x\n PORTABLE CHEST: two.\n",
        "two.",
    );
    assert_findings("FRONTAL VIEW: one.\n LATERAL VIEW: two.\n IMPRESSION: x\n", "one.\nLATERAL VIEW: two.");
    assert_findings("FINDINGS:\n PA VIEW: one.\n LATERAL VIEW: two.\n", "PA VIEW: one.\nLATERAL VIEW: two.");
}

#[test]
fn organs_are_sub_headings() {
    let report = " FINDINGS:\n LUNGS:  Clear.\n The heart is normal.\n \n IMPRESSION:  Normal.\n";
    assert_findings(report, "LUNGS:  Clear.\nThe heart is normal.");
    assert_impression(report, "Normal.");
    let organs = [
        "LUNGS",
        "HEART",
        "PLEURA",
        "BONES",
        "MEDIASTINUM",
        "SUPPORT DEVICES",
        "LINES AND TUBES",
        "LINES/TUBES",
        "ABDOMEN",
        "CARDIAC SILHOUETTE",
        "UPPER ABDOMEN",
        "OTHER",
        "OTHER FINDINGS",
        "ADDITIONAL FINDINGS",
        "BONES AND SOFT TISSUES",
        "OSSEOUS STRUCTURES",
        "HEART AND MEDIASTINUM",
        "CARDIOMEDIASTINAL SILHOUETTE",
        "PLEURAL SPACES",
        "CHEST WALL",
        "CHEST",
        "TRACHEA",
        "PNEUMOTHORAX",
        "RIGHT LUNG",
        "DIAPHRAGM",
        "VISUALIZED UPPER ABDOMEN",
        "RLL",
        "LEFT",
        "SWAN-GANZ CATHETER",
        "FREE AIR",
    ];
    for (first, second) in organs.iter().zip(organs.iter().rev()) {
        for space in ["\n", "\n \n"] {
            let report = format!(
                " FINDINGS:{space} {first}:  Normal.\n \n {second}: Clear.\n More.\n RECOMMENDATION(S):  None.\n"
            );
            assert_findings(&report, &format!("{first}:  Normal.\n\n{second}: Clear.\nMore."));
        }
    }
    assert_impression("IMPRESSION:\n 1. None.\n LUNGS: Clear.\n", "1. None.\nLUNGS: Clear.");
    assert_findings("CHEST, TWO VIEWS:\n LUNGS: Clear.\n HEART: Normal.\n", "LUNGS: Clear.\nHEART: Normal.");
    // Without any other heading of findings, the organs are it.
    let bare = "HISTORY: pain.\n LUNGS: Clear.\n HEART: Normal.\n The aorta too.\n IMPRESSION: one.";
    assert_findings(bare, "LUNGS: Clear.\nHEART: Normal.\nThe aorta too.");
    // Below an empty heading any line is text.
    assert_findings("FINDINGS:\n GALLBLADDER:  Absent.\n Clear.\n IMPRESSION: x", "GALLBLADDER:  Absent.\nClear.");
}

#[test]
fn other_sections_end_the_findings() {
    for other in [
        "RECOMMENDATION",
        "RECOMMENDATION(S)",
        "NOTIFICATION",
        "COMPARISON",
        "COMPARSION",
        "TECHNIQUE",
        "WET READ",
        "ADDENDUM",
        "CLINICAL HISTORY",
        "HISTORY OF LUNG CANCER",
        "PFI",
        "DR. SMITH",
        "SOMETHING ELSE",
    ] {
        assert_findings(&format!("FINDINGS: Clear.\n {other}: no findings.\n Other."), "Clear.");
    }
}

#[test]
fn the_last_section_of_a_name_counts() {
    let report = "FINAL REPORT\n ADDENDUM\n \n ______________\n FINDINGS:  The nodule is benign.\n \n \
        IMPRESSION:  Benign nodule.\n \n ______________\n FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n \
        FINDINGS:  There is a nodule.\n \n IMPRESSION:  Nodule, suspicious.\n";
    assert_findings(report, "There is a nodule.");
    assert_impression(report, "Nodule, suspicious.");
    assert_eq!(text(report, Section::Both).as_deref(), Ok("There is a nodule.\nNodule, suspicious."));
    // An addendum after the report: its sections where it has them, the report's where it has not.
    let after = "FINDINGS: one.\n IMPRESSION: two.\n ======\n ADDENDUM\n IMPRESSION: three.\n";
    assert_findings(after, "one.");
    assert_impression(after, "three.");
    let free = "FINDINGS: one.\n IMPRESSION: two.\n ADDENDUM:  Telephoned.\n";
    assert_impression(free, "two.");
    // Of the names of findings the last with text, whatever the heading.
    let titled = "ADDENDUM\n FINDINGS: one.\n FINAL REPORT\n PA AND LATERAL VIEWS: two.\n IMPRESSION: x.";
    assert_findings(titled, "two.");
    assert_findings("FINDINGS: one.\n IMPRESSION: x.\n FINDINGS:\n IMPRESSION:\n", "one.");
    let joint = "FINDINGS AND IMPRESSION: one.\n ADDENDUM\n IMPRESSION: two.";
    assert_eq!(text(joint, Section::Both).as_deref(), Ok("one.\ntwo."));
}

#[test]
fn lines_of_signs_and_banners_are_no_text() {
    for rule in ["____", "______________", "----", "====", "= = = =", "*****", "~~~~"] {
        let report = format!("FINDINGS:\n {rule}\n Clear.\n {rule}\n IMPRESSION: Normal.\n {rule}\n");
        assert_findings(&report, "Clear.");
        assert_impression(&report, "Normal.");
    }
    for banner in [
        "FINAL REPORT",
        "ADDENDUM",
        "ADDENDUM #1",
        "*** ADDENDUM ***",
        "WET READ",
        "WET READ VERSION #1  ___ 8:09 PM",
        "PRELIMINARY REPORT",
        "____ FINAL REPORT ____",
        "Final Report",
        "END OF IMPRESSION",
        "END OF REPORT",
        "ADDENDUM  The nodule is new.",
        "Electronically signed by Dr. ___ on 1/2/2020 3:04 PM",
    ] {
        let report = format!("FINDINGS: Clear.\n IMPRESSION: Normal.\n {banner}\n Something else.\n");
        assert_impression(&report, "Normal.");
        let report = format!("FINDINGS: Clear.\n {banner}\n Something else.\n IMPRESSION: Normal.\n");
        assert_findings(&report, "Clear.");
    }
    // A de-identified word and sentences with the words of banners are text.
    assert_findings("FINDINGS: As of\n ___\n final report.\n Read by ___.", "As of\n___\nfinal report.\nRead by ___.");
}

#[test]
fn missing_and_empty_sections_differ() {
    assert_eq!(text("IMPRESSION: two.", Section::Findings), Err(NoSection::Missing));
    assert_eq!(text("FINDINGS:\n \nIMPRESSION: two.", Section::Findings), Err(NoSection::Empty));
    assert_eq!(text("", Section::Both), Err(NoSection::Missing));
    assert_eq!(text("no heading here", Section::Impression), Err(NoSection::Missing));
    assert_eq!(text("FINDINGS:\nIMPRESSION:", Section::Both), Err(NoSection::Empty));
    let one = section("IMPRESSION: two.", Section::Both).unwrap();
    assert_eq!((one.text.as_str(), one.partial), ("two.", true));
}

#[test]
fn text_with_colons_stays_text_and_capitals_end_a_section() {
    let report = "FINDINGS: Tubes: none.\nIn summary the findings are these: small.\nThe key findings are: one.\n\
        COMPRESSION FRACTURE: T8.\nWET READ: ABC\nsigned";
    let kept = "Tubes: none.\nIn summary the findings are these: small.\nThe key findings are: one.\n\
        COMPRESSION FRACTURE: T8.";
    assert_findings(report, kept);
    assert_findings("FINDINGS: a.\r\nRecommendation: b.\r\n", "a.");
}

#[test]
fn files_of_any_encoding_keep_their_first_heading() {
    let report = "FINDINGS:  Can\u{2019}t exclude \u{201c}nodule\u{201d}.\r\n\r\nIMPRESSION:\u{a0} None.\r\n";
    let (findings, impression) = ("Can\u{2019}t exclude \u{201c}nodule\u{201d}.", "None.");
    let utf_16 = |text: &str, order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    let marked = format!("\u{feff}{report}");
    let windows: Vec<u8> = report
        .chars()
        .map(|c| match c {
            '\u{2019}' => 0x92,
            '\u{201c}' => 0x93,
            '\u{201d}' => 0x94,
            c => u8::try_from(u32::from(c)).unwrap(),
        })
        .collect();
    let files = [
        report.as_bytes().to_vec(),
        marked.as_bytes().to_vec(),
        format!("\u{feff}{marked}").into_bytes(),
        utf_16(&marked, u16::to_le_bytes),
        utf_16(&marked, u16::to_be_bytes),
        utf_16(report, u16::to_le_bytes),
        utf_16(report, u16::to_be_bytes),
        windows,
        report.replace("\r\n", "\r").into_bytes(),
        report.replace(' ', "\u{a0}").into_bytes(),
        report.replace("\r\n", "\u{2028}").into_bytes(),
        report.replace("  ", "\t").into_bytes(),
    ];
    for (i, bytes) in files.iter().enumerate() {
        let text = text_of(bytes).unwrap_or_else(|_| panic!("file {i}"));
        assert_findings(&text, findings);
        assert_impression(&text, impression);
    }
    // Text that was decoded elsewhere keeps its first heading as well.
    assert_findings(&marked, findings);
    // A byte of Windows-1252 among UTF-8 does not disturb the rest.
    let mixed = [b"FINDINGS: caf\xc3\xa9 can".as_slice(), b"\x92t.".as_slice()].concat();
    assert_findings(&text_of(&mixed).unwrap(), "caf\u{e9} can\u{2019}t.");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let no_text: [&[u8]; 5] =
        [b"\xff\xfeF\x00I", b"FINDINGS\x00: a", b"\x89PNG\r\n\x1a\n\x00\x00", b"a \x81 b", b"\xff\xfe\x00\xd8a\x00"];
    for bytes in no_text {
        assert_eq!(text_of(bytes), Err(NotText), "{bytes:?}");
    }
    assert_eq!(text_of(b""), Ok(String::new()));
    assert_eq!(text_of(b"\xef\xbb\xbf"), Ok(String::new()));
}
