//! Consistency of a report model under horizontal flips: the share of sentences about an image that reappear for its
//! mirror image with mirrored boxes, and with `left` and `right` swapped. Prints one line of JSON.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use clap::Parser;
use d2r_batch::config::{Layers, resolve};
use d2r_batch::context::Context;
use d2r_batch::lake::{Lake, Shard};
use d2r_batch::progress::Progress;
use d2r_batch::stages::report::{self, BoxesFrom, ImageSource, WritingModel};
use d2r_batch::stop::StopFlag;
use d2r_batch::training::ranks::Ranks;
use d2r_batch::{Error, Result};
use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::decode::{ImageDecodeOptions, decode};
use d2r_contracts::grounding::SentenceFacts;
use d2r_contracts::preprocess::mirror;
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::rows::Row;
use d2r_contracts::space::Original;
use d2r_contracts::tables::{ImageRow, LesionRow, ReportSentenceRow, SentenceBoxRow};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// A box is the mirror image of another from this IoU on.
const IOU_MIN: f32 = 0.5;

#[derive(Debug, Parser)]
struct Args {
    /// A finished report model's run, with its detector.
    #[arg(long)]
    reporter: PathBuf,
    /// A folder of radiographs.
    #[arg(long)]
    images: PathBuf,
    /// The folder for the images as PNG, their mirror images, and both sets of reports.
    #[arg(long)]
    out: PathBuf,
    /// A configuration file.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// A sentence with the boxes that it is linked to.
struct GroundedSentence {
    facts: SentenceFacts,
    boxes: Vec<BoxXyxy<Original>>,
}

impl GroundedSentence {
    /// Whether a sentence about the mirror image is linked to a mirrored box of this one and shares a finding or a
    /// class. `width`: of the image.
    fn is_repeated_by(&self, other: &Self, width: f32) -> bool {
        let same_box = self.boxes.iter().any(|b| other.boxes.iter().any(|o| b.mirrored(width).iou(o) >= IOU_MIN));
        let (facts, others) = (&self.facts, &other.facts);
        same_box
            && (facts.labels.iter().any(|f| others.labels.contains(f))
                || facts.classes.iter().any(|c| others.classes.contains(c)))
    }

    fn has_opposite_lateralities(&self, other: &Self) -> bool {
        let (own, others) = (&self.facts.lateralities, &other.facts.lateralities);
        (others.left, others.right) == (own.right, own.left)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let resolved = resolve(&Layers { file: args.config.clone(), ..Layers::default() })?;
    let ctx = Context {
        config_toml: resolved.to_toml(),
        origin: resolved.origin,
        config: resolved.config,
        device: tch::Device::Cpu,
        progress: Progress::Quiet,
        stop: StopFlag::default(),
        ranks: Ranks::alone(),
        resume: true,
        recompute: false,
    };
    let (original, mirrored) = (args.out.join("original"), args.out.join("mirrored"));
    for entry in std::fs::read_dir(&args.images).map_err(|e| Error::io("read", &args.images, e))? {
        let path = entry.map_err(|e| Error::io("read", &args.images, e))?.path();
        let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        let decoded = decode(&bytes, &ImageDecodeOptions::default()).map_err(|e| Error::bad_data(path.display(), e))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned() + ".png";
        // Both as PNG, so that they differ by the flip only.
        write_png(&original.join(&name), &decoded.radiograph)?;
        write_png(&mirrored.join(&name), &mirror(&decoded.radiograph))?;
    }
    let [of_original, of_mirrored] = [&original, &mirrored].map(|images| reports(&ctx, &args.reporter, images));
    let (of_original, of_mirrored) = (of_original?, of_mirrored?);
    let (mut linked, mut boxes, mut agreeing, mut one_sided, mut swapped) = (0u32, 0u32, 0u32, 0u32, 0u32);
    for (image, report) in &of_original {
        let others = of_mirrored.get(image).map_or(&[][..], |r| &r.sentences);
        for sentence in report.sentences.iter().filter(|s| !s.boxes.is_empty()) {
            linked += 1;
            let matches: Vec<&GroundedSentence> =
                others.iter().filter(|other| sentence.is_repeated_by(other, report.width)).collect();
            let swaps = matches.iter().any(|other| sentence.has_opposite_lateralities(other));
            boxes += u32::from(!matches.is_empty());
            agreeing += u32::from(swaps);
            let lateralities = &sentence.facts.lateralities;
            if lateralities.left != lateralities.right && !matches.is_empty() {
                one_sided += 1;
                swapped += u32::from(swaps);
            }
        }
    }
    let share = |part: u32, total: u32| f64::from(part) / f64::from(total.max(1));
    let line = serde_json::json!({
        "images": of_original.len(),
        "linked_sentences": linked,
        "agreement": share(agreeing, linked),
        "box_agreement": share(boxes, linked),
        "one_sided_sentences_found_again": one_sided,
        "swapped_of_found_again": share(swapped, one_sided),
    });
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
    Ok(())
}

fn write_png(path: &Path, radiograph: &Radiograph) -> Result<()> {
    let mut png = Cursor::new(Vec::new());
    PngEncoder::new(&mut png)
        .write_image(&radiograph.pixels, radiograph.width, radiograph.height, ExtendedColorType::L8)
        .map_err(|e| Error::Internal(format!("{}: {e}", path.display())))?;
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    std::fs::write(path, png.get_ref()).map_err(|e| Error::io("write", path, e))
}

/// A study's image width and the sentences of its report.
struct WrittenReport {
    width: f32,
    sentences: Vec<GroundedSentence>,
}

/// Writes reports about a folder of radiographs; the reports by image id.
fn reports(ctx: &Context, reporter: &Path, images: &Path) -> Result<BTreeMap<String, WrittenReport>> {
    let out = images.with_extension("reports");
    let source = ImageSource::Folder { images: images.to_path_buf(), out: out.clone() };
    let model = WritingModel::ReportModel { run: reporter.to_path_buf(), explain: None, boxes: BoxesFrom::Detector };
    report::run(ctx, report::Args { source, model, shard: Shard::default(), refuse_burned_in: false })?;
    let lake = Lake::open(&out)?;
    let partitions = lake.partitions(ImageRow::TABLE)?;
    let partition = partitions.first().ok_or_else(|| Error::Internal("the reports have no images".into()))?;
    let lesions: BTreeMap<String, BoxXyxy<Original>> = lake
        .read::<LesionRow>(partition)?
        .into_iter()
        .map(|l| (l.box_id, BoxXyxy::new(l.x_min, l.y_min, l.x_max, l.y_max)))
        .collect();
    let links: Vec<SentenceBoxRow> = lake.read(partition)?;
    let sentences: Vec<ReportSentenceRow> = lake.read(partition)?;
    let images: Vec<ImageRow> = lake.read(partition)?;
    let of_image = |image: ImageRow| {
        let report_id = format!("{}-r", image.image_id);
        let own = sentences.iter().filter(|s| s.report_id == report_id);
        let sentences = own.map(|s| {
            let linked = links.iter().filter(|l| l.report_id == report_id && l.sentence_id == s.sentence_id);
            GroundedSentence {
                facts: SentenceFacts::of(&s.text),
                boxes: linked.filter_map(|l| lesions.get(&l.box_id).copied()).collect(),
            }
        });
        let report = WrittenReport { width: image.width.unwrap_or(0) as f32, sentences: sentences.collect() };
        (image.image_id, report)
    };
    Ok(images.into_iter().map(of_image).collect())
}
