//! Patterns of the rule labeler: terms that name an abnormality, and negation and uncertainty cues (after NegEx, Chapman et al.
//! 2001). The patterns are our own, for lower-case text with single blanks; the first of a list that matches at a position wins.

use std::sync::LazyLock;

use regex::Regex;

/// What a term asserts by itself, before cues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assertion {
    /// Present unless a cue negates it or makes it uncertain.
    Present,
    /// Absent for all cues ("heart size is normal").
    Absent,
    /// Uncertain unless a cue negates it.
    Possible,
    /// Contains another term and asserts nothing ("pericardial effusion").
    None,
}

pub(super) struct Term {
    pattern: &'static str,
    /// CheXpert labels named.
    pub labels: &'static [&'static str],
    /// VinDr-CXR class named.
    pub class: Option<&'static str>,
    pub assertion: Assertion,
}

const fn present(pattern: &'static str, label: &'static [&'static str], class: Option<&'static str>) -> Term {
    Term { pattern, labels: label, class, assertion: Assertion::Present }
}

const fn absent(pattern: &'static str, labels: &'static [&'static str]) -> Term {
    Term { pattern, labels, class: None, assertion: Assertion::Absent }
}

/// Verbs and adverbs between a subject and its predicate.
const BETWEEN: &str = r"(?: (?:is|are|was|were|appears?|remains?|seems?|size|silhouettes?|shadows?|contours?|borders?|knob|arch|again|now|still|to be|not|no longer|at|in|the|mildly|minimally|slightly|moderately|markedly|severely|massively|mild|moderate|grossly|overall|stable|stably|diffusely|somewhat|upper|limits of|has been|and|unchanged|all|both|otherwise|essentially|relatively|generally|also|of))*";
const HEART: &str = r"(?:heart|cardiac|cardio-?pericardial)(?: (?:size|silhouettes?|shadows?|contours?|borders?))*";
const MEDIASTINUM: &str = r"(?:cardio-?mediastinal|cardio-?mediastinum|superior mediastinal|mediastinal|mediastinum)(?: (?:silhouettes?|contours?|borders?|shadows?|structures|width))*";
/// Heart and mediastinum in one word.
const CARDIOMEDIASTINUM: &str =
    r"(?:cardio-?mediastinal|cardio-?mediastinum)(?: (?:silhouettes?|contours?|borders?|shadows?|structures|size))*";
/// Between two subjects of a predicate.
const JOINED: &str = r"(?:,? and (?:the )?|, (?:the )?| ?/ ?| & )";
/// Further subjects of a predicate on heart or mediastinum.
const WITH_OTHERS: &str = r"(?:(?:,? and (?:the )?|, (?:the )?| ?/ ?| & )(?:hila|hilum|hilar(?: (?:contours?|structures|shadows?|silhouettes?|regions?))?|(?:pulmonary )?(?:vasculature|vascularity|vessels)|aorta|aortic contours?|great vessels|trachea|lungs?|pleural (?:contours?|surfaces)|contours?|silhouettes?|size))*";
const AORTA: &str = r"(?:thoracic |descending |ascending )?(?:aorta|aortic (?:arch|knob|root|contour|shadow))";
const LARGE: &str = r"(?:enlarged|large|dilated|prominent|tortuous|ectatic|elongated|unfolded|widened|increased)";
const NORMAL: &str =
    r"(?:top[- ]normal|normal|unremarkable|within normal limits|within the normal range|not enlarged|not widened)";

/// What collapses without being lung.
const NO_LUNG: &str = r"vertebra[a-z]*|(?:thoracic|lumbar) (?:spine|body|bodies)|end-?plates?|dis[ck]s?|spine|spinal|[tlcs]-?[0-9]{1,2}|trachea|tracheal|airways?|bronch(?:us|i|ial)|tracheobronchial|(?:humeral|femoral) heads?|veins?|ivc|balloons?";

const ECM: &[&str] = &["Enlarged Cardiomediastinum"];
const HEART_LABEL: &[&str] = &["Cardiomegaly"];
const HEART_AND_MEDIASTINUM: &[&str] = &["Cardiomegaly", "Enlarged Cardiomediastinum"];
const OPACITY: &[&str] = &["Lung Opacity"];
const LESION: &[&str] = &["Lung Lesion"];
const EDEMA: &[&str] = &["Edema"];
const EFFUSION: &[&str] = &["Pleural Effusion"];
const PLEURA: &[&str] = &["Pleural Other"];
const FRACTURE: &[&str] = &["Fracture"];
const DEVICES: &[&str] = &["Support Devices"];

/// Terms by priority. `{heart}` and the like are replaced by the constants above.
const TERMS: &[Term] = &[
    // Words that contain another term and mean something else.
    Term {
        pattern: r"pericardial (?:effusions?|calcifications?|fluid)|(?:knee|joint|hip) effusions?|(?:thoracic|chest|pleural|abdominal|peritoneal|nasal|oral) cavit(?:y|ies)|free air",
        labels: &[],
        class: None,
        assertion: Assertion::None,
    },
    Term {
        pattern: r"(?:aortic|aorta|vascular|coronary|mitral|valvular|annular|atherosclerotic|arterial|tracheal|costochondral|nodal)(?: (?:arch|knob|annulus|valve|artery|wall))? (?:calcifications?|is calcified)|calcified (?:(?:hilar|mediastinal|thoracic) )?(?:aorta|aortic(?: arch| knob)?|lymph nodes?|nodes?)|calcifications? of the (?:thoracic )?(?:aorta|aortic(?: arch| knob)?)|mass effect",
        labels: &[],
        class: None,
        assertion: Assertion::None,
    },
    // Collapse of what is no lung.
    Term {
        pattern: r"(?:{no_lung})(?: (?:bod(?:y|ies)|space|height|level|segment|compression|and|is|are|was|were|has|have|partial(?:ly)?|complete(?:ly)?|mild(?:ly)?|severe(?:ly)?|anterior|wedge|[0-9]+))* (?:collaps(?:e|es|ed|ing))|collaps(?:e|es|ed|ing)(?: (?:of|in|at|involving|the|a|an|several|multiple|mid|lower|upper|thoracic|lumbar|cervical|dorsal|superior|inferior|anterior|known|old|chronic|partial))* (?:{no_lung})",
        labels: &[],
        class: None,
        assertion: Assertion::None,
    },
    // Heart and mediastinum together, then the heart.
    absent(
        r"(?:{cardiomediastinum}|{heart}{others}{joined}{mediastinum}|{mediastinum}{others}{joined}{heart}){others}{between} {normal}|{normal}(?: size| sized)?(?: appearance)?(?: of)?(?: the)? (?:{cardiomediastinum}|{heart}{others}{joined}{mediastinum}|{mediastinum}{others}{joined}{heart})",
        HEART_AND_MEDIASTINUM,
    ),
    absent(
        r"{heart}{others}{between} {normal}|(?:\bnormal|unremarkable)(?: size| sized)?(?: of)?(?: the)? (?:heart|cardiac)(?: (?:size|silhouette))?",
        HEART_LABEL,
    ),
    present(
        r"(?:{heart}{others}{joined}{mediastinum}|{mediastinum}{others}{joined}{heart}){others}{between} (?:enlarged|widened|prominent)",
        HEART_AND_MEDIASTINUM,
        Some("Cardiomegaly"),
    ),
    Term {
        pattern: r"borderline(?: enlarged| in size)? (?:heart|cardiac)(?: (?:size|silhouette))?|{heart}{between} borderline(?: enlarged| in size| enlargement)?|borderline cardiomegaly",
        labels: HEART_LABEL,
        class: Some("Cardiomegaly"),
        assertion: Assertion::Possible,
    },
    present(
        r"cardiomegaly|cardiac enlargement|{heart}{between} (?:enlarged|large|enlargement|dilated|increased in size)|(?:enlarged|large|dilated) (?:heart|cardiac (?:silhouette|size|shadow))|enlargement of (?:the )?(?:heart|cardiac (?:silhouette|size))|enlarged cardiomediastinal silhouette",
        HEART_LABEL,
        Some("Cardiomegaly"),
    ),
    // Mediastinum and great vessels.
    absent(
        r"{mediastinum}{others}{between} {normal}|(?:\bnormal|unremarkable) (?:mediastinum|mediastinal (?:contours?|silhouette))",
        ECM,
    ),
    present(
        r"mediastinal shift|shift of (?:the )?mediastinum|mediastinum{between} (?:shifted|displaced)|(?:shifted|displaced) mediastinum",
        ECM,
        Some("Mediastinal shift"),
    ),
    present(
        r"(?:enlarged|dilated|prominent)(?: (?:main|left|right|central))? pulmonary arter(?:y|ies)|(?:main |central )?pulmonary arter(?:y|ies){between} {large}|(?:enlargement|dilatation|dilation) of (?:the )?(?:main |central )?pulmonary arter(?:y|ies)|pulmonary arter(?:y|ial) enlargement",
        ECM,
        Some("Enlarged PA"),
    ),
    present(
        r"{aorta}{between} {large}|(?:{large}) (?:and \w+ )?(?:thoracic )?(?:aorta|aortic (?:arch|knob|contour|shadow))|aortic (?:enlargement|dilatation|dilation|ectasia|tortuosity|aneurysm|unfolding)|(?:enlargement|dilatation|dilation|tortuosity|aneurysm|unfolding|widening|prominence) of (?:the )?{aorta}",
        ECM,
        Some("Aortic enlargement"),
    ),
    present(
        r"{mediastinum}{others}{between} (?:enlarged|widened|wide|prominent)|widened mediastinum|(?:mediastinal|cardiomediastinal) (?:widening|enlargement)|widening of (?:the )?mediastinum|(?:widened|enlarged|prominent) (?:mediastinum|mediastinal (?:contours?|silhouette))",
        ECM,
        None,
    ),
    // Lungs.
    absent(
        r"(?:both )?(?:lungs|lung (?:fields|zones|parenchyma)){between}(?: (?:well|fully|adequately|expanded|inflated|aerated|hyperinflated|hyperexpanded|otherwise|essentially|and))* clear|(?:\bclear) lungs",
        OPACITY,
    ),
    present(
        r"(?:interstitial |alveolar |pulmonary |vascular |perihilar )*o?edema|(?:pulmonary )?vascular congestion|pulmonary (?:venous )?congestion|congestive heart failure|\bchf\b|(?:heart|cardiac) failure|pulmonary venous hypertension|cephalization",
        EDEMA,
        Some("Edema"),
    ),
    present(r"consolidat(?:ions?|ive|ed)", &["Consolidation"], Some("Consolidation")),
    present(
        r"(?:broncho)?pneumonias?|pna|infections?|infectious(?: (?:process|infiltrates?|etiology))?|pneumonic (?:process|infiltrates?)",
        &["Pneumonia"],
        None,
    ),
    present(r"atelecta(?:sis|ses|tic)|collaps(?:e|es|ed|ing)", &["Atelectasis"], Some("Atelectasis")),
    present(r"(?:hydro)?pneumothora(?:x|ces)|ptx", &["Pneumothorax"], Some("Pneumothorax")),
    present(
        r"calcified (?:lung |pulmonary |pleural )?(?:granulomas?|granulomata|nodules?|lesions?|foci|focus)|granulomas?|granulomata|calcifications?|calcified",
        LESION,
        Some("Calcification"),
    ),
    present(r"cavit(?:y|ies|ary|ations?)(?: lesions?)?", LESION, Some("Lung cavity")),
    present(r"cysts?|cystic (?:lesions?|changes?)|bullae?|blebs?", LESION, Some("Lung cyst")),
    present(
        r"nodules?|nodular(?: (?:opacit(?:y|ies)|densit(?:y|ies)|lesions?))?|mass(?:es)?|tumou?rs?|neoplasms?|malignancy",
        LESION,
        Some("Nodule/Mass"),
    ),
    present(r"infiltrat(?:es?|ions?|ive)", OPACITY, Some("Infiltration")),
    present(
        r"(?:reticul(?:ar|o-?nodular) )?interstitial(?: (?:lung disease|thickening|markings?|patterns?|opacit(?:y|ies)|changes?|prominence|abnormality))?|reticul(?:ar|o-?nodular|ation)(?: opacit(?:y|ies))?",
        OPACITY,
        Some("ILD"),
    ),
    present(r"fibro(?:sis|tic)|scarring", OPACITY, Some("Pulmonary fibrosis")),
    present(
        r"opacit(?:y|ies)|opacifications?|air[- ]?space (?:disease|process)|haziness|ground[- ]glass",
        OPACITY,
        Some("Lung Opacity"),
    ),
    present(r"emphysem(?:a|atous)", &[], Some("Emphysema")),
    // Pleura.
    present(
        r"pleural (?:thickening|plaques?|scar(?:ring)?|fibrosis)|thickening of (?:the )?(?:[a-z]+ )?pleura|thickened pleura|pleura{between} thickened|(?:bi)?apical thickening|fibrothorax",
        PLEURA,
        Some("Pleural thickening"),
    ),
    present(
        r"(?:pleural )?effusions?|pleural fluid|hydrothora(?:x|ces)|ha?emothora(?:x|ces)",
        EFFUSION,
        Some("Pleural effusion"),
    ),
    absent(
        r"costophrenic (?:angles?|sulc(?:us|i)|recess(?:es)?){between} (?:sharp|clear|preserved|maintained)",
        EFFUSION,
    ),
    Term {
        pattern: r"blunt(?:ing|ed)(?: of)?(?: the)?(?: (?:left|right|bilateral|both|lateral|posterior))* costophrenic|costophrenic (?:angles?|sulc(?:us|i)){between} blunted",
        labels: EFFUSION,
        class: None,
        assertion: Assertion::Possible,
    },
    // Bones.
    present(
        r"clavic(?:le|ular) fractures?|fractures? of (?:the )?(?:(?:left|right|both|mid|distal) )*clavicles?|clavicles?{between} fractured|fractured(?: (?:left|right))? clavicles?",
        FRACTURE,
        Some("Clavicle fracture"),
    ),
    present(
        r"rib fractures?|fractures? (?:of|involving|in) (?:the )?(?:[a-z0-9-]+ ){0,4}ribs?|ribs?{between} fractured|fractured(?: (?:left|right))?(?: [a-z0-9-]+)? ribs?",
        FRACTURE,
        Some("Rib fracture"),
    ),
    present(r"fractures?|fractured", FRACTURE, None),
    // Devices.
    present(
        r"pace ?makers?|pacing (?:device|leads?|wires?)|pacer|defibrillator|\bicd\b|\bpicc\b|(?:endotracheal|nasogastric|orogastric|enteric|feeding|chest|tracheostomy|dobbhoff|ng|et) tubes?|tubes?|catheters?|(?:central|venous|subclavian|jugular|picc)(?: venous)? lines?|port-?a-?cath|\bport\b|(?:sternotomy|sternal|median) wires?|stents?|pigtail|drains?|(?:prosthetic|replaced|artificial)(?: \w+)? valves?|valve replacement|swan-ganz|support devices?|hardware",
        DEVICES,
        None,
    ),
    // Any other lesion.
    present(r"lesions?", &[], Some("Other lesion")),
];

/// A compiled list: one capture group per entry.
pub(super) struct Compiled {
    regex: Regex,
}

impl Compiled {
    fn new(patterns: impl Iterator<Item = String>) -> Self {
        let groups: Vec<String> = patterns.map(|p| format!("({p})")).collect();
        let whole = format!(r"\b(?:{})\b", groups.join("|"));
        Self { regex: Regex::new(&whole).expect("the patterns of this file are constants and tested") }
    }

    /// Non-overlapping matches from the left: index of the entry, first byte, one past the last byte.
    pub fn matches(&self, text: &str) -> Vec<(usize, usize, usize)> {
        let indexed = |c: regex::Captures<'_>| {
            let (entry, found) = c.iter().enumerate().skip(1).find_map(|(i, m)| m.map(|m| (i - 1, m)))?;
            Some((entry, found.start(), found.end()))
        };
        self.regex.captures_iter(text).filter_map(indexed).collect()
    }
}

/// The patterns' own groups are non-capturing, so that a capture's index is the entry's.
static COMPILED_TERMS: LazyLock<Compiled> = LazyLock::new(|| {
    Compiled::new(TERMS.iter().map(|t| {
        t.pattern
            .replace("{between}", BETWEEN)
            .replace("{heart}", HEART)
            .replace("{mediastinum}", MEDIASTINUM)
            .replace("{aorta}", AORTA)
            .replace("{large}", LARGE)
            .replace("{normal}", NORMAL)
            .replace("{cardiomediastinum}", CARDIOMEDIASTINUM)
            .replace("{others}", WITH_OTHERS)
            .replace("{joined}", JOINED)
            .replace("{no_lung}", NO_LUNG)
    }))
});

/// Terms in a clause, from the left.
pub(super) fn terms_in(clause: &str) -> Vec<(&'static Term, usize, usize)> {
    COMPILED_TERMS.matches(clause).into_iter().map(|(i, start, end)| (&TERMS[i], start, end)).collect()
}

/// Effect and direction of a cue: forward changes terms after it, backward terms before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cue {
    /// Contains a negation word and negates nothing ("no change").
    PseudoNegation,
    /// Uncertainty that has precedence over a negation farther away ("cannot exclude"). Forward where an object follows,
    /// else backward ("difficult to exclude").
    NotExcluded,
    /// The same of terms before ("cannot be excluded").
    NotExcludedBackward,
    UncertaintyForward,
    UncertaintyBackward,
    NegationForward,
    NegationBackward,
}

pub(super) const SEEN: &str = r"(?:seen|identified|demonstrated|visuali[sz]ed|present|evident|apparent|appreciated|noted|observed|found|detected|shown)";
/// Adverbs and auxiliaries between a negation and "exclude".
pub(super) const FULLY: &str = r"(?: (?:entirely|completely|definitely|definitively|totally|fully|wholly|confidently|reliably|absolutely|necessarily|safely|clearly|easily|readily|adequately|convincingly|radiographically|currently|yet|also|be|been|with certainty))*";

const CUES: &[(Cue, &str)] = &[
    (
        Cue::PseudoNegation,
        r"(?:no|without|not)(?: any)?(?: (?:significant|definite|appreciable|substantial|interval|obvious|other))*(?: (?:change|changes|changed|improvement|worsening|progression|increase|decrease))|no longer any change|not only|not necessarily",
    ),
    (
        Cue::NotExcluded,
        r"(?:(?:is|are|was|were|remains?|it is|would be) )?(?:cannot|could not|may not|not|unable to|impossible to|difficult to|hard to|not possible to|insufficient to){fully} (?:exclude|rule out)",
    ),
    (
        Cue::NotExcludedBackward,
        r"(?:(?:is|are|was|were|has|have|remains?) )?(?:cannot|could not|may not|should not|not|never|incompletely){fully} (?:excluded|ruled out)|(?:should|must|needs? to|has to|have to|to|can|may|might|could) be (?:excluded|ruled out)",
    ),
    (
        Cue::UncertaintyBackward,
        r"(?:is|are|was|were) (?:possible|suspected|questioned|questionable|probable|likely|suggested|considered|a consideration|a possibility|equivocal|of concern)",
    ),
    (
        Cue::NegationBackward,
        r"(?:(?:is|are|was|were|has|have) )?(?:been )?(?:not|no longer)(?: clearly| definitely| well| currently| otherwise)? {seen}|(?:(?:has|have|is|are) )?(?:now |since |completely |largely |nearly |been )*(?:resolved|cleared|removed)|(?:(?:is|are|was|were|has|have) )?(?:been )?(?:absent|excluded|ruled out|unlikely)|none|nil",
    ),
    (
        Cue::UncertaintyForward,
        r"(?:may|might|could|would)(?: also)?(?: \w+)?|possib(?:le|ly)|probab(?:le|ly)|(?:less |most |more )?likely|suspicious for|suspicion (?:of|for)|suspected|suspect|concern(?:ing)? for|worrisome for|suggest(?:s|ed|ing|ive of)?|question(?:able)?(?: of)?|questioned|equivocal|presumed|presumably|potential(?:ly)?|vs|differential (?:diagnosis )?includes|(?:evaluate|evaluation|assess|assessment) for|rule out|exclude|borderline",
    ),
    (
        Cue::NegationForward,
        r"(?:no|without)(?: (?:definite|definitive|convincing|radiographic|focal|acute|obvious|clear))* (?:evidence|signs?|suggestion|findings?) (?:of|for|to suggest)|negative for|(?:free|clear) (?:of|from)|(?:absence|lack|resolution|clearing|removal|re-?expansion) of|resolved|rather than|denies|neither|nor|without|w/o|no|not|never|fails to (?:show|demonstrate)",
    ),
];

static COMPILED_CUES: LazyLock<Compiled> =
    LazyLock::new(|| Compiled::new(CUES.iter().map(|(_, p)| p.replace("{seen}", SEEN).replace("{fully}", FULLY))));

/// Cues in a clause, from the left.
pub(super) fn cues_in(clause: &str) -> Vec<(Cue, usize, usize)> {
    COMPILED_CUES.matches(clause).into_iter().map(|(i, start, end)| (CUES[i].0, start, end)).collect()
}
