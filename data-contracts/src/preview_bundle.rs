//! The preview bundle, which `d2r export preview` writes and the browser reads: a folder with `card.json`, two ONNX
//! graphs and sample studies. The card names every other file with its size and digest.

use serde::{Deserialize, Serialize};

use crate::preprocess::InputSpec;
use crate::vocabulary::Vocabulary;

/// Version of the layout; bundles of another version are refused.
pub const BUNDLE_VERSION: u32 = 4;
/// File name of the card.
pub const CARD: &str = "card.json";
/// Graph: image to keys and values of the cross-attention, heat map, box edges and label scores.
pub const ENCODER: &str = "encoder.onnx";
/// Graph: one step of the decoder.
pub const STEP: &str = "step.onnx";
/// Sample studies as Arrow IPC.
pub const SAMPLES: &str = "samples.arrow";
/// Largest file of a bundle, bytes.
pub const FILE_MAX: u64 = 64 << 20;

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleFile {
    /// Name in the folder.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// Sizes of the graphs' tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecoderSizes {
    /// Decoder layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Capacity of the caches: the longest report, words.
    pub max_words: usize,
    /// Patch tokens per row and per column of the image: 7 means 49 tokens.
    pub grid: usize,
    /// Cells of the heat map per row and per column.
    pub heat_grid: usize,
}

/// Post-processing of the graphs' outputs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PreviewOptions {
    /// Beam width; 1 is greedy.
    pub beam_size: usize,
    /// No n-gram of this length occurs twice; 0 allows all.
    pub block_ngram: usize,
    /// Smallest score of a detection.
    pub score_min: f32,
    /// Non-maximum suppression drops detections of one class with a larger IoU.
    pub nms_iou: f32,
    /// Most detections of an image.
    pub max_detections: usize,
    /// Smallest weight of a link: share of a sentence's attention among the boxes that it names.
    pub link_weight_min: f32,
}

/// `card.json` of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewCard {
    /// [`BUNDLE_VERSION`].
    pub version: u32,
    /// Run of the preview model.
    pub run_id: String,
    /// Digest of the preview model's weights.
    pub model_sha256: String,
    /// Digest of the weights of the report model that it was distilled from.
    pub report_model_sha256: String,
    /// Version of the code that wrote the bundle.
    pub code_version: String,
    /// Preprocessing of the encoder's input.
    pub input: InputSpec,
    /// Class names, one per channel of the heat map.
    pub classes: Vec<String>,
    /// Label names, one per entry of the label output.
    pub labels: Vec<String>,
    /// Sizes of the graphs' tensors.
    pub decoder: DecoderSizes,
    /// Post-processing.
    pub options: PreviewOptions,
    /// Words by id.
    pub vocabulary: Vocabulary,
    /// Every other file of the bundle.
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
