//! How much of what a report model says of a film it says, mirrored, of the mirrored film: boxes on the other side, `left` and `right`
//! swapped. Writes about a folder of films and about their mirror images, and prints one line of JSON.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use clap::Parser;
use d2r_batch::config::{Layers, resolve};
use d2r_batch::context::Context;
use d2r_batch::lake::{Lake, Partition, Shard};
use d2r_batch::progress::Progress;
use d2r_batch::stages::report;
use d2r_batch::stages::report::Source;
use d2r_batch::stop::StopFlag;
use d2r_batch::{Error, Result};
use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::decode::{DecodeOptions, decode};
use d2r_contracts::grounding::SentenceFacts;
use d2r_contracts::preprocess::mirror;
use d2r_contracts::space::Original;
use d2r_contracts::tables::{ImageRow, LesionRow, ReportSentenceRow, SentenceBoxRow};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// A box is the mirror image of another from this overlap on.
const IOU_MIN: f32 = 0.5;

#[derive(Debug, Parser)]
struct Args {
    /// A finished report model's run, with its detector.
    #[arg(long)]
    reporter: PathBuf,
    /// A folder of films.
    #[arg(long)]
    images: PathBuf,
    /// Receives the mirrored films and both sets of reports.
    #[arg(long)]
    out: PathBuf,
    /// A preset.
    #[arg(long, default_value = "default")]
    preset: String,
}

/// A sentence with the boxes it is linked to.
struct Said {
    facts: SentenceFacts,
    boxes: Vec<BoxXyxy<Original>>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let preset = (args.preset != "default").then(|| args.preset.clone());
    let resolved = resolve(&Layers { preset, ..Layers::default() })?;
    let ctx = Context {
        config_toml: resolved.to_toml(),
        config: resolved.config,
        device: tch::Device::Cpu,
        progress: Progress::Quiet,
        stop: StopFlag::default(),
        resume: true,
    };
    let (as_is, mirrored) = (args.out.join("films"), args.out.join("mirrored"));
    for entry in std::fs::read_dir(&args.images).map_err(|e| Error::io("read", &args.images, e))? {
        let path = entry.map_err(|e| Error::io("read", &args.images, e))?.path();
        let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        let film =
            decode(&bytes, &DecodeOptions::default()).map_err(|e| Error::bad_data(path.display(), e))?.radiograph;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned() + ".png";
        // Both as PNG, so that they differ in nothing but the mirroring.
        write_png(&as_is.join(&name), film.width, film.height, &film.pixels)?;
        let film = mirror(&film);
        write_png(&mirrored.join(&name), film.width, film.height, &film.pixels)?;
    }
    let [before, after] = [&as_is, &mirrored].map(|films| said(&ctx, &args.reporter, films));
    let (before, after) = (before?, after?);
    let none = Vec::new();
    let (mut linked, mut boxes, mut agreeing, mut sided, mut swapped) = (0u32, 0u32, 0u32, 0u32, 0u32);
    for (film, (width, sentences)) in &before {
        let others = after.get(film).map_or(&none, |(_, sentences)| sentences);
        for sentence in sentences.iter().filter(|s| !s.boxes.is_empty()) {
            linked += 1;
            let on_it = |other: &&Said| {
                sentence.boxes.iter().any(|b| other.boxes.iter().any(|o| b.mirrored(*width).iou(o) >= IOU_MIN))
            };
            let facts = &sentence.facts;
            let same = |other: &&Said| {
                facts.findings.iter().any(|f| other.facts.findings.contains(f))
                    || facts.classes.iter().any(|c| other.facts.classes.contains(c))
            };
            let swaps = |other: &&Said| {
                (other.facts.lateralities.left, other.facts.lateralities.right)
                    == (facts.lateralities.right, facts.lateralities.left)
            };
            let there: Vec<&Said> = others.iter().filter(on_it).filter(same).collect();
            boxes += u32::from(!there.is_empty());
            agreeing += u32::from(there.iter().any(swaps));
            if facts.lateralities.left != facts.lateralities.right && !there.is_empty() {
                sided += 1;
                swapped += u32::from(there.iter().any(swaps));
            }
        }
    }
    let share = |part: u32, whole: u32| f64::from(part) / f64::from(whole.max(1));
    let line = serde_json::json!({
        "films": before.len(),
        "linked_sentences": linked,
        "agreement": share(agreeing, linked),
        "box_agreement": share(boxes, linked),
        "one_sided_sentences_found_again": sided,
        "swapped_of_found_again": share(swapped, sided),
    });
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
    Ok(())
}

fn write_png(path: &Path, width: u32, height: u32, pixels: &[u8]) -> Result<()> {
    let mut png = Cursor::new(Vec::new());
    PngEncoder::new(&mut png)
        .write_image(pixels, width, height, ExtendedColorType::L8)
        .map_err(|e| Error::Internal(format!("{}: {e}", path.display())))?;
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    std::fs::write(path, png.get_ref()).map_err(|e| Error::io("write", path, e))
}

/// For each film its width, and the sentences of its report.
fn said(ctx: &Context, reporter: &Path, films: &Path) -> Result<BTreeMap<String, (f32, Vec<Said>)>> {
    let out = films.with_extension("reports");
    let source = Source::Folder { images: films.to_path_buf() };
    let args = report::Args {
        source,
        reporter: reporter.to_path_buf(),
        out: Some(out.clone()),
        explain: None,
        shard: Shard::default(),
    };
    report::run(ctx, args)?;
    let (lake, partition) = (Lake::open(&out)?, Partition::new("films", "test"));
    let lesions: BTreeMap<String, BoxXyxy<Original>> = lake
        .read::<LesionRow>(&partition)?
        .into_iter()
        .map(|l| (l.box_id, BoxXyxy::new(l.x_min, l.y_min, l.x_max, l.y_max)))
        .collect();
    let links: Vec<SentenceBoxRow> = lake.read(&partition)?;
    let sentences: Vec<ReportSentenceRow> = lake.read(&partition)?;
    let images: Vec<ImageRow> = lake.read(&partition)?;
    let of_film = |image: ImageRow| {
        let report_id = format!("{}-r", image.image_id);
        let own = sentences.iter().filter(|s| s.report_id == report_id);
        let said = own.map(|s| {
            let linked = links.iter().filter(|l| l.report_id == report_id && l.sentence_id == s.sentence_id);
            Said {
                facts: SentenceFacts::of(&s.text),
                boxes: linked.filter_map(|l| lesions.get(&l.box_id).copied()).collect(),
            }
        });
        (image.image_id, (image.width.unwrap_or(0) as f32, said.collect()))
    };
    Ok(images.into_iter().map(of_film).collect())
}
