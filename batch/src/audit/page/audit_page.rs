//! The page itself.

use std::collections::{BTreeMap, BTreeSet};

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::{ImageSize, Original};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::audit::issue::{Issue, Subject, counts};
use crate::audit::kind::Kind;
use crate::audit::label_shares::{ALL_SPLITS, LabelShare};
use crate::audit::page::cards::{Card, ShownPicture};
use crate::audit::published_shares::PUBLISHED;
use crate::eval::page::gallery::base64;
use crate::eval::page::html_report::{NOTICE, STYLE, table};

const AUDIT_STYLE: &str = include_str!("audit.css");

/// Everything on the page.
#[derive(Debug, Clone, Default)]
pub struct AuditPage {
    /// The lake's folder.
    pub lake: String,
    /// Audited datasets.
    pub datasets: Vec<String>,
    /// Images of each dataset and split.
    pub images: BTreeMap<(String, String), usize>,
    /// Pictures that were read; `None` when none was to be read.
    pub pictures_read: Option<usize>,
    pub issues: Vec<Issue>,
    pub labels: Vec<LabelShare>,
    /// The issues that are shown.
    pub cards: Vec<Card>,
    /// The file with all issues, where one is written.
    pub list: Option<String>,
}

impl AuditPage {
    /// The page as text.
    pub fn html(&self) -> String {
        let shown: Vec<Kind> = Kind::all().filter(|k| self.issues.iter().any(|i| i.kind == *k)).collect();
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { "D2R audit: " (self.lake) }
                    // An empty icon keeps browsers from requesting one.
                    link rel="icon" href="data:,";
                    style { (PreEscaped(STYLE)) (PreEscaped(AUDIT_STYLE)) }
                }
                body {
                    a.skip href="#main" { "Skip to the counts" }
                    header.top {
                        div.wrap {
                            p.kicker { "D2R audit" }
                            h1 { (self.lake) }
                            p.notice role="note" { (NOTICE) " The page shows radiographs and ids of the lake." }
                            nav aria-label="Sections" {
                                a href="#counts" { "Counts" }
                                @if !self.labels.is_empty() { a href="#labels" { "Labels" } }
                                @for kind in &shown { a href={ "#" (kind.name()) } { (kind.title()) } }
                            }
                        }
                    }
                    main #main .wrap {
                        section id="counts" aria-labelledby="counts-heading" {
                            h2 id="counts-heading" { "Counts" }
                            (self.counts())
                        }
                        @if !self.labels.is_empty() {
                            section id="labels" aria-labelledby="labels-heading" {
                                h2 id="labels-heading" { "Labels" }
                                (self.label_tables())
                            }
                        }
                        @for kind in shown { (self.kind(kind)) }
                    }
                    footer.wrap { p { (NOTICE) } }
                }
            }
        }
        .into_string()
    }

    fn counts(&self) -> Markup {
        let leaks = self.issues.iter().filter(|i| i.kind.is_leak()).count();
        let total: usize = self.images.values().sum();
        let of = |kind: Kind| self.issues.iter().filter(move |i| i.kind == kind).count();
        let copies = of(Kind::NearDuplicateImage) + of(Kind::NearDuplicateInTwoSplits);
        let counts = counts(&self.issues);
        let heads: Vec<&str> = ["Issue"].into_iter().chain(self.datasets.iter().map(String::as_str)).collect();
        html! {
            ul.tiles {
                li.bad[leaks > 0] { span.name { "Leaks between splits" } b { (leaks) } }
                li { span.name { "Other issues" } b { (self.issues.len() - leaks) } }
                li { span.name { "Images" } b { (total) } }
                li {
                    span.name { "Pictures read" }
                    b { (self.pictures_read.map_or("–".to_owned(), |n| n.to_string())) }
                    @if self.pictures_read.is_none() { span.range { "with --pictures" } }
                    @else { span.range { (copies) " pairs of copies" } }
                }
            }
            p.lead { "Images: " @for (i, ((dataset, split), n)) in self.images.iter().enumerate() {
                @if i > 0 { ", " } (dataset) "/" (split) " " (n)
            } "." @if let Some(list) = &self.list { " All issues are in " code { (list) } "." } }
            (table("Number of issues by kind and dataset", &heads, html! {
                @for kind in Kind::all() {
                    @let checked = self.pictures_read.is_some() || !kind.needs_pictures();
                    tr.absent[!counts.keys().any(|(k, _)| *k == kind)].leak[kind.is_leak()] {
                        th scope="row" { (kind.title()) code.signature { (kind.name()) } }
                        @for dataset in &self.datasets {
                            td { @match counts.get(&(kind, dataset.as_str())) {
                                Some(n) => a href={ "#" (kind.name()) } { b { (n) } },
                                None => @if checked { "0" } @else { span.dash-cell aria-label="not checked" { "–" } },
                            } }
                        }
                    }
                }
            }))
            @if self.pictures_read.is_none() { p.foot { "–: not checked; " code { "--pictures" } " reads every picture." } }
        }
    }

    fn label_tables(&self) -> Markup {
        let tables: BTreeSet<(&str, &str)> = self.labels.iter().map(|l| (l.dataset.as_str(), l.unit)).collect();
        html! {
            @for (dataset, unit) in tables { (self.label_table(dataset, unit)) }
        }
    }

    fn label_table(&self, dataset: &str, unit: &str) -> Markup {
        let rows: Vec<&LabelShare> = self.labels.iter().filter(|l| l.dataset == dataset && l.unit == unit).collect();
        let mut splits: Vec<(&str, usize)> = Vec::new();
        let mut labels: Vec<&str> = Vec::new();
        for row in &rows {
            if !splits.iter().any(|(split, _)| *split == row.split) {
                splits.push((&row.split, row.total));
            }
            if !labels.contains(&row.label.as_str()) {
                labels.push(&row.label);
            }
        }
        if splits.len() == 2 {
            splits.retain(|(split, _)| *split != ALL_SPLITS);
        }
        let title = match unit {
            "images_with_box" => format!("{dataset}: annotated images with a box of the class"),
            _ => format!("{dataset}: studies whose label is positive"),
        };
        let source = rows.iter().any(|r| r.published.is_some()).then(|| {
            PUBLISHED.iter().find(|p| p.unit.name() == unit && rows.iter().any(|r| r.published == p.share(&r.label)))
        });
        let heads: Vec<String> = ["Label".to_owned()]
            .into_iter()
            .chain(splits.iter().map(|(split, n)| format!("{split} (n = {n})")))
            .chain(["Published".to_owned()])
            .collect();
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        html! {
            h3 { (title) }
            (table(&title, &heads, html! {
                @for label in labels {
                    @let of: Vec<&&LabelShare> = rows.iter().filter(|r| r.label == label).collect();
                    tr {
                        th scope="row" { (label) }
                        @for (split, _) in &splits {
                            @match of.iter().find(|r| r.split == *split) {
                                Some(r) => td.differs[r.differs] { (percent(r.share())) },
                                None => td {},
                            }
                        }
                        td { @match of.iter().find_map(|r| r.published) {
                            Some(p) => (percent(p)),
                            None => span.dash-cell aria-label="none" { "–" },
                        } }
                    }
                }
            }))
            @if let Some(Some(published)) = source { p.foot { "Published: " (published.source) "." } }
        }
    }

    fn kind(&self, kind: Kind) -> Markup {
        let all = self.issues.iter().filter(|i| i.kind == kind).count();
        let cards: Vec<&Card> = self.cards.iter().filter(|c| c.issue.kind == kind).collect();
        let heading = format!("{}-heading", kind.name());
        html! {
            section id=(kind.name()) aria-labelledby=(heading) {
                h2 id=(heading) { (kind.title()) " " span.count { (all) } }
                p.lead { (kind.rule()) " " b { (kind.remedy()) } }
                @if cards.iter().any(|c| !c.pictures.is_empty()) {
                    div.cards.pairs[cards.iter().any(|c| c.pictures.len() > 1)] {
                        @for card in &cards { (card_markup(card)) }
                    }
                } @else {
                    ul.names { @for card in &cards { li { (line(&card.issue)) } } }
                }
                @if all > cards.len() {
                    p.more { (all - cards.len()) " more"
                        @if let Some(list) = &self.list { " in " code { (list) } } @else { "; " code { "--out FILE" } " writes all" }
                        "." }
                }
            }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// The ids of an issue without pictures.
fn line(issue: &Issue) -> Markup {
    html! {
        (place(&issue.subject)) " " b { (issue.subject.id) }
        @if let Some(other) = &issue.other {
            " and " (place(other)) @if other.id != issue.subject.id { " " b { (other.id) } }
        }
        @if let Some(detail) = &issue.detail { " · " (detail) }
    }
}

fn place(subject: &Subject) -> Markup {
    html! { span.place { (subject.dataset) "/" (subject.split) } }
}

fn card_markup(card: &Card) -> Markup {
    let issue = &card.issue;
    html! {
        article.card {
            div.pictures { @for picture in &card.pictures { (figure(picture)) } }
            p.facts {
                @if issue.image_id.is_some() { "box " b { (issue.subject.id) } " " }
                @if let (Some(other), true) = (&issue.other, issue.image_id.is_some()) { "and box " b { (other.id) } " " }
                @if let Some(similarity) = issue.similarity { "similarity " b { (format!("{similarity:.2}")) } " " }
                @if let Some(detail) = &issue.detail { (detail) }
            }
        }
    }
}

fn figure(picture: &ShownPicture) -> Markup {
    let ImageSize { width, height } = picture.size;
    let [left, top, w, h] = extent(picture.size, picture.region);
    let label = format!("Radiograph {}", picture.subject.id);
    html! {
        figure {
            svg.radiograph role="img" aria-label=(label) viewBox={ (left) " " (top) " " (w) " " (h) }
                style={ "--u:" (w.max(h) / 100.0) "px" } {
                @match &picture.jpeg {
                    Ok(bytes) => image href={ "data:image/jpeg;base64," (base64(bytes)) } width=(width) height=(height)
                        preserveAspectRatio="none" {},
                    Err(code) => {
                        rect.missing width=(width) height=(height) {}
                        text.missing x=(width / 2) y=(height / 2) text-anchor="middle" { (code) }
                    }
                }
                @if w > width as f32 || h > height as f32 { rect.edge width=(width) height=(height) {} }
                @if let Some(r) = picture.region {
                    g.box { rect x=(r.x_min.min(r.x_max)) y=(r.y_min.min(r.y_max)) width=(r.width().abs())
                        height=(r.height().abs()) {} }
                }
            }
            figcaption { (place(&picture.subject)) " " b { (picture.subject.id) } " " span.size { (width) " × " (height) } }
        }
    }
}

/// Left, top, width and height of what is shown: the image, and the part of a box beyond it up to half its size.
fn extent(size: ImageSize, region: Option<BoxXyxy<Original>>) -> [f32; 4] {
    let (width, height) = (size.width as f32, size.height as f32);
    let Some(region) = region else { return [0.0, 0.0, width, height] };
    let axis = |low: f32, high: f32, length: f32| {
        let margin = 0.03 * length;
        let (low, high) = (low.min(high), low.max(high));
        let start = if low < 0.0 { (low - margin).max(-0.5 * length) } else { 0.0 };
        let end = if high > length { (high + margin).min(1.5 * length) } else { length };
        (start, end - start)
    };
    let (left, w) = axis(region.x_min, region.x_max, width);
    let (top, h) = axis(region.y_min, region.y_max, height);
    [left, top, w, h]
}

#[cfg(test)]
mod tests;
