//! For JavaScript: a session as an object whose methods take bytes and return JSON. They never throw; an error is
//! `{"error": {"code", "message"}}`.

use d2r_contracts::decode::{DecodeOptions, decode};
use d2r_contracts::preview_bundle::SAMPLES;
use d2r_contracts::radiograph::Radiograph;
use serde::Serialize;
use serde_json::json;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::bundle::{check_file, read_card};
use crate::error::{Result, ViewerError};
use crate::sample_bundle::{Sample, read_samples};
use crate::session::{PreviewSession, Reading};

/// Films with more pixels are refused before they are decoded: a page has less memory than a batch job.
pub const FILM_PIXELS_MAX: u64 = 32_000_000;

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

/// A viewer: empty until a bundle is loaded. A film is analysed by [`Viewer::open`], [`Viewer::see`],
/// [`Viewer::advance`] until it is done, and [`Viewer::finish`]; between them the caller may stop.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Viewer {
    session: Option<PreviewSession>,
    film: Option<Radiograph>,
    reading: Option<Reading>,
    samples: Vec<Sample>,
}

impl Viewer {
    fn session(&self) -> Result<&PreviewSession> {
        self.session.as_ref().ok_or_else(|| ViewerError::Bundle("no bundle is loaded".into()))
    }

    fn opened(&mut self, bytes: &[u8], allow_phi: bool) -> Result<serde_json::Value> {
        (self.film, self.reading) = (None, None);
        let options = DecodeOptions { allow_phi, max_pixels: FILM_PIXELS_MAX };
        let film = decode(bytes, &options).map_err(ViewerError::film)?;
        let (width, height) = (film.radiograph.width, film.radiograph.height);
        self.film = Some(film.radiograph);
        Ok(json!({ "kind": film.kind.name(), "width": width, "height": height, "view": film.view }))
    }

    fn seen(&mut self) -> Result<serde_json::Value> {
        let film = self.film.as_ref().ok_or_else(no_film)?;
        let reading = self.session()?.begin(film)?;
        let seen = serde_json::to_value(reading.seen()).map_err(crate::error::model_error)?;
        self.reading = Some(reading);
        Ok(seen)
    }

    fn advanced(&mut self) -> Result<serde_json::Value> {
        let reading = self.reading.as_mut().ok_or_else(no_film)?;
        let goes_on = reading.advance()?;
        let words = reading.words().to_vec();
        let text = self.session()?.card().vocabulary.decode(&words);
        Ok(json!({ "done": !goes_on, "words": words.len(), "text": text }))
    }
}

fn no_film() -> ViewerError {
    ViewerError::Film { code: "no_film".into(), message: "no film is open".into() }
}

#[wasm_bindgen]
impl Viewer {
    /// An empty viewer.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads a bundle's card and graphs; the card as JSON.
    pub fn load(&mut self, card: &[u8], encoder: &[u8], step: &[u8]) -> String {
        to_json(PreviewSession::new(card, encoder, step).map(|session| {
            let card = session.card().clone();
            self.session = Some(session);
            card
        }))
    }

    /// Decodes a film: `{kind, width, height, view}`. `allow_phi` accepts DICOM files that do not say that they were
    /// de-identified.
    pub fn open(&mut self, film: &[u8], allow_phi: bool) -> String {
        to_json(self.opened(film, allow_phi))
    }

    /// Grey levels of the open film, row by row, bright is dense; empty without a film.
    pub fn pixels(&self) -> Vec<u8> {
        self.film.as_ref().map_or_else(Vec::new, |f| f.pixels.clone())
    }

    /// Looks at the open film: findings, labels and heat map.
    pub fn see(&mut self) -> String {
        to_json(self.seen())
    }

    /// Writes one more word: `{done, words, text}`, the text being the likeliest so far.
    pub fn advance(&mut self) -> String {
        to_json(self.advanced())
    }

    /// The analysis as far as the report was written.
    pub fn finish(&mut self) -> String {
        let reading = self.reading.take().ok_or_else(no_film);
        to_json(reading.and_then(|reading| Ok(self.session()?.finish(reading))))
    }

    /// Reads the bundle's sample studies; their pictures come by [`Viewer::sample_picture`].
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

    /// The picture of a sample by its place; empty where there is none.
    pub fn sample_picture(&self, place: usize) -> Vec<u8> {
        self.samples.get(place).map_or_else(Vec::new, |s| s.image.clone())
    }

    /// Names of the matrix kernels that the loaded graphs run on.
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
    fn a_film_opens_without_a_bundle_and_is_not_analysed() {
        let mut viewer = Viewer::new();
        assert_eq!(
            value(&viewer.open(&png(64, 48), false)),
            json!({ "kind": "png", "width": 64, "height": 48, "view": null })
        );
        assert_eq!(viewer.pixels().len(), 64 * 48);
        assert_eq!(value(&viewer.see())["error"]["code"], "bundle");
        assert_eq!(value(&viewer.advance())["error"]["code"], "no_film");
        assert_eq!(value(&viewer.finish())["error"]["code"], "no_film");
    }

    #[test]
    fn what_is_no_film_is_an_error_and_leaves_none_open() {
        let mut viewer = Viewer::new();
        viewer.open(&png(64, 48), false);
        for bytes in [&b""[..], b"hello", &[0xff, 0xd8, 0xff, 0xe0]] {
            let answer = value(&viewer.open(bytes, false));
            assert!(answer["error"]["code"].is_string() && answer["error"]["message"].is_string(), "{answer}");
            assert!(viewer.pixels().is_empty());
        }
    }

    #[test]
    fn a_film_beyond_a_page_s_memory_is_refused_by_its_header() {
        let answer = value(&Viewer::new().open(&png(8000, 5000), false));
        assert_eq!(answer["error"]["code"], "too_large");
    }

    #[test]
    fn bytes_that_are_no_bundle_are_refused() {
        let mut viewer = Viewer::new();
        assert_eq!(value(&viewer.load(b"{}", b"", b""))["error"]["code"], "bundle");
        assert_eq!(value(&viewer.load_samples(b"no card", b""))["error"]["code"], "bundle");
        assert!(viewer.sample_picture(0).is_empty());
    }
}
