//! Browser side of D2R: what a page needs to look at a film without sending it anywhere.
//!
//! [`session::PreviewSession`] runs the student natively and in WebAssembly; [`describe`] decodes a file with the very
//! code of the batch job; what is marked for JavaScript is a thin skin. Research software, not a medical device.

pub mod error;
pub mod generate;
pub mod graph;
pub mod sample_bundle;
pub mod session;
mod skin;

use d2r_contracts::decode::{DecodeOptions, decode};
use serde::Serialize;
use wasm_bindgen::prelude::wasm_bindgen;

/// Research-use notice, shown wherever results are.
pub const NOTICE: &str = "Research software, not a medical device. Not for diagnosis.";

/// What a film is, in a few words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// `png`, `jpeg` or `dicom`.
    pub kind: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `PA`, `AP` or `LATERAL` where the file says so.
    pub view: Option<String>,
    /// Mean grey level, 0 to 255; bright is dense.
    pub mean_grey: f64,
    /// Research-use notice.
    pub notice: &'static str,
}

/// Decodes a file and describes it.
///
/// # Errors
/// The decoder's stable code and its message, for a file that cannot be used.
pub fn describe(bytes: &[u8]) -> Result<Description, (String, String)> {
    let film = decode(bytes, &DecodeOptions::default()).map_err(|e| (e.code().to_owned(), e.to_string()))?;
    let sum: u64 = film.radiograph.pixels.iter().map(|p| u64::from(*p)).sum();
    Ok(Description {
        kind: format!("{:?}", film.kind).to_lowercase(),
        width: film.radiograph.width,
        height: film.radiograph.height,
        view: film.view,
        mean_grey: sum as f64 / film.radiograph.pixels.len() as f64,
        notice: NOTICE,
    })
}

/// For JavaScript: a JSON object, either a [`Description`] or `{"error": {"code", "message"}}`. Never throws.
#[wasm_bindgen]
pub fn describe_radiograph(bytes: &[u8]) -> String {
    let value = match describe(bytes) {
        Ok(description) => serde_json::to_value(description),
        Err((code, message)) => Ok(serde_json::json!({ "error": { "code": code, "message": message } })),
    };
    value.map_or_else(|e| format!("{{\"error\":{{\"code\":\"internal\",\"message\":\"{e}\"}}}}"), |v| v.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_is_described() {
        let mut png = Vec::new();
        let pixels = vec![100u8; 64 * 48];
        image::ImageEncoder::write_image(
            image::codecs::png::PngEncoder::new(&mut png),
            &pixels,
            64,
            48,
            image::ExtendedColorType::L8,
        )
        .unwrap();
        let json: serde_json::Value = serde_json::from_str(&describe_radiograph(&png)).unwrap();
        assert_eq!(
            (json["kind"].as_str(), json["width"].as_u64(), json["height"].as_u64()),
            (Some("png"), Some(64), Some(48))
        );
        assert!(json["notice"].as_str().unwrap().contains("not a medical device"));
    }

    #[test]
    fn what_is_no_film_is_an_error_object() {
        for bytes in [&b""[..], b"hello", &[0xff, 0xd8, 0xff, 0xe0]] {
            let json: serde_json::Value = serde_json::from_str(&describe_radiograph(bytes)).unwrap();
            assert!(json["error"]["code"].is_string(), "{json}");
        }
    }
}
