//! Limits of a bundle's card: every size that memory or time depends on, and the products of these sizes. A page has
//! 4 GiB at most, and a card comes from a server.

use std::ops::RangeInclusive;

use d2r_contracts::preprocess::Fit;
use d2r_contracts::preview_bundle::{FILE_MAX, PreviewCard};

use crate::error::{Result, ViewerError};

/// Largest `card.json`, bytes; a card with the largest vocabulary has about 1 MB.
pub const CARD_BYTES_MAX: usize = 4 << 20;

/// Width and height of the input: an encoder's first layer at this size has some 10 million values.
const INPUT_SIZE: RangeInclusive<u64> = 1..=1024;
/// Classes and labels: VinDr-CXR has 22 and CheXpert 14.
const NAMES: RangeInclusive<u64> = 1..=256;
/// Layers, heads.
const LAYERS: RangeInclusive<u64> = 1..=64;
const D_HEAD: RangeInclusive<u64> = 1..=1024;
/// Longest report, words; as `report.train.max_tokens` of the batch job.
const WORDS: RangeInclusive<u64> = 1..=1024;
/// Patch tokens per row and per column.
const GRID: RangeInclusive<u64> = 1..=64;
/// Cells of the heat map per row and per column.
const HEAT_GRID: RangeInclusive<u64> = 1..=256;
/// As `generate.beam_size` of the batch job.
const BEAM_SIZE: RangeInclusive<u64> = 1..=64;
const BLOCK_NGRAM: RangeInclusive<u64> = 0..=1024;
const DETECTIONS: RangeInclusive<u64> = 0..=1000;
/// Each step of a beam sorts into the best of this many words.
const VOCABULARY: RangeInclusive<u64> = 1..=65_536;
/// Files that the card names; a bundle has four.
const FILES: RangeInclusive<u64> = 0..=16;
const SHARE: RangeInclusive<f32> = 0.0..=1.0;

/// Scores of the heat map, 4 MiB; their boxes go into non-maximum suppression.
const HEAT_VALUES_MAX: u64 = 1 << 20;
/// Keys of all hypotheses; the values are as many. 64 MiB each, twice while hypotheses are replaced.
const CACHE_VALUES_MAX: u64 = 1 << 24;
/// Attention of all words of all hypotheses, 64 MiB.
const ATTENTION_VALUES_MAX: u64 = 1 << 24;

fn bad<T>(field: &'static str, problem: String) -> Result<T> {
    Err(ViewerError::Card { field, problem })
}

fn whole(field: &'static str, value: usize, allowed: &RangeInclusive<u64>) -> Result<()> {
    if allowed.contains(&(value as u64)) {
        return Ok(());
    }
    bad(field, format!("{value} is outside {} to {}", allowed.start(), allowed.end()))
}

fn share(field: &'static str, value: f32) -> Result<()> {
    if SHARE.contains(&value) { Ok(()) } else { bad(field, format!("{value} is outside 0 to 1")) }
}

/// The factors are within their own limits, so that the product of five does not overflow.
fn product(field: &'static str, factors: &[usize], most: u64) -> Result<()> {
    let product = factors.iter().fold(1u64, |product, factor| product.saturating_mul(*factor as u64));
    if product <= most { Ok(()) } else { bad(field, format!("together {product} values, at most {most} are allowed")) }
}

/// Checks every number of a card.
///
/// # Errors
/// [`ViewerError::Card`] with the first field that is out of its limits.
pub fn check_limits(card: &PreviewCard) -> Result<()> {
    let (sizes, options) = (&card.decoder, &card.options);
    whole("input.size", card.input.size as usize, &INPUT_SIZE)?;
    if card.input.fit == Fit::ShortEdge {
        return bad("input.fit", "the graphs take squares: letterbox or squash".into());
    }
    whole("classes", card.classes.len(), &NAMES)?;
    whole("labels", card.labels.len(), &NAMES)?;
    whole("decoder.layers", sizes.layers, &LAYERS)?;
    whole("decoder.heads", sizes.heads, &LAYERS)?;
    whole("decoder.d_head", sizes.d_head, &D_HEAD)?;
    whole("decoder.max_words", sizes.max_words, &WORDS)?;
    whole("decoder.grid", sizes.grid, &GRID)?;
    whole("decoder.heat_grid", sizes.heat_grid, &HEAT_GRID)?;
    whole("options.beam_size", options.beam_size, &BEAM_SIZE)?;
    whole("options.block_ngram", options.block_ngram, &BLOCK_NGRAM)?;
    whole("options.max_detections", options.max_detections, &DETECTIONS)?;
    share("options.score_min", options.score_min)?;
    share("options.nms_iou", options.nms_iou)?;
    share("options.link_weight_min", options.link_weight_min)?;
    whole("vocabulary", card.vocabulary.len(), &VOCABULARY)?;
    whole("files", card.files.len(), &FILES)?;
    if let Some(file) = card.files.iter().find(|file| file.bytes > FILE_MAX) {
        return bad("files", format!("a file of {} bytes, at most {FILE_MAX} are allowed", file.bytes));
    }
    let heat = [sizes.heat_grid, sizes.heat_grid, card.classes.len()];
    product("decoder.heat_grid^2 * classes", &heat, HEAT_VALUES_MAX)?;
    let cache = [options.beam_size, sizes.layers, sizes.heads, sizes.d_head, sizes.max_words];
    product("options.beam_size * decoder.layers * heads * d_head * max_words", &cache, CACHE_VALUES_MAX)?;
    let attention = [options.beam_size, sizes.max_words, sizes.grid, sizes.grid];
    product("options.beam_size * decoder.max_words * grid^2", &attention, ATTENTION_VALUES_MAX)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use d2r_contracts::preview_bundle::BUNDLE_VERSION;
    use serde_json::{Value, json};

    use crate::bundle::read_card;

    /// A card with the sizes of the default preview model.
    fn card() -> Value {
        json!({
            "version": BUNDLE_VERSION, "run_id": "r", "model_sha256": "", "report_model_sha256": "", "code_version": "0",
            "input": { "size": 224, "fit": "letterbox", "mean": 0.0, "std": 1.0 },
            "classes": vec!["Nodule/Mass"; 22], "labels": vec!["Edema"; 14],
            "decoder": { "layers": 2, "heads": 4, "d_head": 32, "max_words": 80, "grid": 7, "heat_grid": 14 },
            "options": {
                "beam_size": 1, "block_ngram": 0, "score_min": 0.3, "nms_iou": 0.4, "max_detections": 20,
                "link_weight_min": 0.3
            },
            "vocabulary": ["<unk>"], "files": [], "notice": ""
        })
    }

    /// Reads the card with these values at these JSON pointers.
    fn read(changes: &[(&str, Value)]) -> Result<PreviewCard> {
        let mut card = card();
        for (place, value) in changes {
            *card.pointer_mut(place).unwrap() = value.clone();
        }
        read_card(card.to_string().as_bytes())
    }

    /// A card with the most scores of a heat map and the most detections.
    pub fn largest_heat_map() -> PreviewCard {
        let most = ("/options/max_detections", json!(1000));
        read(&[("/decoder/heat_grid", json!(256)), ("/classes", names(16)), most]).unwrap()
    }

    fn refused(changes: &[(&str, Value)]) -> String {
        let error = read(changes).unwrap_err();
        assert_eq!(error.code(), "card", "{error}");
        error.to_string()
    }

    fn names(count: usize) -> Value {
        json!(vec!["a"; count])
    }

    fn words(count: usize) -> Value {
        json!(std::iter::once("<unk>".into()).chain((1..count).map(|i| format!("w{i:06}"))).collect::<Vec<_>>())
    }

    fn files(count: usize, bytes: u64) -> Value {
        json!(vec![json!({ "name": "a", "bytes": bytes, "sha256": "" }); count])
    }

    #[test]
    fn a_number_at_its_limit_is_accepted_and_beyond_it_refused_by_name() {
        read(&[]).unwrap();
        let limits: [(&str, Value, Value); 31] = [
            ("/input/size", json!(1), json!(0)),
            ("/input/size", json!(1024), json!(1025)),
            ("/input/fit", json!("squash"), json!("short_edge")),
            ("/classes", names(1), names(0)),
            ("/classes", names(256), names(257)),
            ("/labels", names(1), names(0)),
            ("/labels", names(256), names(257)),
            ("/decoder/layers", json!(64), json!(65)),
            ("/decoder/heads", json!(64), json!(0)),
            ("/decoder/d_head", json!(1024), json!(1025)),
            ("/decoder/max_words", json!(1024), json!(1025)),
            ("/decoder/max_words", json!(1), json!(0)),
            ("/decoder/grid", json!(64), json!(65)),
            ("/decoder/grid", json!(1), json!(0)),
            ("/decoder/heat_grid", json!(1), json!(0)),
            ("/options/beam_size", json!(1), json!(0)),
            ("/options/beam_size", json!(64), json!(65)),
            ("/options/beam_size", json!(64), json!(u64::MAX >> 33)),
            ("/options/block_ngram", json!(1024), json!(1025)),
            ("/options/max_detections", json!(0), json!(1001)),
            ("/options/max_detections", json!(1000), json!(1001)),
            ("/options/score_min", json!(0.0), json!(-0.001)),
            ("/options/score_min", json!(1.0), json!(1.001)),
            ("/options/nms_iou", json!(0.0), json!(-0.001)),
            ("/options/nms_iou", json!(1.0), json!(1e38)),
            ("/options/link_weight_min", json!(0.0), json!(-1.0)),
            ("/options/link_weight_min", json!(1.0), json!(1.5)),
            ("/vocabulary", words(1), words(65_537)),
            ("/vocabulary", words(65_536), words(65_537)),
            ("/files", files(16, 1), files(17, 1)),
            ("/files", files(1, FILE_MAX), files(1, FILE_MAX + 1)),
        ];
        for (place, at_limit, beyond) in limits {
            read(&[(place, at_limit)]).unwrap_or_else(|e| panic!("{place}: {e}"));
            let field = place[1..].replace('/', ".");
            let message = refused(&[(place, beyond)]);
            assert!(message.contains(&field), "{field}: {message}");
        }
        // The heat map's limit is with few classes.
        read(&[("/decoder/heat_grid", json!(256)), ("/classes", names(16))]).unwrap();
        assert!(
            refused(&[("/decoder/heat_grid", json!(257)), ("/classes", names(1))]).contains("decoder.heat_grid: 257")
        );
    }

    #[test]
    fn sizes_within_their_limits_are_refused_when_their_product_is_not() {
        let heat = [("/decoder/heat_grid", json!(256)), ("/classes", names(17))];
        assert!(refused(&heat).contains("decoder.heat_grid^2 * classes"));

        let cache = |words: usize| {
            let beam = ("/options/beam_size", json!(8));
            let layers = ("/decoder/layers", json!(8));
            let heads = ("/decoder/heads", json!(8));
            let width = ("/decoder/d_head", json!(64));
            [beam, layers, heads, width, ("/decoder/max_words", json!(words))]
        };
        read(&cache(512)).unwrap();
        assert!(refused(&cache(513)).contains("layers * heads * d_head * max_words"));

        let attention = |beam: usize| {
            let narrow = [("/decoder/layers", json!(1)), ("/decoder/heads", json!(1)), ("/decoder/d_head", json!(1))];
            let [a, b, c] = narrow;
            let words = ("/decoder/max_words", json!(1024));
            [a, b, c, words, ("/decoder/grid", json!(64)), ("/options/beam_size", json!(beam))]
        };
        read(&attention(4)).unwrap();
        assert!(refused(&attention(5)).contains("max_words * grid^2"));
    }

    #[test]
    fn a_card_that_is_too_long_is_refused_before_it_is_parsed() {
        let blank = vec![b' '; CARD_BYTES_MAX + 1];
        let error = read_card(&blank).unwrap_err();
        assert!(error.code() == "card" && error.to_string().contains("at most"), "{error}");
    }
}
