//! Interface for JavaScript: a session as an object whose methods take bytes and return JSON. They never throw; an
//! error is `{"error": {"code", "message"}}`.

use d2r_contracts::decode::{ImageDecodeOptions, decode};
use d2r_contracts::preview_bundle::SAMPLES;
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::report_text::readable;
use serde::Serialize;
use serde_json::json;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::bundle::{check_file, read_card};
use crate::error::{Result, ViewerError, model_error};
use crate::sample_bundle::{Sample, read_samples};
use crate::session::{Generation, PreviewSession};

/// Images with more pixels are refused before decoding: a page has less memory than a batch job.
pub const IMAGE_PIXELS_MAX: u64 = 32_000_000;

const fn options(allow_phi: bool) -> ImageDecodeOptions {
    ImageDecodeOptions { allow_phi, max_pixels: IMAGE_PIXELS_MAX }
}

/// Largest file that [`Viewer::open`] takes, bytes: the caller refuses larger ones before it reads them.
#[wasm_bindgen]
pub fn file_bytes_max() -> f64 {
    options(false).file_bytes_max() as f64
}

fn to_json<T: Serialize>(result: Result<T>) -> String {
    let value = match result {
        Ok(value) => serde_json::to_value(value),
        Err(e) => Ok(json!({ "error": { "code": e.code(), "message": e.to_string() } })),
    };
    value.map_or_else(
        |_| r#"{"error":{"code":"internal","message":"a result could not be written"}}"#.into(),
        |v| v.to_string(),
    )
}

/// A viewer, empty until a bundle is loaded. A radiograph is analysed by [`Viewer::open`], [`Viewer::detect`],
/// [`Viewer::advance`] until it is done, and [`Viewer::finish`]; between the calls the caller may stop.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Viewer {
    session: Option<PreviewSession>,
    radiograph: Option<Radiograph>,
    generation: Option<Generation>,
    samples: Vec<Sample>,
}

impl Viewer {
    fn session(&self) -> Result<&PreviewSession> {
        self.session.as_ref().ok_or_else(|| ViewerError::Bundle("no bundle is loaded".into()))
    }

    fn try_open(&mut self, bytes: &[u8], allow_phi: bool) -> Result<serde_json::Value> {
        (self.radiograph, self.generation) = (None, None);
        let decoded = decode(bytes, &options(allow_phi))?;
        let (width, height) = (decoded.radiograph.width, decoded.radiograph.height);
        self.radiograph = Some(decoded.radiograph);
        Ok(json!({
            "kind": decoded.kind.name(), "width": width, "height": height, "projection": decoded.projection,
        }))
    }

    fn try_detect(&mut self) -> Result<serde_json::Value> {
        let radiograph = self.radiograph.as_ref().ok_or(ViewerError::NoImage)?;
        let generation = self.session()?.begin(radiograph)?;
        let image = serde_json::to_value(generation.image()).map_err(model_error)?;
        self.generation = Some(generation);
        Ok(image)
    }

    fn try_advance(&mut self) -> Result<serde_json::Value> {
        let generation = self.generation.as_mut().ok_or(ViewerError::NoImage)?;
        let continues = generation.advance()?;
        let words = generation.words().to_vec();
        let text = self.session()?.card().vocabulary.decode(&words);
        Ok(json!({ "done": !continues, "words": words.len(), "readable": readable(&text), "text": text }))
    }
}

#[wasm_bindgen]
impl Viewer {
    /// An empty viewer.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads a bundle's card and graphs; returns the card.
    pub fn load(&mut self, card: &[u8], encoder: &[u8], step: &[u8]) -> String {
        to_json(PreviewSession::new(card, encoder, step).map(|session| {
            let card = session.card().clone();
            self.session = Some(session);
            card
        }))
    }

    /// Decodes a file: `{kind, width, height, projection}`. `allow_phi` accepts DICOM files that are not marked as
    /// de-identified.
    pub fn open(&mut self, file: &[u8], allow_phi: bool) -> String {
        to_json(self.try_open(file, allow_phi))
    }

    /// Grey levels of the open radiograph, row by row, bright is dense; empty without one.
    pub fn pixels(&self) -> Vec<u8> {
        self.radiograph.as_ref().map_or_else(Vec::new, |r| r.pixels.clone())
    }

    /// Runs the encoder on the open radiograph: detections, labels and heat map.
    pub fn detect(&mut self) -> String {
        to_json(self.try_detect())
    }

    /// Generates one more word: `{done, words, text, readable}`, `text` being the most probable text so far.
    pub fn advance(&mut self) -> String {
        to_json(self.try_advance())
    }

    /// The analysis, with the report as far as it was generated.
    pub fn finish(&mut self) -> String {
        let generation = self.generation.take().ok_or(ViewerError::NoImage);
        to_json(generation.and_then(|generation| Ok(self.session()?.finish(generation))))
    }

    /// Loads the bundle's sample studies and returns them without their images; see [`Viewer::sample_image`].
    pub fn load_samples(&mut self, card: &[u8], bytes: &[u8]) -> String {
        let read = read_card(card).and_then(|card| {
            check_file(&card, SAMPLES, bytes)?;
            read_samples(bytes)
        });
        to_json(read.map(|samples| {
            self.samples = samples;
            &self.samples
        }))
    }

    /// The image file of a sample study by its index; empty where there is none.
    pub fn sample_image(&self, index: usize) -> Vec<u8> {
        self.samples.get(index).map_or_else(Vec::new, |s| s.image.clone())
    }

    /// Names of the matrix multiplication kernels of the loaded graphs.
    pub fn kernels(&self) -> String {
        to_json(self.session().map(PreviewSession::kernels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> serde_json::Value {
        serde_json::from_str(json).unwrap()
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let pixels = vec![100u8; (width * height) as usize];
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        image::ImageEncoder::write_image(encoder, &pixels, width, height, image::ExtendedColorType::L8).unwrap();
        bytes
    }

    #[test]
    fn an_image_opens_without_a_bundle_and_is_not_analysed() {
        let mut viewer = Viewer::new();
        assert_eq!(
            value(&viewer.open(&png(64, 48), false)),
            json!({ "kind": "png", "width": 64, "height": 48, "projection": null })
        );
        assert_eq!(viewer.pixels().len(), 64 * 48);
        assert_eq!(value(&viewer.detect())["error"]["code"], "bundle");
        assert_eq!(value(&viewer.advance())["error"]["code"], "no_image");
        assert_eq!(value(&viewer.finish())["error"]["code"], "no_image");
    }

    #[test]
    fn files_that_are_not_images_are_refused_and_close_the_open_image() {
        let mut viewer = Viewer::new();
        viewer.open(&png(64, 48), false);
        for bytes in [&b""[..], b"hello", &[0xff, 0xd8, 0xff, 0xe0]] {
            let answer = value(&viewer.open(bytes, false));
            assert!(answer["error"]["code"].is_string() && answer["error"]["message"].is_string(), "{answer}");
            assert!(viewer.pixels().is_empty());
        }
    }

    #[test]
    fn an_image_beyond_the_page_s_memory_is_refused_by_its_header() {
        let answer = value(&Viewer::new().open(&png(8000, 5000), false));
        assert_eq!(answer["error"]["code"], "too_large");
    }

    #[test]
    fn the_largest_file_has_four_bytes_a_pixel_and_a_header() {
        assert_eq!(file_bytes_max(), f64::from(4 * 32_000_000 + 64 * 1024 * 1024));
    }

    #[test]
    fn the_shipped_bundle_is_within_the_limits() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../batch/models/preview");
        let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let mut viewer = Viewer::new();
        let card = file("card.json");
        let loaded = value(&viewer.load(&card, &file("encoder.onnx"), &file("step.onnx")));
        assert_eq!(loaded["error"], serde_json::Value::Null);
        viewer.open(&png(64, 48), false);
        assert!(value(&viewer.detect())["heat"].is_array());
        assert!(value(&viewer.advance())["text"].is_string());
    }

    #[test]
    fn bytes_that_are_not_a_bundle_are_refused() {
        let mut viewer = Viewer::new();
        assert_eq!(value(&viewer.load(b"{}", b"", b""))["error"]["code"], "bundle");
        assert_eq!(value(&viewer.load_samples(b"not a card", b""))["error"]["code"], "bundle");
        assert!(viewer.sample_image(0).is_empty());
    }
}
