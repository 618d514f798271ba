//! The pipeline's stages: each reads tables and files, calls the models, writes tables, and returns what it did.
//! The command line parses, calls one stage and prints.

pub mod context;
