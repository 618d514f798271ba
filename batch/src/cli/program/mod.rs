//! Verbs about the program itself: its version, completions, manual pages and the reference of its command line; and what
//! surrounds the work of every verb: the context of a stage, file modes, panics, the processes of a training.

pub mod completions;
pub mod config;
pub mod doctor;
pub mod file_modes;
pub mod man_pages;
pub mod panics;
pub mod ranks;
pub mod reference;
pub mod restart;
pub mod stage_context;
pub mod version;
