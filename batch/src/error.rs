//! The one error type of the batch job: every variant states what failed and where, and has an exit code.

use std::io::ErrorKind;
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
    /// A lake that exists and holds none of the rows that the work needs.
    #[error("{lake}: table {table} has no usable rows of {partition}; {hint}")]
    NoRows {
        lake: PathBuf,
        /// For instance `images`.
        table: &'static str,
        /// `dataset` or `dataset/split`.
        partition: String,
        /// Which rows are needed, where it is not any row, and what to do.
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
    /// Another process holds a lock, or a device is full; trying again later may help.
    #[error("{0}")]
    Temporary(String),
    /// There was nothing to do.
    #[error("nothing to do: {0}")]
    NothingToDo(String),
    /// Stopped by a signal; the work so far is saved.
    #[error("stopped by signal {signal}; run the same command again to resume")]
    Stopped {
        /// SIGINT (2) or SIGTERM (15).
        signal: i32,
    },
    /// The operating system does not let this user do it.
    #[error("{path}: permission denied: cannot {action} it; give this user the permission or choose another path")]
    PermissionDenied {
        /// What was tried, for instance `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
    },
    /// Reading or writing failed for another reason.
    #[error("{action} {path}")]
    Io {
        /// What was tried, for instance `write`.
        action: &'static str,
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
    /// A defect of the program.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// A [`Error::BadData`].
    pub fn bad_data(place: impl std::fmt::Display, problem: impl std::fmt::Display) -> Self {
        Self::BadData { place: place.to_string(), problem: problem.to_string() }
    }

    /// The error for a file or folder that was looked for: [`Error::InputMissing`] when it does not exist,
    /// [`Error::BadData`] when it is of another kind, and the operating system's message where the kind is lost.
    pub fn missing(path: impl Into<PathBuf>, hint: impl Into<String>) -> Self {
        let (path, hint) = (path.into(), hint.into());
        match std::fs::metadata(&path) {
            Ok(_) => Self::bad_data(path.display(), hint),
            Err(e) if e.kind() == ErrorKind::NotFound => Self::InputMissing { path, hint },
            Err(e) => Self::io("read", path, e),
        }
    }

    /// [`Error::InputMissing`] or [`Error::PermissionDenied`] where the kind is that, else [`Error::Io`].
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        match source.kind() {
            ErrorKind::NotFound => Self::InputMissing { path, hint: format!("cannot {action} it") },
            ErrorKind::PermissionDenied => Self::PermissionDenied { action, path },
            _ => Self::Io { action, path, source },
        }
    }

    /// The exit code of a process that ends with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::BadData { .. } => Exit::BadData,
            Self::InputMissing { .. } | Self::NoRows { .. } => Exit::InputMissing,
            Self::Config { .. } | Self::PermissionDenied { .. } => Exit::BadConfig,
            Self::Temporary(_) => Exit::Temporary,
            Self::NothingToDo(_) => Exit::NothingToDo,
            Self::Stopped { signal: 2 } => Exit::Interrupted,
            Self::Stopped { .. } => Exit::Terminated,
            Self::Io { source, .. } => Exit::of_io(source.kind()),
            Self::Torch { source, .. } if is_out_of_memory(&source.to_string()) => Exit::Temporary,
            Self::Torch { .. } | Self::Internal(_) => Exit::Bug,
        }
    }

    /// The memory of a GPU or of the machine does not suffice.
    pub fn out_of_memory() -> Self {
        let remedy = "in a training raise run.accumulate, which needs the memory of one part of a batch; else lower \
            batch_size of detector.train, report.train, preview, annotate or generate, or wait for the others on \
            the device";
        Self::Temporary(format!("out of memory: {remedy}"))
    }

    /// The message with its causes, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(e) = cause {
            // libtorch appends a C++ backtrace after the first line.
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
        if is_out_of_memory(&source.to_string()) {
            return Self::out_of_memory();
        }
        Self::Torch { context: "libtorch".into(), source }
    }
}

/// Whether libtorch says that the memory of a GPU or of the machine does not suffice.
pub fn is_out_of_memory(message: &str) -> bool {
    ["out of memory", "can't allocate memory"].iter().any(|text| message.contains(text))
}

impl From<d2r_collectives::Error> for Error {
    fn from(error: d2r_collectives::Error) -> Self {
        use d2r_collectives::Error as Between;
        match error {
            Between::Meeting { .. } | Between::Lost { .. } => {
                Self::Temporary(format!("{error}; run the same command again to resume"))
            }
            Between::Tensor { .. } | Between::Argument(_) => Self::Internal(error.to_string()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_is_input_missing_only_when_nothing_was_found() {
        let cases = [
            (Exit::InputMissing, vec![ErrorKind::NotFound]),
            (
                Exit::BadConfig,
                vec![
                    ErrorKind::PermissionDenied,
                    ErrorKind::ReadOnlyFilesystem,
                    ErrorKind::NotADirectory,
                    ErrorKind::IsADirectory,
                    ErrorKind::AlreadyExists,
                    ErrorKind::InvalidFilename,
                ],
            ),
            (Exit::BadData, vec![ErrorKind::InvalidData, ErrorKind::InvalidInput, ErrorKind::UnexpectedEof]),
            (
                Exit::Temporary,
                vec![
                    ErrorKind::StorageFull,
                    ErrorKind::QuotaExceeded,
                    ErrorKind::TimedOut,
                    ErrorKind::ResourceBusy,
                    ErrorKind::OutOfMemory,
                    ErrorKind::Interrupted,
                    ErrorKind::WriteZero,
                    ErrorKind::StaleNetworkFileHandle,
                    ErrorKind::Other,
                ],
            ),
        ];
        for (exit, kinds) in cases {
            for kind in kinds {
                for action in ["read", "write"] {
                    let error = Error::io(action, "lake/x", kind.into());
                    assert_eq!(error.exit(), exit, "{action}: {kind:?}");
                    let text = error.chain();
                    assert!(text.contains("lake/x") && text.contains(action), "{text}");
                    assert_eq!(text.contains("not found"), kind == ErrorKind::NotFound, "{text}");
                }
            }
        }
        // EIO has no kind of its own.
        assert_eq!(Error::io("read", "lake/x", std::io::Error::from_raw_os_error(5)).exit(), Exit::Temporary);
    }

    #[test]
    fn a_denied_permission_names_the_path_and_what_is_missing() {
        let text = Error::io("create", "lake/v1", ErrorKind::PermissionDenied.into()).chain();
        assert!(text.starts_with("lake/v1: permission denied: cannot create it"), "{text}");
    }

    #[test]
    fn a_path_of_another_kind_was_found_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let exit = |path: &Path| Error::missing(path, "expected a run").exit();
        assert_eq!(exit(&folder.path().join("absent")), Exit::InputMissing);
        assert_eq!(exit(folder.path()), Exit::BadData);
        assert_eq!(exit(&file.join("below a file")), Exit::BadConfig);
    }

    #[test]
    fn a_lost_process_may_be_there_later() {
        let lost = d2r_collectives::Error::Lost { operation: "all-gather", message: "connection closed".into() };
        let error = Error::from(lost);
        assert_eq!(error.exit(), Exit::Temporary);
        assert!(error.chain().contains("lost: connection closed; run the same command again"), "{error}");
    }

    #[test]
    fn a_lake_without_the_rows_was_found_all_the_same() {
        let error = Error::NoRows {
            lake: "demo/lake".into(),
            table: "images",
            partition: "mimic/test".into(),
            hint: "run `d2r ingest`".into(),
        };
        assert_eq!(error.exit(), Exit::InputMissing);
        assert_eq!(error.to_string(), "demo/lake: table images has no usable rows of mimic/test; run `d2r ingest`");
    }

    #[test]
    fn memory_that_libtorch_cannot_get_may_be_there_later() {
        let torch = |text: &str| Error::from(tch::TchError::Torch(text.into()));
        for text in
            ["CUDA out of memory. Tried to allocate 2 GiB\nframe #0", "DefaultCPUAllocator: can't allocate memory"]
        {
            assert_eq!(torch(text).exit(), Exit::Temporary, "{text}");
            assert!(torch(text).chain().contains("run.accumulate"), "{text}");
        }
        assert_eq!(torch("shapes differ\nframe #0").exit(), Exit::Bug);
        assert_eq!(torch("shapes differ\nframe #0").chain(), "libtorch: Internal torch error: shapes differ");
    }
}
