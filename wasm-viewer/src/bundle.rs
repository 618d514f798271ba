//! Reads the card of a preview bundle, and checks files against it.

use d2r_contracts::preview_bundle::{BUNDLE_VERSION, FILE_MAX, PreviewCard};
use sha2::{Digest, Sha256};

use crate::card_limits::{CARD_BYTES_MAX, check_limits};
use crate::error::{Result, ViewerError};

/// Parses and checks the card of a bundle.
///
/// # Errors
/// [`ViewerError::Bundle`] for text that is not a card of this version, [`ViewerError::Card`] for numbers out of their
/// limits.
pub fn read_card(text: &[u8]) -> Result<PreviewCard> {
    if text.len() > CARD_BYTES_MAX {
        let problem = format!("{} bytes, at most {CARD_BYTES_MAX} are read", text.len());
        return Err(ViewerError::Card { field: "the card", problem });
    }
    let card: PreviewCard = serde_json::from_slice(text).map_err(|e| ViewerError::Bundle(format!("card.json: {e}")))?;
    if card.version != BUNDLE_VERSION {
        let problem = format!("card.json: version {}, this viewer reads {BUNDLE_VERSION}", card.version);
        return Err(ViewerError::Bundle(problem));
    }
    check_limits(&card)?;
    Ok(card)
}

/// Checks size and digest of a file against the card.
///
/// # Errors
/// [`ViewerError::Digest`] when they are not.
pub fn check_file(card: &PreviewCard, name: &str, bytes: &[u8]) -> Result<()> {
    let wrong = |problem: String| ViewerError::Digest { name: name.into(), problem };
    let entry = card.file(name).ok_or_else(|| wrong("the card does not name it".into()))?;
    if bytes.len() as u64 != entry.bytes || entry.bytes > FILE_MAX {
        return Err(wrong(format!("{} bytes instead of {}", bytes.len(), entry.bytes)));
    }
    let digest: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    if digest != entry.sha256 { Err(wrong("its digest differs".into())) } else { Ok(()) }
}
