//! One study on the page: the radiograph with its boxes, the generated report, the reference, and which sentence is
//! linked to which box. Plain values in, HTML out; the picture is embedded.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::preprocess::resize;
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::{ImageSize, Original};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use maud::{Markup, html};

use crate::error::{Error, Result};

/// A box on the radiograph.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseBox {
    /// Id in the lake; sentences name it.
    pub box_id: String,
    /// Decides the colour.
    pub class_id: i32,
    pub class_name: String,
    /// Detector confidence; `None` for a truth box.
    pub score: Option<f32>,
    pub region: BoxXyxy<Original>,
}

/// A sentence of the generated report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CaseSentence {
    pub text: String,
    /// Ids of the boxes that it is linked to.
    pub box_ids: Vec<String>,
}

/// A study, its boxes and its reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub study_id: String,
    /// Size of the radiograph, original pixels.
    pub size: ImageSize,
    /// The radiograph as JPEG bytes; `None` when its file cannot be read.
    pub picture: Option<Vec<u8>>,
    /// Accepted detections.
    pub boxes: Vec<CaseBox>,
    /// Truth boxes, where there are any.
    pub truths: Vec<CaseBox>,
    /// Sentences of the generated report.
    pub generated: Vec<CaseSentence>,
    /// Sentences of the reference; empty when there is none.
    pub reference: Vec<String>,
    /// Names and values, for instance ("ROUGE-L", "0.52").
    pub scores: Vec<(String, String)>,
    /// Warnings, for instance "needs review".
    pub flags: Vec<String>,
}

/// Longest side of an embedded picture, pixels.
const PICTURE_SIZE: u32 = 448;
const JPEG_QUALITY: u8 = 82;

/// A small JPEG of the radiograph for the page.
///
/// # Errors
/// When encoding fails: a defect of the program.
pub fn picture(radiograph: &Radiograph) -> Result<Vec<u8>> {
    picture_of_size(radiograph, PICTURE_SIZE)
}

/// As [`picture`], with the longest side at most `side_max` pixels.
///
/// # Errors
/// When encoding fails: a defect of the program.
pub fn picture_of_size(radiograph: &Radiograph, side_max: u32) -> Result<Vec<u8>> {
    let longest = radiograph.width.max(radiograph.height);
    let scale = (f64::from(side_max) / f64::from(longest)).min(1.0);
    let size = |n: u32| ((f64::from(n) * scale).round() as u32).max(1);
    let target = ImageSize { width: size(radiograph.width), height: size(radiograph.height) };
    let small = if scale < 1.0 { resize(radiograph, target) } else { radiograph.clone() };
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
        .encode(&small.pixels, small.width, small.height, ExtendedColorType::L8)
        .map_err(|e| Error::Internal(format!("encode a picture for the page: {e}")))?;
    Ok(bytes)
}

/// Base 64 with padding (RFC 4648).
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// A hue per class: neighbours in the list of classes are far apart, and all are bright on a dark radiograph.
pub fn colour(class_id: i32) -> String {
    format!("hsl({} 90% 66%)", (class_id.rem_euclid(360) * 137 + 190) % 360)
}

/// The study as an article; `number` counts from 1 and makes ids unique in the page.
pub fn render(case: &Case, number: usize) -> Markup {
    let heading = format!("case-{number}-heading");
    html! {
        article.case id={ "case-" (number) } aria-labelledby=(heading) {
            header {
                h3 id=(heading) { "Study " span.id { (case.study_id) } }
                ul.facts {
                    @for flag in &case.flags { li.flag { (flag) } }
                    @for (name, value) in &case.scores { li { (name) " " b { (value) } } }
                }
            }
            div.case-grid {
                figure {
                    (radiograph(case, number))
                    figcaption { (legend(case, number)) }
                }
                div.texts {
                    section {
                        h4 { "Generated" }
                        @if case.generated.is_empty() { p.none { "Nothing was generated." } }
                        ol.sentences { @for s in &case.generated { (sentence(case, s, number)) } }
                    }
                    section {
                        h4 { "Reference" }
                        @if case.reference.is_empty() { p.none { "No reference report." } }
                        ol.sentences.reference { @for s in &case.reference { li { (s) } } }
                    }
                }
            }
        }
    }
}

fn box_anchor(number: usize, index: usize) -> String {
    format!("case-{number}-box-{}", index + 1)
}

fn sentence(case: &Case, sentence: &CaseSentence, number: usize) -> Markup {
    let linked: Vec<(usize, &CaseBox)> =
        sentence.box_ids.iter().filter_map(|id| case.boxes.iter().enumerate().find(|(_, b)| b.box_id == *id)).collect();
    let anchors: Vec<String> = linked.iter().map(|(i, _)| box_anchor(number, *i)).collect();
    html! {
        li data-boxes=[(!anchors.is_empty()).then(|| anchors.join(" "))] {
            (sentence.text)
            @for (i, b) in &linked {
                " " a.chip href={ "#" (box_anchor(number, *i)) } style={ "--c:" (colour(b.class_id)) }
                    aria-label={ "box " (i + 1) ", " (b.class_name) } { (i + 1) }
            }
        }
    }
}

fn radiograph(case: &Case, number: usize) -> Markup {
    let ImageSize { width: w, height: h } = case.size;
    let unit = w.max(h).max(1) as f32 / 100.0;
    let label = format!("Radiograph of study {} with {} detected boxes", case.study_id, case.boxes.len());
    html! {
        svg.radiograph role="img" aria-label=(label) viewBox={ "0 0 " (w) " " (h) } style={ "--u:" (unit) "px" } {
            @match &case.picture {
                Some(bytes) => image href={ "data:image/jpeg;base64," (base64(bytes)) } width=(w) height=(h)
                    preserveAspectRatio="none" {},
                None => {
                    rect.missing width=(w) height=(h) {}
                    text.missing x=(w / 2) y=(h / 2) text-anchor="middle" { "file cannot be read" }
                }
            }
            @for b in &case.truths {
                g.truth { title { "truth: " (b.class_name) } (rectangle(&b.region, case.size)) }
            }
            @for (i, b) in case.boxes.iter().enumerate() {
                g.box id=(box_anchor(number, i)) style={ "--c:" (colour(b.class_id)) } {
                    title { (i + 1) " " (b.class_name) }
                    (rectangle(&b.region, case.size))
                    (tag(&b.region, i + 1, case.size))
                }
            }
        }
    }
}

fn rectangle(region: &BoxXyxy<Original>, size: ImageSize) -> Markup {
    let r = region.clip(size.width as f32, size.height as f32);
    html! { rect x=(r.x_min) y=(r.y_min) width=(r.width().max(0.0)) height=(r.height().max(0.0)) rx="2" {} }
}

/// The box's number on a plate at its upper left corner, kept inside the radiograph.
fn tag(region: &BoxXyxy<Original>, shown: usize, size: ImageSize) -> Markup {
    let ImageSize { width: w, height: h } = size;
    let unit = w.max(h).max(1) as f32 / 100.0;
    let (plate_w, plate_h) = (unit * if shown > 9 { 6.4 } else { 4.6 }, unit * 5.0);
    let x = region.x_min.clamp(0.0, (w as f32 - plate_w).max(0.0));
    let y = (region.y_min - plate_h).clamp(0.0, (h as f32 - plate_h).max(0.0));
    html! {
        rect.plate x=(x) y=(y) width=(plate_w) height=(plate_h) rx=(unit * 0.8) {}
        text x=(x + plate_w / 2.0) y=(y + plate_h * 0.76) text-anchor="middle" { (shown) }
    }
}

fn legend(case: &Case, number: usize) -> Markup {
    html! {
        @if case.boxes.is_empty() { p { "No detection was accepted." } }
        ol.boxes {
            @for (i, b) in case.boxes.iter().enumerate() {
                li data-boxes=(box_anchor(number, i)) style={ "--c:" (colour(b.class_id)) } {
                    span.number aria-hidden="true" { (i + 1) }
                    (b.class_name)
                    @if let Some(score) = b.score { span.score { (format!("{score:.2}")) } }
                }
            }
        }
        @if !case.truths.is_empty() {
            p.truth-note { span.dash aria-hidden="true" {} "Truth: "
                (case.truths.iter().map(|b| b.class_name.as_str()).collect::<Vec<_>>().join(", ")) }
        }
    }
}

#[cfg(test)]
mod tests;
