//! For JavaScript: a session as an object whose methods take bytes and return JSON. They never throw; an error is
//! `{"error": {"code", "message"}}`.

use serde::Serialize;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::ViewerError;
use crate::sample_bundle::read_samples;
use crate::session::{PreviewSession, check_file, read_card};

fn json<T: Serialize>(result: Result<T, ViewerError>) -> String {
    let value = match result {
        Ok(value) => serde_json::to_value(value),
        Err(e) => Ok(serde_json::json!({ "error": { "code": e.code(), "message": e.to_string() } })),
    };
    value.map_or_else(|_| r#"{"error":{"code":"internal","message":"a result could not be written"}}"#.into(), |v| v.to_string())
}

/// A viewer: empty until a bundle is loaded.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Viewer {
    session: Option<PreviewSession>,
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
        json(PreviewSession::new(card, encoder, step).map(|session| {
            let card = session.card().clone();
            self.session = Some(session);
            card
        }))
    }

    /// Analyses a film's bytes.
    pub fn analyze(&self, film: &[u8]) -> String {
        let missing = || ViewerError::Bundle("no bundle is loaded".into());
        json(self.session.as_ref().ok_or_else(missing).and_then(|s| s.analyze(film, &mut |_| true)))
    }
}

/// The sample studies of a bundle, their pictures left out; they come by [`sample_picture`].
#[wasm_bindgen]
pub fn samples(card: &[u8], bytes: &[u8]) -> String {
    let read = read_card(card).and_then(|card| {
        check_file(&card, d2r_contracts::preview_bundle::SAMPLES, bytes)?;
        read_samples(bytes)
    });
    json(read)
}

/// The picture of a sample, by its place; empty where there is none.
#[wasm_bindgen]
pub fn sample_picture(bytes: &[u8], place: usize) -> Vec<u8> {
    read_samples(bytes).ok().and_then(|s| s.into_iter().nth(place)).map_or_else(Vec::new, |s| s.image)
}
