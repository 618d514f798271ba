//! Verbs about the program itself: its version, completions, manual pages and the reference of its command line.

pub mod completions;
pub mod config;
pub mod doctor;
pub mod file_modes;
pub mod man_pages;
pub mod panics;
pub mod ranks;
pub mod reference;
pub mod restart;
pub mod version;
