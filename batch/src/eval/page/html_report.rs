//! The evaluation as one HTML page: studies, figures with intervals and baselines, tables, plots, timings, failures.
//! Self-contained (it loads nothing); styles for print, small screens, dark mode and screen readers.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::eval::detection::average_precision::ClassAp;
use crate::eval::page::gallery::{Case, render};
use crate::eval::page::plots::Plot;
use crate::eval::text::label_f1::LabelScore;

/// Printed on every page.
pub const NOTICE: &str = "Research software, not a medical device.";

#[derive(Debug, Clone, PartialEq)]
pub struct FigureRow {
    pub name: String,
    pub value: f64,
    /// Ends of the 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// Name and value of what it is compared with.
    pub baseline: Option<(String, f64)>,
    /// Number of images, reports or links behind it.
    pub n: i64,
    /// How it was computed, see [`crate::eval::figure::Figure`].
    pub signature: String,
    /// Whether it is shown in large type at the top.
    pub headline: bool,
}

/// Figures of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct FigureGroup {
    pub title: String,
    pub rows: Vec<FigureRow>,
}

/// The time of one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The stage and its shard.
    pub stage: String,
    /// Number of inputs.
    pub n: i64,
    /// Seconds reading, decoding, in the model, writing.
    pub seconds: [f64; 4],
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureCount {
    pub stage: String,
    /// The failure's code, for instance `truncated`.
    pub code: String,
    /// Number of inputs.
    pub n: usize,
    /// One input: a path or an image id.
    pub example: String,
}

/// What a page is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PageKind {
    /// Figures of a split, and studies.
    #[default]
    Evaluation,
    /// Reports of images that were written without references.
    Reports,
}

impl PageKind {
    fn title(self) -> &'static str {
        match self {
            Self::Evaluation => "D2R evaluation",
            Self::Reports => "D2R reports",
        }
    }
}

/// Everything on the page; every list may be empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    pub kind: PageKind,
    /// What was evaluated, for instance `mimic, test split`, or the folder of the images.
    pub subject: String,
    /// Identity of the run: names and values.
    pub identity: Vec<(String, String)>,
    /// Figures by kind.
    pub groups: Vec<FigureGroup>,
    /// Class names and their figures.
    pub classes: Vec<(String, ClassAp)>,
    /// Labels and their figures.
    pub labels: Vec<LabelScore>,
    pub plots: Vec<Plot>,
    pub cases: Vec<Case>,
    pub timings: Vec<Timing>,
    /// Failures by stage and code.
    pub failures: Vec<FailureCount>,
}

/// The style of this page, which other pages share.
pub const STYLE: &str = include_str!("html_report/style.css");
const SCRIPT: &str = include_str!("html_report/highlight_boxes.js");

impl Page {
    /// The page as text.
    pub fn html(&self) -> String {
        let sections: [(&str, &str, bool, Markup); 6] = [
            ("studies", "Studies", !self.cases.is_empty(), self.gallery()),
            ("figures", "Figures", !self.groups.is_empty(), self.figures()),
            ("classes", "Lesion classes", !self.classes.is_empty(), self.class_table()),
            ("labels", "Report labels", !self.labels.is_empty(), self.label_table()),
            ("plots", "Plots", !self.plots.is_empty(), self.plot_grid()),
            ("run", "Run", true, self.run()),
        ];
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.kind.title()) ": " (self.subject) }
                    // An empty icon keeps browsers from requesting one.
                    link rel="icon" href="data:,";
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        div.wrap {
                            p.kicker { (self.kind.title()) }
                            h1 { (self.subject) }
                            p.notice role="note" { (NOTICE) " Generated text and boxes are not a diagnosis." }
                            nav aria-label="Sections" {
                                @for (id, title, shown, _) in &sections {
                                    @if *shown { a href={ "#" (id) } { (title) } }
                                }
                            }
                        }
                    }
                    main #main .wrap {
                        @for (id, title, shown, body) in &sections {
                            @if *shown {
                                section id=(id) aria-labelledby={ (id) "-heading" } {
                                    h2 id={ (id) "-heading" } { (title) }
                                    (body)
                                }
                            }
                        }
                    }
                    footer.wrap { p { (NOTICE) } }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        }
        .into_string()
    }

    fn figures(&self) -> Markup {
        let headlines = self.groups.iter().flat_map(|g| &g.rows).filter(|r| r.headline);
        html! {
            ul.tiles { @for row in headlines { (tile(row)) } }
            (table("All figures", &["Figure", "Value", "95 % interval", "Baseline", "n"], html! {
                @for group in &self.groups {
                    tr.group { th colspan="5" scope="rowgroup" { (group.title) } }
                    @for row in &group.rows {
                        tr {
                            th scope="row" { (row.name) code.signature { (broken(&row.signature)) } }
                            td { b { (number(row.value)) } }
                            td { @if let Some((low, high)) = row.interval { (number(low)) " – " (number(high)) } @else { (dash()) } }
                            td { @if let Some((name, value)) = &row.baseline { (number(*value)) small { (name) } } @else { (dash()) } }
                            td { (row.n) }
                        }
                    }
                }
            }))
        }
    }

    fn class_table(&self) -> Markup {
        html! {
            p.lead { "Average precision after the COCO protocol. Means are over the classes with truth boxes; a class without any is left out." }
            (table("Average precision by class", &["Class", "Truth boxes", "AP", "AP50", "Recall at IoU 0.5"], html! {
                @for (name, class) in &self.classes {
                    tr.absent[class.truths == 0] {
                        th scope="row" { (name) }
                        td { (class.truths) }
                        td { (optional(class.ap)) }
                        td { (optional(class.ap50)) }
                        td { (optional(class.recall50)) }
                    }
                }
            }))
        }
    }

    fn label_table(&self) -> Markup {
        html! {
            p.lead { "Labels of generated and of reference reports, both by a rule labeler (not CheXbert); uncertain counts as positive." }
            (table("Precision, recall and F1 by label", &["Label", "In references", "In generated", "Precision", "Recall", "F1"], html! {
                @for l in &self.labels {
                    tr.absent[l.support + l.stated == 0] {
                        th scope="row" { (l.label) }
                        td { (l.support) }
                        td { (l.stated) }
                        td { @if l.stated > 0 { (number(l.ratios.precision)) } @else { (dash()) } }
                        td { @if l.support > 0 { (number(l.ratios.recall)) } @else { (dash()) } }
                        td { @if l.support + l.stated > 0 { (number(l.ratios.f1)) } @else { (dash()) } }
                    }
                }
            }))
        }
    }

    fn plot_grid(&self) -> Markup {
        html! {
            div.plots {
                @for plot in &self.plots {
                    figure.plot {
                        figcaption { h3 { (plot.title) } }
                        (PreEscaped(&plot.svg))
                        @if plot.legend.len() > 1 {
                            ul.legend aria-hidden="true" {
                                @for (name, colour) in &plot.legend { li { span style={ "background:" (colour) } {} (name) } }
                            }
                        }
                    }
                }
            }
        }
    }

    fn gallery(&self) -> Markup {
        html! {
            p.lead { "Accepted detections are numbered and coloured by class"
                @if self.cases.iter().any(|c| !c.truths.is_empty()) { "; truth boxes are dashed" }
                ". A number behind a sentence names the box that it is linked to." }
            @for (i, case) in self.cases.iter().enumerate() { (render(case, i + 1)) }
        }
    }

    fn run(&self) -> Markup {
        html! {
            dl.identity { @for (name, value) in &self.identity { div { dt { (name) } dd { code { (broken(value)) } } } } }
            @if !self.timings.is_empty() {
                h3 { "Stage timings" }
                (table("Seconds by stage", &["Stage", "Inputs", "Read", "Decode", "Model", "Write", "Inputs per second"], html! {
                    @for t in &self.timings {
                        tr {
                            th scope="row" { (t.stage) }
                            td { (t.n) }
                            @for s in t.seconds { td { (format!("{s:.1}")) } }
                            td { @let all: f64 = t.seconds.iter().sum();
                                @if all > 0.0 { (format!("{:.1}", t.n as f64 / all)) } @else { (dash()) } }
                        }
                    }
                }))
            }
            h3 { "Failures" }
            @if self.failures.is_empty() { p { "No input failed." } } @else {
                (table("Inputs that could not be used", &["Stage", "Code", "Inputs", "For instance"], html! {
                    @for f in &self.failures {
                        tr { th scope="row" { (f.stage) } td { code { (f.code) } } td { (f.n) } td { code { (broken(&f.example)) } } }
                    }
                }))
            }
        }
    }
}

fn tile(row: &FigureRow) -> Markup {
    html! {
        li {
            span.name { (row.name) }
            b { (number(row.value)) }
            @if let Some((low, high)) = row.interval { span.range { (number(low)) " – " (number(high)) } }
            @if let Some((name, value)) = &row.baseline {
                span.against.below[row.value <= *value] { (name) " " (number(*value)) }
            }
        }
    }
}

/// A table in a box that scrolls by itself on narrow screens, reachable by keyboard.
pub fn table(caption: &str, heads: &[&str], body: Markup) -> Markup {
    html! {
        div.scroll role="region" aria-label=(caption) tabindex="0" {
            table {
                caption { (caption) }
                thead { tr { @for head in heads { th scope="col" { (head) } } } }
                tbody { (body) }
            }
        }
    }
}

fn number(value: f64) -> String {
    if value.abs() >= 10.0 { format!("{value:.1}") } else { format!("{value:.3}") }
}

fn dash() -> Markup {
    html! { span.dash-cell aria-label="none" { "–" } }
}

fn optional(value: Option<f64>) -> Markup {
    html! { @match value { Some(v) => (number(v)), None => (dash()) } }
}

/// Long one-line values may break after their separators.
fn broken(text: &str) -> Markup {
    html! { @for piece in text.split_inclusive(['|', '/', '-']) { (piece) wbr; } }
}

#[cfg(test)]
mod tests;
