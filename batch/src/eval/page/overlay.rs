//! The picture of a report: the radiograph with its boxes, and beside it each sentence with the boxes that it is linked
//! to and the link's weight. A standalone SVG with the radiograph embedded; it loads nothing.

use d2r_contracts::space::ImageSize;
use maud::{Markup, PreEscaped, html};

use crate::eval::page::gallery::{CaseBox, base64, colour};

/// Width and height of the radiograph's half, SVG units.
const IMAGE: f32 = 480.0;
/// Width of the text's half.
const TEXT: f32 = 420.0;
const MARGIN: f32 = 16.0;
const LINE: f32 = 19.0;
/// Characters that fit a line of text.
const COLUMNS: usize = 54;

/// A radiograph, its boxes and its report.
#[derive(Debug)]
pub struct Overlay<'a> {
    pub image_id: &'a str,
    /// The radiograph as JPEG bytes.
    pub picture: &'a [u8],
    /// Size of the radiograph, original pixels.
    pub size: ImageSize,
    /// In the order of their numbers.
    pub boxes: &'a [CaseBox],
    pub sentences: &'a [OverlaySentence],
    /// Research-use notice.
    pub notice: &'a str,
}

/// A sentence of the report.
#[derive(Debug)]
pub struct OverlaySentence {
    pub text: String,
    /// Indices of boxes, each with the link's weight, 0 to 1.
    pub links: Vec<(usize, f32)>,
}

/// The picture as SVG text.
pub fn render(overlay: &Overlay) -> String {
    let (w, h) = (overlay.size.width.max(1) as f32, overlay.size.height.max(1) as f32);
    let scale = IMAGE / w.max(h);
    let mut y = MARGIN + LINE;
    let mut texts: Vec<Markup> = Vec::new();
    for OverlaySentence { text, links } in overlay.sentences {
        for line in wrapped(text) {
            texts.push(html! { text x=(IMAGE + 2.0 * MARGIN) y=(y) { (line) } });
            y += LINE;
        }
        let mut x = IMAGE + 2.0 * MARGIN;
        for &(index, weight) in links {
            let Some(found) = overlay.boxes.get(index) else { continue };
            let label = format!("{} {} {:.0} %", index + 1, found.class_name, 100.0 * weight);
            let width = 7.2 * label.chars().count() as f32 + 12.0;
            if x + width > IMAGE + TEXT {
                x = IMAGE + 2.0 * MARGIN;
                y += LINE + 4.0;
            }
            texts.push(html! {
                rect x=(x) y=(y - 14.0) width=(width) height="19" rx="5" fill=(colour(found.class_id)) {}
                text.chip x=(x + 6.0) y=(y) { (label) }
            });
            x += width + 6.0;
        }
        y += if links.is_empty() { 8.0 } else { LINE + 12.0 };
    }
    let height = (IMAGE + 2.0 * MARGIN).max(y) + LINE + MARGIN;
    let width = IMAGE + TEXT + 2.0 * MARGIN;
    let label = format!("Report on {} with {} boxes", overlay.image_id, overlay.boxes.len());
    html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label=(label) width=(width) height=(height)
            viewBox={ "0 0 " (width) " " (height) } {
            style { "text{font:14px system-ui,sans-serif;fill:#e8ecf1}.chip{font-size:13px;fill:#101418}.note{font-size:12px;fill:#aab4c0}" }
            rect width=(width) height=(height) fill="#14181d" {}
            g transform={ "translate(" (MARGIN) " " (MARGIN) ") scale(" (scale) ")" } {
                image href={ "data:image/jpeg;base64," (base64(overlay.picture)) } width=(w) height=(h) preserveAspectRatio="none" {}
                @for (i, b) in overlay.boxes.iter().enumerate() { (rectangle(b, i, overlay.size, scale)) }
            }
            @for text in &texts { (text) }
            text.note x=(MARGIN) y=(height - MARGIN) { (overlay.image_id) " · " (overlay.notice) }
        }
    }
    .into_string()
}

fn rectangle(found: &CaseBox, index: usize, size: ImageSize, scale: f32) -> Markup {
    let region = found.region.clip(size.width as f32, size.height as f32);
    let (colour, size) = (colour(found.class_id), 15.0 / scale);
    let y = (region.y_min - 4.0 / scale).max(size);
    html! {
        g {
            title { (found.class_name) }
            rect x=(region.x_min) y=(region.y_min) width=(region.width().max(0.0)) height=(region.height().max(0.0))
                fill="none" stroke=(colour) stroke-width=(2.0 / scale) {}
            text x=(region.x_min) y=(y) style={ "font-size:" (size) "px;fill:" (colour) } { (index + 1) }
        }
    }
}

/// Lines of at most [`COLUMNS`] characters, cut between words; a longer word has a line of its own.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use d2r_contracts::boxes::BoxXyxy;

    use super::*;

    fn found(class_id: i32, name: &str) -> CaseBox {
        CaseBox {
            box_id: name.into(),
            class_id,
            class_name: name.into(),
            score: Some(0.5),
            region: BoxXyxy::new(10.0, 10.0, 400.0, 90.0),
        }
    }

    #[test]
    fn sentences_name_their_boxes_and_nothing_is_loaded() {
        let boxes = [found(3, "Cardiomegaly"), found(15, "Nodule/Mass")];
        let sentences = [
            OverlaySentence {
                text: "the heart is <enlarged> & the lungs are clear .".into(),
                links: vec![(0, 0.75), (1, 0.25), (9, 0.1)],
            },
            OverlaySentence { text: "no effusion .".into(), links: vec![] },
        ];
        let overlay = Overlay {
            image_id: "image-1",
            picture: &[1, 2, 3],
            size: ImageSize { width: 200, height: 100 },
            boxes: &boxes,
            sentences: &sentences,
            notice: "Research software.",
        };
        let svg = render(&overlay);
        assert!(svg.starts_with("<?xml") && svg.ends_with("</svg>"));
        assert!(svg.contains("1 Cardiomegaly 75 %") && svg.contains("2 Nodule/Mass 25 %"));
        assert!(svg.contains("&lt;enlarged&gt; &amp;") && svg.contains("Research software."));
        assert_eq!(svg.matches("href=").count(), 1, "only the radiograph, which is embedded");
        assert!(svg.contains("href=\"data:image/jpeg;base64,AQID\""));
        assert_eq!(svg.matches("<g><title>").count(), 2);
        let empty = render(&Overlay { boxes: &[], sentences: &[], ..overlay });
        assert!(empty.ends_with("</svg>"));
    }

    #[test]
    fn lines_are_cut_between_words() {
        let lines = wrapped(&"opacity ".repeat(20));
        assert!(lines.iter().all(|l| l.chars().count() <= COLUMNS) && lines.len() > 2);
        assert_eq!(wrapped(""), [""]);
        assert_eq!(wrapped(&"x".repeat(80)).len(), 1);
    }
}
