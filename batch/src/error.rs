//! The one error type of the batch job: every variant says what failed, where, and how the process ends.

use std::path::{Path, PathBuf};

use crate::exit::Exit;

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Messages are lower-case fragments with subject, place and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Arguments that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// A file or table whose content cannot be used.
    #[error("{place}: {problem}")]
    BadData {
        /// File, row or column.
        place: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file or folder that is not there.
    #[error("{path}: not found; {hint}")]
    InputMissing {
        /// The path looked for.
        path: PathBuf,
        /// What to do.
        hint: String,
    },
    /// Configuration that is wrong.
    #[error("{place}: {problem}")]
    Config {
        /// The layer: a preset, a file, an environment variable or a flag.
        place: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Another process or a full device stands in the way; trying again later may help.
    #[error("{0}")]
    Temporary(String),
    /// There was nothing to do.
    #[error("nothing to do: {0}")]
    NothingToDo(String),
    /// A signal asked us to stop; work so far is saved.
    #[error("stopped by signal {signal}; run the same command again to resume")]
    Stopped {
        /// SIGINT (2) or SIGTERM (15).
        signal: i32,
    },
    /// Reading or writing failed.
    #[error("{action} {path}")]
    Io {
        /// What was tried, for instance `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// libtorch refused.
    #[error("{context}")]
    Torch {
        /// What was computed.
        context: String,
        /// Its message.
        #[source]
        source: tch::TchError,
    },
    /// A defect of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// A [`Error::BadData`].
    pub fn bad_data(place: impl std::fmt::Display, problem: impl std::fmt::Display) -> Self {
        Self::BadData { place: place.to_string(), problem: problem.to_string() }
    }

    /// An [`Error::Io`]; not-found becomes [`Error::InputMissing`].
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        if source.kind() == std::io::ErrorKind::NotFound {
            return Self::InputMissing { path, hint: format!("cannot {action} it") };
        }
        Self::Io { action, path, source }
    }

    /// How a process that meets this error ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::BadData { .. } => Exit::BadData,
            Self::InputMissing { .. } => Exit::InputMissing,
            Self::Config { .. } => Exit::BadConfig,
            Self::Temporary(_) => Exit::Temporary,
            Self::NothingToDo(_) => Exit::NothingToDo,
            Self::Stopped { signal: 2 } => Exit::Interrupted,
            Self::Stopped { .. } => Exit::Terminated,
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull
                | std::io::ErrorKind::QuotaExceeded
                | std::io::ErrorKind::TimedOut
                | std::io::ErrorKind::ResourceBusy
                | std::io::ErrorKind::OutOfMemory => Exit::Temporary,
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => Exit::BadData,
                _ => Exit::InputMissing,
            },
            Self::Torch { source, .. } if source.to_string().contains("out of memory") => Exit::Temporary,
            Self::Torch { .. } | Self::Internal(_) => Exit::Bug,
        }
    }

    /// The message with its causes, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(e) = cause {
            // libtorch appends a C++ backtrace after the first line; it helps nobody here.
            let line = e.to_string();
            text.push_str(": ");
            text.push_str(line.lines().next().unwrap_or_default());
            cause = e.source();
        }
        text
    }
}

impl From<tch::TchError> for Error {
    fn from(source: tch::TchError) -> Self {
        Self::Torch { context: "libtorch".into(), source }
    }
}

impl From<d2r_phantom::Error> for Error {
    fn from(error: d2r_phantom::Error) -> Self {
        match error {
            d2r_phantom::Error::Settings { key, problem } => Self::Config { place: key, problem },
            d2r_phantom::Error::Occupied(_) => Self::Usage(error.to_string()),
            d2r_phantom::Error::Stopped { signal } => Self::Stopped { signal },
            d2r_phantom::Error::Io { action, path, source } => Self::io(action, path, source),
            d2r_phantom::Error::Internal(problem) => Self::Internal(problem),
        }
    }
}
