//! Exit codes: the command line's contract with shells and schedulers.

use std::io::ErrorKind;

/// How a process ends. The numbers are API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, also when the same work had been done before.
    Done,
    /// Wrong arguments.
    Usage,
    /// Input that cannot be used.
    BadData,
    /// An input is not there.
    InputMissing,
    /// A defect of the program.
    Bug,
    /// Try again later: device busy, disk full, out of memory, file system out of reach.
    Temporary,
    /// Wrong configuration, or a path that this user may not use.
    BadConfig,
    /// There was nothing to do; schedulers read it as "skip".
    NothingToDo,
    /// Ctrl-C, after a checkpoint where there was something to save.
    Interrupted,
    /// SIGTERM, after a checkpoint where there was something to save.
    Terminated,
}

impl Exit {
    /// Every exit with its code and its meaning in words, in the order of the documentation.
    pub const TABLE: [(Exit, u8, &'static str); 10] = [
        (Exit::Done, 0, "done, also when the same work had been done before"),
        (Exit::NothingToDo, 99, "nothing to do"),
        (Exit::Usage, 2, "usage"),
        (Exit::BadData, 65, "bad data"),
        (Exit::InputMissing, 66, "input missing"),
        (Exit::Bug, 70, "our bug"),
        (Exit::Temporary, 75, "temporary, try again"),
        (Exit::BadConfig, 78, "bad configuration"),
        (Exit::Interrupted, 130, "interrupted"),
        (Exit::Terminated, 143, "terminated"),
    ];

    /// How a failed operation on a file ends, reading and writing alike:
    ///
    /// | kind | exit | because |
    /// |---|---|---|
    /// | not found | 66 | the input is missing |
    /// | permission denied, read-only, not a folder, is a folder, exists already, invalid name | 78 | the path or the user was chosen wrongly |
    /// | invalid data, invalid input, unexpected end | 65 | the file is damaged |
    /// | full, quota, timeout, busy, out of memory, every other (EIO, network file systems) | 75 | it may work later |
    pub fn of_io(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::InputMissing,
            ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::InvalidFilename => Self::BadConfig,
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => Self::BadData,
            _ => Self::Temporary,
        }
    }

    /// Whether the same command would end so again: a person has to act before another try.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Usage | Self::BadData | Self::InputMissing | Self::Bug | Self::BadConfig)
    }

    /// The process exit code.
    pub fn code(self) -> u8 {
        Self::TABLE.iter().find(|(exit, _, _)| *exit == self).map_or(70, |(_, code, _)| *code)
    }
}
