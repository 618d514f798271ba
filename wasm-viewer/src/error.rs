//! Errors of the viewer, with stable codes for the page.

use d2r_contracts::decode::DecodeError;
use thiserror::Error;

/// An error with a message for the user.
#[derive(Debug, Error)]
pub enum ViewerError {
    /// The bundle cannot be used.
    #[error("the preview bundle cannot be used: {0}")]
    Bundle(String),
    /// A number of the card is out of its limits.
    #[error("the preview bundle cannot be used: card.json: {field}: {problem}; export the bundle again")]
    Card {
        /// Path of the field in the card.
        field: &'static str,
        problem: String,
    },
    /// Size or digest of a file differs from the card.
    #[error("{name} is not the file that card.json names: {problem}; load the bundle again")]
    Digest {
        name: String,
        /// Difference from the card.
        problem: String,
    },
    /// The image cannot be decoded.
    #[error("{0}")]
    Image(#[from] DecodeError),
    /// No image is open.
    #[error("no image is open")]
    NoImage,
    /// A graph failed: a defect of the program.
    #[error("the model failed: {0}")]
    Model(String),
}

impl ViewerError {
    /// A stable code: the decoder's for images, else that of the variant.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bundle(_) => "bundle",
            Self::Card { .. } => "card",
            Self::Digest { .. } => "digest",
            Self::Image(error) => error.code(),
            Self::NoImage => "no_image",
            Self::Model(_) => "model",
        }
    }
}

/// A result of the viewer.
pub type Result<T> = std::result::Result<T, ViewerError>;

/// An error of tract, with its causes.
pub fn model_error(e: impl std::fmt::Display) -> ViewerError {
    ViewerError::Model(format!("{e:#}"))
}
