//! The preview bundle: what `d2r export preview` writes and the browser reads. A folder with `card.json`, the two
//! graphs, and sample studies; the card names every other file with its size and digest.

use serde::{Deserialize, Serialize};

use crate::preprocess::InputSpec;
use crate::vocabulary::Vocabulary;

/// Version of the bundle's layout; a reader refuses any other.
pub const BUNDLE_VERSION: u32 = 3;
/// The card.
pub const CARD: &str = "card.json";
/// Film to keys, values, heat, box edges and label scores.
pub const ENCODER: &str = "encoder.onnx";
/// One more word.
pub const STEP: &str = "step.onnx";
/// Sample studies as Arrow IPC.
pub const SAMPLES: &str = "samples.arrow";
/// No file of a bundle is larger than this, bytes.
pub const FILE_MAX: u64 = 64 << 20;

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleFile {
    /// Its name in the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// Sizes of the decoder, as the graphs have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecoderSizes {
    /// Layers.
    pub layers: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Words that the caches hold; no report is longer.
    pub max_words: usize,
    /// Source tokens along a side of the film: 7 means 49.
    pub grid: usize,
    /// Cells of the heat map along a side.
    pub heat_grid: usize,
}

/// How findings and text are made from the graphs' outputs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PreviewOptions {
    /// Beam width; 1 is greedy.
    pub beam_size: usize,
    /// No n-gram of this length twice; 0 allows all.
    pub block_ngram: usize,
    /// A cell of the heat map is a finding from this score on.
    pub score_min: f32,
    /// Findings of one class that overlap more are one.
    pub nms_iou: f32,
    /// Findings at most.
    pub max_detections: usize,
    /// A sentence is linked to boxes with at least this share of its attention among the boxes that it names.
    pub link_weight_min: f32,
}

/// `card.json` of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewCard {
    /// [`BUNDLE_VERSION`].
    pub version: u32,
    /// The student's run.
    pub run_id: String,
    /// Digest of the student's weights.
    pub model_sha256: String,
    /// Digest of the weights of the report model that it learned from.
    pub teacher_sha256: String,
    /// Version of the code that wrote the bundle.
    pub code_version: String,
    /// How a film becomes the encoder's input.
    pub input: InputSpec,
    /// Channels of the heat map by class.
    pub classes: Vec<String>,
    /// Entries of the label output.
    pub labels: Vec<String>,
    /// The decoder.
    pub decoder: DecoderSizes,
    /// How reports are written.
    pub options: PreviewOptions,
    /// Words by id.
    pub vocabulary: Vocabulary,
    /// Every other file.
    pub files: Vec<BundleFile>,
    /// Research-use notice.
    pub notice: String,
}

impl PreviewCard {
    /// The entry of a file.
    pub fn file(&self, name: &str) -> Option<&BundleFile> {
        self.files.iter().find(|f| f.name == name)
    }
}
