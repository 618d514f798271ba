//! What can go wrong in the viewer, with stable codes for the page.

use d2r_contracts::decode::DecodeError;
use thiserror::Error;

/// An error that a person can act on.
#[derive(Debug, Error)]
pub enum ViewerError {
    /// The bundle cannot be used.
    #[error("the preview bundle cannot be used: {0}")]
    Bundle(String),
    /// A file is not the one that the card names.
    #[error("{name} is not the file that card.json names: {problem}; load the bundle again")]
    Digest {
        /// The file.
        name: String,
        /// Size or digest.
        problem: String,
    },
    /// The film cannot be used.
    #[error("{message}")]
    Film {
        /// The decoder's code.
        code: String,
        /// What is wrong with it.
        message: String,
    },
    /// The network failed: a defect of ours.
    #[error("the model failed: {0}")]
    Model(String),
}

impl ViewerError {
    /// What the decoder says of a film.
    pub fn film(e: DecodeError) -> Self {
        Self::Film { code: e.code().to_owned(), message: e.to_string() }
    }

    /// A stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Bundle(_) => "bundle",
            Self::Digest { .. } => "digest",
            Self::Film { code, .. } => code,
            Self::Model(_) => "model",
        }
    }
}

/// A result of the viewer.
pub type Result<T> = std::result::Result<T, ViewerError>;

/// What tract says, for people.
pub fn model_error(e: impl std::fmt::Display) -> ViewerError {
    ViewerError::Model(format!("{e:#}"))
}
