//! Plots as SVG text for the HTML report: no font files, no background, colours for light and dark pages. Legends are
//! outside, in the page, as names with their colours.

use d2r_contracts::tables::TrainLogRow;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::eval::text::label_f1::LabelScore;

#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    pub title: String,
    /// The plot in words, for screen readers.
    pub description: String,
    /// An `<svg>` element.
    pub svg: String,
    /// Series names and CSS colours.
    pub legend: Vec<(String, String)>,
}

/// A line and its name in the legend.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    /// By ascending x.
    pub points: Vec<(f64, f64)>,
}

/// Line colours, distinct on light and dark pages.
const COLOURS: [(u8, u8, u8); 10] = [
    (46, 125, 209),
    (217, 95, 48),
    (42, 157, 103),
    (168, 90, 200),
    (196, 148, 24),
    (208, 68, 110),
    (32, 158, 176),
    (128, 138, 56),
    (120, 110, 220),
    (150, 110, 80),
];
const SIZE: (u32, u32) = (560, 340);
const GREY: RGBColor = RGBColor(128, 128, 128);

/// The colour of the `i`-th series.
fn colour(i: usize) -> RGBColor {
    let (r, g, b) = COLOURS[i % COLOURS.len()];
    RGBColor(r, g, b)
}

fn css(c: RGBColor) -> String {
    format!("#{:02x}{:02x}{:02x}", c.0, c.1, c.2)
}

fn refused(e: impl std::fmt::Display) -> Error {
    Error::Internal(format!("draw a plot: {e}"))
}

/// Runs a drawing and makes its SVG fit the page: it scales, has no background, and its text takes the page's
/// colour and font.
fn draw(
    size: (u32, u32),
    description: &str,
    drawing: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Result<()>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        drawing(&area)?;
        area.present().map_err(refused)?;
    }
    let body = svg.split_once('>').map_or("", |(_, rest)| rest);
    let label = maud::html! { (description) }.into_string();
    let body = body
        .replace("fill=\"#000000\"", "fill=\"currentColor\"")
        .replace("stroke=\"#000000\"", "stroke=\"currentColor\"")
        .replace("font-family=\"sans-serif\"", "font-family=\"inherit\"");
    let (w, h) = size;
    Ok(format!("<svg role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\">{body}"))
}

/// An axis from 0 to `max`; to the largest value where there is none.
struct Axis<'a> {
    name: &'a str,
    max: Option<f64>,
}

/// Lines over two axes. `None` when no series has a point.
fn lines(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> Result<Option<Plot>> {
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let drawn: Vec<(usize, &Series)> =
        series.iter().enumerate().filter(|(_, s)| s.points.iter().any(|p| finite(&p))).collect();
    if drawn.is_empty() {
        return Ok(None);
    }
    let largest = |get: fn(&(f64, f64)) -> f64| {
        let all = drawn.iter().flat_map(|(_, s)| s.points.iter().filter(finite).map(get));
        all.fold(0.0, f64::max).max(1e-6)
    };
    let x_end = x.max.unwrap_or_else(|| largest(|p| p.0));
    let y_end = y.max.unwrap_or_else(|| largest(|p| p.1) * 1.05);
    let names: Vec<&str> = drawn.iter().map(|(_, s)| s.name.as_str()).collect();
    let description = format!("{title}: {} over {}, for {}", y.name, x.name, names.join(", "));
    let svg = draw(SIZE, &description, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(38)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..x_end, 0.0..y_end)
            .map_err(refused)?;
        chart
            .configure_mesh()
            .x_desc(x.name)
            .y_desc(y.name)
            .x_labels(6)
            .y_labels(6)
            .label_style(("sans-serif", 12))
            .axis_desc_style(("sans-serif", 12))
            .axis_style(GREY.mix(0.7))
            .bold_line_style(GREY.mix(0.22))
            .light_line_style(TRANSPARENT)
            .draw()
            .map_err(refused)?;
        for &(i, s) in &drawn {
            let points = s.points.iter().filter(finite).copied();
            chart.draw_series(LineSeries::new(points, colour(i).stroke_width(2))).map_err(refused)?;
        }
        Ok(())
    })?;
    let legend = drawn.iter().map(|&(i, s)| (s.name.clone(), css(colour(i)))).collect();
    Ok(Some(Plot { title: title.to_owned(), description, svg, legend }))
}

/// Precision over recall, one line per class; each curve has a precision for the recalls 0, 0.01 .. 1.
///
/// # Errors
/// When drawing fails: a defect of the program.
pub fn precision_recall(curves: &[(String, Vec<f64>)]) -> Result<Option<Plot>> {
    let series: Vec<Series> = curves
        .iter()
        .map(|(name, precision)| Series {
            name: name.clone(),
            points: precision.iter().enumerate().map(|(i, p)| (i as f64 / 100.0, *p)).collect(),
        })
        .collect();
    let (recall, precision) = (Axis { name: "recall", max: Some(1.0) }, Axis { name: "precision", max: Some(1.05) });
    lines("Precision and recall at IoU 0.5", &recall, &precision, &series)
}

/// Free-response curve: share of lesions found over false positives per image.
///
/// # Errors
/// When drawing fails: a defect of the program.
pub fn froc(points: &[(f64, f64)]) -> Result<Option<Plot>> {
    const FALSE_POSITIVES_MAX: f64 = 4.0;
    let end = points.last().map_or(FALSE_POSITIVES_MAX, |p| p.0).clamp(0.5, FALSE_POSITIVES_MAX);
    let mut kept: Vec<(f64, f64)> = points.iter().copied().filter(|p| p.0 <= end).collect();
    if let (Some(last), true) = (kept.last().copied(), points.len() > kept.len()) {
        kept.push((end, last.1));
    }
    let series = [Series { name: "all classes".into(), points: kept }];
    let x = Axis { name: "false positives per image", max: Some(end) };
    let y = Axis { name: "share of lesions found", max: Some(1.05) };
    lines("Lesions found (FROC, IoU 0.5)", &x, &y, &series)
}

/// Loss over steps, one plot per run, training and validation apart; in the order of run ids.
///
/// # Errors
/// When drawing fails: a defect of the program.
pub fn training(rows: &[TrainLogRow]) -> Result<Vec<Plot>> {
    let mut runs: Vec<&str> = rows.iter().map(|r| r.run_id.as_str()).collect();
    runs.sort_unstable();
    runs.dedup();
    let mut plots = Vec::new();
    for run in runs {
        let of = |phase: &str, get: fn(&TrainLogRow) -> Option<f64>| -> Vec<(f64, f64)> {
            let mut points: Vec<(f64, f64)> = rows
                .iter()
                .filter(|r| r.run_id == run && r.phase == phase)
                .filter_map(|r| Some((r.step as f64, get(r)?)))
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            points
        };
        let series = [
            Series { name: "training loss".into(), points: of("train", |r| Some(r.loss)) },
            Series { name: "validation score".into(), points: of("validation", |r| r.score) },
        ];
        let (x, y) = (Axis { name: "step", max: None }, Axis { name: "loss, score", max: None });
        plots.extend(lines(&format!("Training of {run}"), &x, &y, &series)?);
    }
    Ok(plots)
}

/// F1 of each label that a reference or a generated report states, as bars. `None` when there is none.
///
/// # Errors
/// When drawing fails: a defect of the program.
pub fn label_bars(scores: &[LabelScore]) -> Result<Option<Plot>> {
    let shown: Vec<&LabelScore> = scores.iter().filter(|s| s.support + s.stated > 0).collect();
    if shown.is_empty() {
        return Ok(None);
    }
    let words: Vec<String> = shown.iter().map(|s| format!("{} {:.2}", s.label, s.ratios.f1)).collect();
    let description = format!("F1 by label: {}", words.join(", "));
    let rows = shown.len();
    let svg = draw((SIZE.0, 46 + 24 * rows as u32), &description, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(36)
            .x_label_area_size(30)
            .y_label_area_size(180)
            .build_cartesian_2d(0.0..1.0, 0.0..rows as f64)
            .map_err(refused)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_labels(6)
            .label_style(("sans-serif", 12))
            .axis_style(GREY.mix(0.7))
            .bold_line_style(GREY.mix(0.22))
            .light_line_style(TRANSPARENT)
            .draw()
            .map_err(refused)?;
        for (i, s) in shown.iter().enumerate() {
            let base = (rows - 1 - i) as f64;
            let bar = Rectangle::new([(0.0, base + 0.2), (s.ratios.f1, base + 0.8)], colour(0).filled());
            chart.draw_series(std::iter::once(bar)).map_err(refused)?;
            let place = chart.backend_coord(&(0.0, base + 0.5));
            let value = chart.backend_coord(&(s.ratios.f1, base + 0.5));
            let style = ("sans-serif", 12).into_text_style(area);
            area.draw(&Text::new(s.label, (10, place.1 - 5), style.clone())).map_err(refused)?;
            area.draw(&Text::new(format!("{:.2}", s.ratios.f1), (value.0 + 5, value.1 - 5), style)).map_err(refused)?;
        }
        Ok(())
    })?;
    Ok(Some(Plot { title: "F1 by label".into(), description, svg, legend: Vec::new() }))
}

#[cfg(test)]
mod tests;
