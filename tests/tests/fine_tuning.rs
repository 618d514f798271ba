//! A report model of another project as a process: random weights under the names of R2Gen's public checkpoint are
//! imported, trained further on phantoms, and write reports for a folder of images.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use d2r_acceptance::{outcome, run};
use serde_json::{Value, json};
use walkdir::WalkDir;

/// Sizes of `report.model.network = "tiny"`: transformer, feed-forward network, channels of the trunk's stem.
const WIDTH: usize = 32;
const HIDDEN: usize = 32;
const STEM: usize = 8;
/// R2Gen's memory slots.
const SLOTS: usize = 3;
/// Log-odds of the boundary: reports do not end at once.
const BOUNDARY_BIAS: f32 = -5.0;
const MODEL: &str = "encoder_decoder.model";

/// A state dict with R2Gen's names, f32 but for the counters of batch norms.
#[derive(Default)]
struct StateDict {
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// State of the generator.
    state: u64,
}

impl StateDict {
    /// Uniform in plus or minus `bound`.
    fn random(&mut self, name: &str, shape: &[usize], bound: f32) {
        let mut draw = || {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.state >> 40) as f32 / (1u64 << 24) as f32 * 2.0 - 1.0) * bound
        };
        let values = (0..shape.iter().product()).map(|_| draw()).collect();
        self.tensors.push((name.into(), shape.into(), values));
    }

    fn constant(&mut self, name: &str, length: usize, value: f32) {
        self.tensors.push((name.into(), vec![length], vec![value; length]));
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.random(&format!("{name}.weight"), &[outputs, inputs], (6.0 / (inputs + outputs) as f32).sqrt());
        self.random(&format!("{name}.bias"), &[outputs], 0.05);
    }

    fn attention(&mut self, name: &str) {
        (0..4).for_each(|i| self.linear(&format!("{name}.linears.{i}"), WIDTH, WIDTH));
    }

    fn norm(&mut self, name: &str) {
        self.constant(&format!("{name}.gamma"), WIDTH, 1.0);
        self.constant(&format!("{name}.beta"), WIDTH, 0.0);
    }

    /// A convolution without bias and its batch norm.
    fn convolution(&mut self, conv: &str, norm: &str, [outputs, inputs, kernel]: [usize; 3]) {
        let bound = (6.0 / (inputs * kernel * kernel) as f32).sqrt();
        self.random(&format!("{conv}.weight"), &[outputs, inputs, kernel, kernel], bound);
        for (kind, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            self.constant(&format!("{norm}.{kind}"), outputs, value);
        }
        self.tensors.push((format!("{norm}.num_batches_tracked"), Vec::new(), vec![7.0]));
    }

    /// ResNet-18 by the numbers of torchvision's children, as R2Gen's `nn.Sequential` names them.
    fn trunk(&mut self) {
        let child = |number: usize| format!("visual_extractor.model.{number}");
        self.convolution(&child(0), &child(1), [STEM, 3, 7]);
        for level in 0..4 {
            let outputs = STEM << level;
            for block in 0..2 {
                let first = block == 0 && level > 0;
                let (inputs, block) =
                    (if first { outputs / 2 } else { outputs }, format!("{}.{block}", child(4 + level)));
                self.convolution(&format!("{block}.conv1"), &format!("{block}.bn1"), [outputs, inputs, 3]);
                self.convolution(&format!("{block}.conv2"), &format!("{block}.bn2"), [outputs, outputs, 3]);
                if first {
                    let shortcut = |i: usize| format!("{block}.downsample.{i}");
                    self.convolution(&shortcut(0), &shortcut(1), [outputs, inputs, 1]);
                }
            }
        }
    }

    /// Encoder and decoder of one layer each, and the relational memory.
    fn transformer(&mut self, words: usize) {
        self.linear("encoder_decoder.att_embed.0", STEM << 3, WIDTH);
        self.linear("encoder_decoder.logit", WIDTH, words + 1);
        self.tensors.last_mut().unwrap().2[0] = BOUNDARY_BIAS;
        self.random(&format!("{MODEL}.tgt_embed.0.lut.weight"), &[words + 1, WIDTH], 0.3);
        self.tensors.push((format!("{MODEL}.tgt_embed.1.pe"), vec![1, 5000, WIDTH], positions(5000)));
        self.attention(&format!("{MODEL}.rm.attn"));
        for (name, outputs) in [("mlp.0", WIDTH), ("mlp.2", WIDTH), ("W", 2 * WIDTH), ("U", 2 * WIDTH)] {
            self.linear(&format!("{MODEL}.rm.{name}"), WIDTH, outputs);
        }
        for (stack, attentions) in [("encoder", &["self_attn"][..]), ("decoder", &["self_attn", "src_attn"])] {
            self.norm(&format!("{MODEL}.{stack}.norm"));
            let layer = format!("{MODEL}.{stack}.layers.0");
            attentions.iter().for_each(|name| self.attention(&format!("{layer}.{name}")));
            self.linear(&format!("{layer}.feed_forward.w_1"), WIDTH, HIDDEN);
            self.linear(&format!("{layer}.feed_forward.w_2"), HIDDEN, WIDTH);
            for place in 0..=attentions.len() {
                let norm = format!("{layer}.sublayer.{place}.norm");
                self.norm(&norm);
                for kind in if stack == "decoder" { &["mlp_gamma", "mlp_beta"][..] } else { &[] } {
                    self.linear(&format!("{norm}.{kind}.0"), SLOTS * WIDTH, WIDTH);
                    self.linear(&format!("{norm}.{kind}.2"), WIDTH, WIDTH);
                }
            }
        }
    }

    /// The bytes of a safetensors file.
    fn bytes(&self) -> Vec<u8> {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (name, shape, values) in &self.tensors {
            let start = data.len();
            let counter = name.ends_with("num_batches_tracked");
            for value in values {
                if counter {
                    data.extend((*value as i64).to_le_bytes());
                } else {
                    data.extend(value.to_le_bytes());
                }
            }
            let dtype = if counter { "I64" } else { "F32" };
            header.insert(
                format!("module.{name}"),
                json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}),
            );
        }
        let header = serde_json::to_vec(&header).unwrap();
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
    }
}

/// The sinusoidal table.
fn positions(count: usize) -> Vec<f32> {
    let angle =
        |position: usize, i: usize| position as f64 * (-(10_000f64.ln()) * (i - i % 2) as f64 / WIDTH as f64).exp();
    let value = |position: usize, i: usize| {
        if i % 2 == 0 { angle(position, i).sin() } else { angle(position, i).cos() }
    };
    (0..count * WIDTH).map(|at| value(at / WIDTH, at % WIDTH) as f32).collect()
}

/// A tensor of a safetensors file, f32.
fn tensor(file: &Path, name: &str) -> Vec<f32> {
    let bytes = fs::read(file).unwrap();
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let header: Value = serde_json::from_slice(header).unwrap();
    let offsets = &header[name]["data_offsets"];
    let [start, end] = [0, 1].map(|i| offsets[i].as_u64().unwrap_or_else(|| panic!("no {name}")) as usize);
    data[start..end].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let all =
        WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(Result::ok).map(walkdir::DirEntry::into_path);
    all.filter(|p| p.extension().is_some_and(|e| e == extension)).collect()
}

/// The words of all reports, in the order of their ids.
fn vocabulary(reports: &Path) -> BTreeSet<String> {
    let mut words: BTreeSet<String> = [".", "<unk>"].map(str::to_owned).into();
    for file in files(reports, "txt") {
        let text = fs::read_to_string(file).unwrap().to_lowercase();
        words.extend(text.split(|c: char| !c.is_ascii_lowercase()).filter(|w| !w.is_empty()).map(str::to_owned));
    }
    words
}

#[test]
fn weights_of_r2gen_are_trained_further_and_write_reports() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let done = |args: &[&str]| -> Value {
        let (code, out, err) = outcome(&run(at, args));
        assert_eq!(code, 0, "{args:?}: {err}");
        serde_json::from_str(&out).or_else(|_| serde_json::from_str(out.lines().last().unwrap_or("null"))).unwrap()
    };
    let config = ["report.model.network=tiny", "report.model.input_size=64", "report.train.epochs=10"];
    // One step an epoch.
    let more = ["report.train.batch_size=64", "report.train.min_word_count=1", "generate.max_words=12"];
    let sets = [&config[..], &more].concat().into_iter().flat_map(|pair| ["--set", pair]);
    let model: Vec<&str> = ["--preset", "r2gen_mimic", "--json"].into_iter().chain(sets).collect();
    done(&["phantom", "--preset", "tiny", "--out", "phantom", "--json"]);
    done(&["ingest", "mimic", "--root", "phantom/mimic", "--lake", "lake", "--json"]);

    let words = vocabulary(&at.join("phantom/mimic"));
    fs::write(at.join("words.json"), serde_json::to_vec(&words).unwrap()).unwrap();
    let mut weights = StateDict::default();
    weights.trunk();
    weights.transformer(words.len());
    fs::write(at.join("r2gen.safetensors"), weights.bytes()).unwrap();
    let import = ["import-weights", "r2gen", "--weights", "r2gen.safetensors", "--vocabulary", "words.json"];
    let imported = done(&[&import[..], &["--runs", "imported"], &model].concat());
    let counters = weights.tensors.iter().filter(|(name, ..)| name.ends_with("num_batches_tracked")).count();
    let figures: BTreeMap<&str, f64> = [("taken", weights.tensors.len() - counters - 1), ("unused", counters + 1)]
        .map(|(name, count)| (name, count as f64))
        .into();
    assert_eq!(imported["figures"], json!(figures));

    let run_in = |runs: &str| fs::read_dir(at.join(runs)).unwrap().next().unwrap().unwrap().path();
    let first = run_in("imported");
    let train =
        ["train-reporter", "--dataset", "mimic", "--lake", "lake", "--device", "cpu", "--runs", "runs", "--init"];
    let trained = done(&[&train[..], &[first.to_str().unwrap()], &model].concat());
    assert_eq!(trained["figures"]["steps"], 10.0);
    let second = run_in("runs");
    // Ten steps of Adam move a weight by about ten times the learning rate at most.
    let head = |run: &Path| tensor(&run.join("best/model.safetensors"), "encoder_decoder.logit.weight");
    let moved = head(&first).iter().zip(head(&second)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(moved > 0.0 && moved < 0.01, "{moved}");

    let card = |run: &Path| done(&["inspect", "run", run.to_str().unwrap()]);
    let (before, after) = (card(&first), card(&second));
    assert_eq!(before["origin"]["source"], "r2gen");
    assert_eq!(before["origin"]["sha256"].as_str().map(str::len), Some(64));
    let origin = json!({
        "source": "run",
        "run_id": first.file_name().unwrap().to_str(),
        "sha256": before["model_sha256"],
        "origin": before["origin"],
    });
    assert_eq!(after["origin"], origin);

    let images: Vec<PathBuf> = files(&at.join("phantom/mimic"), "jpg").into_iter().take(3).collect();
    fs::create_dir(at.join("images")).unwrap();
    for (i, image) in images.iter().enumerate() {
        fs::copy(image, at.join(format!("images/{i}.jpg"))).unwrap();
    }
    let report = ["report", "--images", "images", "--out", "out", "--device", "cpu", "--reporter"];
    let reported = done(&[&report[..], &[second.to_str().unwrap()], &model].concat());
    assert_eq!((&reported["rows"]["generated_reports"], &reported["rows"]["failures"]), (&json!(3), &json!(0)));
    let texts = files(&at.join("out/reports"), "txt");
    assert_eq!(texts.len(), 3);
    for text in texts {
        let text = fs::read_to_string(text).unwrap();
        assert!(text.split_whitespace().count() > 3, "{text}");
    }
}
