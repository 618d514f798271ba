//! Rates of the audit's picture checks on a folder of radiographs: pairs that are called copies, copies of each kind that
//! are found, and pictures that are called unusual. `docs/audit.md` states what it printed.
//!
//! A file's name begins with the patient's id, up to the first `_`.

#![expect(clippy::print_stdout, reason = "an example prints what it measured")]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::decode::{ImageDecodeOptions, decode};
use d2r_contracts::picture::copy_search::{COPY_MIN, Comparison, CopySearch, Picture, measured};
use d2r_contracts::picture::hash_index::Scratch;
use d2r_contracts::preprocess::resize;
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::ImageSize;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

/// Every so many images have copies made of them.
const COPIED_EVERY: usize = 5;

type Change = fn(&Radiograph, &mut Random) -> Radiograph;

const COPIES: [(&str, Change); 22] = [
    ("rescaled to 512", |r, _| scaled(r, 512, 512)),
    ("rescaled to 224", |r, _| scaled(r, 224, 224)),
    ("stretched to 400 x 500", |r, _| scaled(r, 400, 500)),
    ("JPEG, quality 50", |r, _| jpeg(r, 50)),
    ("JPEG, quality 20, at 512", |r, _| jpeg(&scaled(r, 512, 512), 20)),
    ("gamma 0.6", |r, _| levels(r, |v| v.powf(0.6))),
    ("gamma 1.7", |r, _| levels(r, |v| v.powf(1.7))),
    ("window from 12 % to 78 %", |r, _| levels(r, |v| (v - 0.12) / 0.66)),
    ("histogram equalised", |r, _| equalised(r)),
    ("noise, deviation 8", noisy),
    ("inverted", |r, _| levels(r, |v| 1.0 - v)),
    ("black padding, 10 % at each edge", |r, _| padded(r, [0.1; 4], 0)),
    ("white padding, 5 % at each edge", |r, _| padded(r, [0.05; 4], 255)),
    ("letterboxed, JPEG", |r, _| jpeg(&padded(r, [0.2, 0.0, 0.2, 0.0], 0), 60)),
    ("cropped 5 % at each edge", |r, _| cropped(r, [0.05; 4])),
    ("cropped 10 % at each edge", |r, _| cropped(r, [0.1; 4])),
    ("cropped 10 % at one edge", |r, _| cropped(r, [0.0, 0.1, 0.0, 0.0])),
    ("cropped 0 to 10 % at each edge", |r, n| cropped(r, n.four(0.1))),
    ("cropped 0 to 15 % at each edge", |r, n| cropped(r, n.four(0.15))),
    ("cropped 0 to 10 %, gamma, 512, JPEG", |r, n| {
        jpeg(&scaled(&levels(&cropped(r, n.four(0.1)), |v| v.powf(0.7)), 512, 512), 60)
    }),
    ("cropped 0 to 10 %, equalised", |r, n| equalised(&cropped(r, n.four(0.1)))),
    ("cropped 0 to 10 %, padded, JPEG", |r, n| jpeg(&padded(&cropped(r, n.four(0.1)), n.four(0.2), 0), 70)),
];

struct Image {
    name: String,
    radiograph: PathBuf,
    pictures: Vec<Picture>,
}

fn main() {
    let mut files = Vec::new();
    for folder in std::env::args_os().skip(1) {
        let entries = std::fs::read_dir(&folder).expect("a folder of radiographs");
        files.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    files.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    let start = Instant::now();
    let mut unusual: BTreeMap<String, usize> = BTreeMap::new();
    let (mut frontal, mut images) = (Vec::new(), Vec::new());
    let mut arithmetic = 0.0;
    for path in files {
        let Some(radiograph) = read(&path) else { continue };
        let start = Instant::now();
        let (statistics, pictures) = measured(&radiograph);
        arithmetic += start.elapsed().as_secs_f64();
        for kind in statistics.unusual(false) {
            *unusual.entry(format!("{kind:?}")).or_default() += 1;
        }
        frontal.push(statistics.frontal);
        let name = path.file_name().expect("a listed file has a name").to_string_lossy().into_owned();
        images.push(Image { name, radiograph: path, pictures });
    }
    frontal.sort_by(f32::total_cmp);
    println!("{} images in {:.1} s, of which {arithmetic:.1} s measured", images.len(), start.elapsed().as_secs_f64());
    println!("unusual: {unusual:?}");
    let at = |share: f64| frontal[((frontal.len() - 1) as f64 * share) as usize];
    println!("agreement with a frontal chest: lowest {:.3}, 1 % {:.3}, median {:.3}", at(0.0), at(0.01), at(0.5));
    for limit in [0.05, 0.1, 0.15, 0.2] {
        let inverted = frontal.iter().filter(|v| **v < -limit).count();
        let found = frontal.iter().filter(|v| **v > limit).count();
        println!("  limit {limit}: {inverted} called inverted as they are, {found} of their inverted copies");
    }
    pairs(&images);
    copies(&images);
}

fn numbered(images: &[Image]) -> Vec<(usize, Picture)> {
    images.iter().enumerate().flat_map(|(i, image)| image.pictures.iter().map(move |p| (i, p.clone()))).collect()
}

/// All pairs of the folder's own images.
fn pairs(images: &[Image]) {
    let start = Instant::now();
    let search = CopySearch::new(numbered(images));
    let mut scratch = Scratch::default();
    let mut best: BTreeMap<[usize; 2], (f32, f32)> = BTreeMap::new();
    for number in 0..search.len() {
        for suspect in search.suspects(number, &mut scratch) {
            let [first, second] = suspect.images.map(|i| read(&images[i].radiograph).expect("was read before"));
            let similarity = Comparison::of(&first, &second, &suspect).similarity;
            let mut pair = suspect.images;
            pair.sort_unstable();
            let found = best.entry(pair).or_insert((0.0, 0.0));
            *found = (found.0.max(suspect.similarity), found.1.max(similarity));
        }
    }
    println!("{} suspected pairs in {:.1} s", best.len(), start.elapsed().as_secs_f64());
    let patient = |i: usize| images[i].name.split('_').next().unwrap_or_default();
    let stem = |i: usize| images[i].name.split('.').next().unwrap_or_default();
    let mut sorted: Vec<_> = best.into_iter().collect();
    sorted.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    for ([a, b], (coarse, fine)) in sorted {
        let kind = match () {
            () if stem(a) == stem(b) => continue,
            () if patient(a) == patient(b) => "same patient",
            () => "other patient",
        };
        println!("  {kind}: {} {} thumbnails {coarse:.3} detail {fine:.3}", images[a].name, images[b].name);
    }
}

/// Copies of every kind, searched among all images.
fn copies(images: &[Image]) {
    let mut random = Random(1);
    let mut scratch = Scratch::default();
    println!("copies: found / made, lowest and median correlation of thumbnails, of detail");
    for (kind, change) in COPIES {
        let mut all = numbered(images);
        let mut made = Vec::new();
        for image in (0..images.len()).step_by(COPIED_EVERY) {
            let original = read(&images[image].radiograph).expect("was read before");
            let copy = change(&original, &mut random);
            all.extend(measured(&copy).1.into_iter().map(|p| (images.len() + made.len(), p)));
            made.push((image, original, copy));
        }
        let search = CopySearch::new(all);
        let mut best = vec![(0.0f32, 0.0f32); made.len()];
        for number in 0..search.len() {
            for suspect in search.suspects(number, &mut scratch) {
                let of_copy = suspect.images.iter().position(|i| *i >= images.len());
                let Some(at) = of_copy else { continue };
                let (image, original, copy) = &made[suspect.images[at] - images.len()];
                if suspect.images[1 - at] != *image {
                    continue;
                }
                let [first, second] = if at == 1 { [original, copy] } else { [copy, original] };
                let similarity = Comparison::of(first, second, &suspect).similarity;
                let found = &mut best[suspect.images[at] - images.len()];
                *found = (found.0.max(suspect.similarity), found.1.max(similarity));
            }
        }
        let found = best.iter().filter(|(_, detail)| *detail >= COPY_MIN).count();
        let mut coarse: Vec<f32> = best.iter().map(|b| b.0).collect();
        let mut fine: Vec<f32> = best.iter().map(|b| b.1).collect();
        coarse.sort_by(f32::total_cmp);
        fine.sort_by(f32::total_cmp);
        let half = best.len() / 2;
        let (a, b, c, d) = (coarse[0], coarse[half], fine[0], fine[half]);
        println!("  {kind:<38} {found} / {}   {a:.2} {b:.2}   {c:.2} {d:.2}", best.len());
    }
}

fn read(path: &Path) -> Option<Radiograph> {
    let options = ImageDecodeOptions { allow_phi: true, ..ImageDecodeOptions::default() };
    Some(decode(&std::fs::read(path).ok()?, &options).ok()?.radiograph)
}

fn scaled(radiograph: &Radiograph, width: u32, height: u32) -> Radiograph {
    resize(radiograph, ImageSize { width, height })
}

fn jpeg(radiograph: &Radiograph, quality: u8) -> Radiograph {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut Cursor::new(&mut bytes), quality)
        .encode(&radiograph.pixels, radiograph.width, radiograph.height, ExtendedColorType::L8)
        .expect("a grey image can be encoded");
    decode(&bytes, &ImageDecodeOptions::default()).expect("was encoded now").radiograph
}

fn levels(radiograph: &Radiograph, change: impl Fn(f64) -> f64) -> Radiograph {
    let table: Vec<u8> =
        (0..256).map(|v| (change(f64::from(v) / 255.0) * 255.0).round().clamp(0.0, 255.0) as u8).collect();
    Radiograph { pixels: radiograph.pixels.iter().map(|v| table[usize::from(*v)]).collect(), ..radiograph.clone() }
}

fn equalised(radiograph: &Radiograph) -> Radiograph {
    let mut counts = [0u64; 256];
    radiograph.pixels.iter().for_each(|v| counts[usize::from(*v)] += 1);
    let mut seen = 0;
    let shares = counts.map(|count| {
        seen += count;
        seen as f64 / radiograph.pixels.len() as f64
    });
    levels(radiograph, |v| shares[(v * 255.0).round() as usize])
}

fn noisy(radiograph: &Radiograph, random: &mut Random) -> Radiograph {
    let noise = |v: &u8| {
        // The sum of four uniform values is nearly normal.
        let sum: f64 = random.four(1.0).iter().sum::<f64>() - 2.0;
        (f64::from(*v) + 8.0 * sum * 3f64.sqrt()).round().clamp(0.0, 255.0) as u8
    };
    Radiograph { pixels: radiograph.pixels.iter().map(noise).collect(), ..radiograph.clone() }
}

/// Shares of the width and height: left, top, right, bottom.
fn cropped(radiograph: &Radiograph, [left, top, right, bottom]: [f64; 4]) -> Radiograph {
    let (w, h) = (f64::from(radiograph.width), f64::from(radiograph.height));
    let (x0, x1) = ((w * left) as usize, (w * (1.0 - right)) as usize);
    let (y0, y1) = ((h * top) as usize, (h * (1.0 - bottom)) as usize);
    let rows = radiograph.pixels.chunks_exact(radiograph.width as usize).take(y1).skip(y0);
    let pixels = rows.flat_map(|row| row[x0..x1].iter().copied()).collect();
    Radiograph { width: (x1 - x0) as u32, height: (y1 - y0) as u32, pixels }
}

fn padded(radiograph: &Radiograph, [left, top, right, bottom]: [f64; 4], level: u8) -> Radiograph {
    let (w, h) = (radiograph.width as usize, radiograph.height as usize);
    let [left, right] = [left, right].map(|share| (w as f64 * share) as usize);
    let [top, bottom] = [top, bottom].map(|share| (h as f64 * share) as usize);
    let (width, height) = (left + w + right, top + h + bottom);
    let mut pixels = vec![level; width * height];
    for (y, row) in radiograph.pixels.chunks_exact(w).enumerate() {
        pixels[(top + y) * width + left..][..w].copy_from_slice(row);
    }
    Radiograph { width: width as u32, height: height as u32, pixels }
}

/// A stream of numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn four(&mut self, most: f64) -> [f64; 4] {
        std::array::from_fn(|_| most * self.next())
    }

    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) as f64 / u64::MAX as f64
    }
}
