//! Lines that open a section, banners and lines of signs. Headings vary: misspelt, joined, with the projections instead
//! of FINDINGS, or an organ of a structured report.

/// What a heading names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Findings,
    Impression,
    FindingsAndImpression,
    /// `OTHER FINDINGS` and the like.
    FurtherFindings,
    /// The projections; `title`: with the examination (`PORTABLE CHEST`), not the views alone (`LATERAL VIEW`).
    Projections {
        title: bool,
    },
    /// `CHEST` alone: the examination, or a region of it under FINDINGS.
    Chest,
    /// A part of the body, a device or an abnormality.
    Organ,
    /// A section that is neither findings nor impression.
    OtherSection,
    /// Words in capitals.
    Unknown,
}

/// A line with a heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening<'a> {
    pub head: Head,
    /// What follows the colon.
    pub rest: &'a str,
    /// Written in capitals.
    pub capitals: bool,
}

/// Shortest and longest heading, bytes.
const SHORTEST: usize = 3;
const LONGEST: usize = 90;

/// The heading of a line. Words in capitals are one; in other letters only the known names are, so that
/// `Heart: normal size` stays text.
pub(super) fn opening(line: &str) -> Option<Opening<'_>> {
    let Some((head, rest)) = head_and_rest(line) else {
        // Without a colon: only the plain names, alone in their line.
        let head = match line {
            "FINDINGS" => Head::Findings,
            "IMPRESSION" => Head::Impression,
            "FINDINGS AND IMPRESSION" => Head::FindingsAndImpression,
            _ => return None,
        };
        return Some(Opening { head, rest: "", capitals: true });
    };
    let capitals = !head.contains(|c: char| c.is_ascii_lowercase());
    let digits = head.contains(|c: char| c.is_ascii_digit());
    let upper = head.to_ascii_uppercase();
    let words: Vec<&str> = upper.split(|c: char| !c.is_ascii_alphabetic()).filter(|w| !w.is_empty()).collect();
    let head = head_of(&words);
    let known = match head {
        Head::Findings | Head::Impression | Head::FindingsAndImpression => {
            !digits && (capitals || words.iter().all(|w| names_section(w) || BESIDE.contains(w)))
        }
        Head::Projections { .. } => capitals || line.starts_with(|c: char| c.is_ascii_uppercase()),
        Head::OtherSection => capitals || OTHERS.contains(&words.join(" ").as_str()),
        Head::FurtherFindings | Head::Chest | Head::Organ | Head::Unknown => capitals && !digits,
    };
    known.then_some(Opening { head, rest, capitals })
}

/// A line before and after the colon of its heading, which is not that of a time of day.
fn head_and_rest(line: &str) -> Option<(&str, &str)> {
    let of_time = |at: usize| {
        let (before, after) = (line[..at].bytes().next_back(), line[at + 1..].bytes().next());
        before.is_some_and(|b| b.is_ascii_digit()) && after.is_some_and(|b| b.is_ascii_digit())
    };
    let at = line.match_indices(':').map(|(at, _)| at).find(|&at| !of_time(at))?;
    let head = line[..at].trim();
    let wordy = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, ' ' | '(' | ')' | '/' | ',' | '-' | '&' | '.' | '_' | '#' | ':' | '\'' | '\u{2019}')
    };
    let is_head = (SHORTEST..=LONGEST).contains(&head.len())
        && head.chars().all(wordy)
        && head.starts_with(|c: char| c.is_ascii_alphabetic());
    is_head.then(|| (head, &line[at + 1..]))
}

/// Words beside the name of a section in a heading that is not in capitals.
const BESIDE: &[&str] = &["AND", "CHEST", "FINAL", "THE", "RADIOGRAPHIC", "RADIOLOGICAL", "X", "RAY", "OR"];

/// Sections that also end another one when they are not written in capitals; `(s)` is a word of its own.
const OTHERS: &[&str] = &[
    "INDICATION",
    "INDICATIONS",
    "COMPARISON",
    "COMPARISONS",
    "TECHNIQUE",
    "HISTORY",
    "CLINICAL HISTORY",
    "CLINICAL INDICATION",
    "CLINICAL INFORMATION",
    "EXAMINATION",
    "EXAM",
    "REASON FOR EXAM",
    "REASON FOR EXAMINATION",
    "RECOMMENDATION",
    "RECOMMENDATIONS",
    "RECOMMENDATION S",
    "NOTIFICATION",
    "NOTIFICATIONS",
    "ADDENDUM",
    "WET READ",
    "ELECTRONICALLY SIGNED BY",
];

fn head_of(words: &[&str]) -> Head {
    let has = |list: &[&str]| words.iter().any(|w| list.contains(w));
    // A sentence before a colon is no heading, whatever words it has.
    let short = words.len() <= 4;
    let findings = short && words.iter().any(|w| names_findings(w));
    let impression = short && words.iter().any(|w| names_impression(w));
    match (findings, impression) {
        (true, true) => Head::FindingsAndImpression,
        (true, false) if has(&["OTHER", "ADDITIONAL", "INCIDENTAL", "ANCILLARY", "ASSOCIATED"]) => {
            Head::FurtherFindings
        }
        (true, false) if words.iter().any(|w| is_organ(w)) => Head::Organ,
        (true, false) => Head::Findings,
        (false, true) => Head::Impression,
        (false, false) if words == ["CHEST"] => Head::Chest,
        (false, false) if is_projections(words) => Head::Projections { title: has(&["CHEST", "PORTABLE"]) },
        (false, false) if has(SECTION_WORDS) || words.iter().any(|w| near(w, "COMPARISON")) => Head::OtherSection,
        (false, false) if words.iter().any(|w| is_organ(w)) => Head::Organ,
        (false, false) => Head::Unknown,
    }
}

fn near(word: &str, name: &str) -> bool {
    word == name || (word.len() >= 6 && strsim::damerau_levenshtein(word, name) <= 2)
}

fn names_findings(word: &str) -> bool {
    near(word, "FINDINGS") || word == "FINDING"
}

fn names_impression(word: &str) -> bool {
    let other = matches!(word, "COMPRESSION" | "DEPRESSION" | "EXPRESSION");
    (near(word, "IMPRESSION") && !other) || matches!(word, "CONCLUSION" | "CONCLUSIONS" | "OPINION")
}

fn names_section(word: &str) -> bool {
    names_findings(word) || names_impression(word)
}

/// Words of which the title of an examination consists.
#[rustfmt::skip]
const PROJECTION_WORDS: &[&str] = &[
    "PA", "AP", "LAT", "LATERAL", "LATERALS", "VIEW", "VIEWS", "FRONTAL", "PORTABLE", "CHEST", "UPRIGHT", "ERECT",
    "SEMI", "SEMIUPRIGHT", "SEMIERECT", "SUPINE", "SEATED", "SITTING", "STANDING", "DECUBITUS", "LORDOTIC", "APICAL",
    "OBLIQUE", "INSPIRATORY", "EXPIRATORY", "SINGLE", "ONE", "TWO", "THREE", "FOUR", "DUAL", "MULTIPLE", "BEDSIDE",
    "RADIOGRAPH", "RADIOGRAPHS", "RADIOGRAPHY", "X", "RAY", "RAYS", "XRAY", "XRAYS", "CXR", "FILM", "FILMS", "IMAGE",
    "IMAGES", "OF", "THE", "AND", "WITH", "OR", "A", "FROM", "AT", "ON", "DATED", "M", "P", "AM", "PM", "HOURS",
    "HRS", "LEFT", "RIGHT",
];

/// One of these makes words of [`PROJECTION_WORDS`] a title.
#[rustfmt::skip]
const PROJECTIONS: &[&str] = &[
    "PA", "AP", "VIEW", "VIEWS", "FRONTAL", "PORTABLE", "CHEST", "RADIOGRAPH", "RADIOGRAPHS", "RADIOGRAPHY", "XRAY",
    "XRAYS", "CXR", "FILM", "FILMS", "RAY", "RAYS", "LATERAL", "UPRIGHT",
];

/// `PA AND LATERAL VIEWS`, `CHEST, TWO VIEWS`, `UPRIGHT PORTABLE`: nothing but projections and the examination. One
/// word alone (`VIEWS: 2`) is a detail of the technique, `PORTABLE` excepted.
fn is_projections(words: &[&str]) -> bool {
    words.iter().all(|w| PROJECTION_WORDS.contains(w))
        && words.iter().any(|w| PROJECTIONS.contains(w))
        && (words.len() > 1 || words == ["PORTABLE"] || words == ["CXR"])
}

/// A heading with one of these is another section.
#[rustfmt::skip]
const SECTION_WORDS: &[&str] = &[
    "EXAM", "EXAMINATION", "EXAMINATIONS", "EXAMS", "STUDY", "PROCEDURE", "INDICATION", "INDICATIONS", "REASON",
    "HISTORY", "CLINICAL", "INFORMATION", "PATIENT", "COMPARISON", "COMPARISONS", "REFERENCE", "TECHNIQUE", "DOSE",
    "CONTRAST", "RECOMMENDATION", "RECOMMENDATIONS", "NOTIFICATION", "NOTIFICATIONS", "COMMUNICATION", "ADDENDUM",
    "ADDENDA", "WET", "WETREAD", "READ", "REPORT", "PRELIMINARY", "PFI", "NOTE", "NOTES", "COMMENT", "COMMENTS",
    "DATE", "TIME", "DICTATED", "TRANSCRIBED", "SIGNED", "SIGNATURE", "ATTENDING", "RESIDENT", "RADIOLOGIST",
    "PHYSICIAN", "DR", "DISCUSSED", "QUESTION", "SYMPTOMS", "COMPLAINT", "DIAGNOSIS", "ACCESSION", "MRN", "CPT",
    "ICD",
];

/// How words for parts of the body, devices and abnormalities begin.
#[rustfmt::skip]
const ORGAN_STEMS: &[&str] = &[
    "LUNG", "LOBE", "LOBAR", "LINGULA", "ZONE", "BASE", "BASAL", "APIC", "FISSUR", "VOLUME", "HEART", "CARDI",
    "PERICARD", "SILHOUETTE", "CONTOUR", "PLEUR", "COSTOPHRENIC", "ANGLE", "SULC", "BONE", "BONY", "OSSEOUS", "SKELET",
    "MUSCULO", "MEDIASTIN", "HILA", "HILUM", "HILAR", "PULMON", "VASCUL", "VESSEL", "AORT", "TRACHEA", "AIRWAY",
    "BRONCH", "DIAPHRAGM", "HEMIDIAPHRAGM", "SUPPORT", "DEVICE", "LINE", "TUBE", "CATHETER", "HARDWARE", "PACE",
    "PICC", "ETT", "LEAD", "DEFIB", "DRAIN", "CLIP", "STENT", "VALVE", "WIRE", "SWAN", "FOREIGN", "IMPLANT",
    "SURGICAL", "POSTSURGICAL", "POSTOPERATIVE", "SOFT", "TISSUE", "SUBCUT", "SKIN", "WALL", "THORA", "PARENCHYM",
    "AIRSPACE", "INTERSTITI", "SPINE", "SPINAL", "VERTEBR", "SCOLIO", "DEGENERAT", "RIB", "CLAVIC", "SHOULDER",
    "STERN", "JOINT", "NECK", "THYROID", "LYMPH", "ESOPHAG", "GASTR", "STOMACH", "BOWEL", "ABDOM", "LIVER", "SPLEEN",
    "BREAST", "HERNIA", "OTHER", "MISC", "ADDITIONAL", "PNEUMO", "EFFUSION", "ATELECT", "EDEMA", "CONSOLID", "OPACIT",
    "INFILTRAT", "NODUL", "MASS", "LESION", "CAVIT", "CYST", "GRANULOM", "CALCIF", "EMPHYSEM", "HYPERINFL", "FIBRO",
    "SCAR", "FRACTUR", "DEFORM",
];

fn is_organ(word: &str) -> bool {
    ORGAN_STEMS.iter().any(|stem| word.starts_with(stem))
        || matches!(word, "RUL" | "RML" | "RLL" | "LUL" | "LLL" | "RIGHT" | "LEFT" | "BILATERAL" | "PORT" | "FREE")
}

/// A line of signs that separates: `_____`, `-----`, `=====`. Three underscores are a de-identified word.
pub(super) fn is_rule(line: &str) -> bool {
    let signs: Vec<char> = line.chars().filter(|c| !c.is_whitespace()).collect();
    let drawn = |c: &char| matches!(c, '_' | '-' | '=' | '*' | '~' | '#' | '\u{2013}' | '\u{2014}' | '\u{2500}');
    signs.len() >= 3 && signs.iter().all(drawn) && signs != ['_'; 3]
}

/// Words of which banners consist, and those that make them one.
#[rustfmt::skip]
const BANNER_WORDS: &[&str] = &[
    "FINAL", "PRELIMINARY", "PROVISIONAL", "INTERIM", "REVISED", "AMENDED", "CORRECTED", "ORIGINAL", "UNOFFICIAL",
    "SIGNED", "UNSIGNED", "RADIOLOGY", "VERSION", "NUMBER", "BEGIN", "START", "END", "OF", "TO", "THE", "AND",
    "WITH", "WET", "IMPRESSION", "FINDINGS", "CHEST", "FOR", "EXAM", "ATTENDING",
];
const BANNER_NAMES: &[&str] = &["REPORT", "ADDENDUM", "ADDENDA", "READ", "READING", "WETREAD", "END"];

/// How a banner begins that has more text in its line.
const BANNER_STARTS: &[&str] = &[
    "WET READ",
    "WETREAD",
    "ADDENDUM",
    "FINAL REPORT",
    "PRELIMINARY REPORT",
    "ELECTRONICALLY SIGNED",
    "DICTATED BY",
    "TRANSCRIBED BY",
];

/// A line that belongs to no section and ends the one before: `FINAL REPORT`, `ADDENDUM #1`, `*** WET READ ***`.
pub(super) fn is_banner(line: &str) -> bool {
    let drawn = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | ',' | ';' | ':' | '?' | '!');
    let bare = line.trim_matches(drawn);
    if head_and_rest(bare).is_some() {
        return false;
    }
    if BANNER_STARTS.iter().any(|start| bare.starts_with(start)) || bare.starts_with("Electronically signed") {
        return true;
    }
    let upper = bare.to_ascii_uppercase();
    let words: Vec<&str> = upper
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| w.contains(|c: char| c.is_ascii_alphabetic()))
        .collect();
    let title = bare.starts_with(|c: char| c.is_ascii_uppercase()) && !bare.contains(['.', ',', ';', '?', '!']);
    title
        && words.iter().any(|w| BANNER_NAMES.contains(w))
        && words.iter().all(|w| BANNER_WORDS.contains(w) || BANNER_NAMES.contains(w))
}
