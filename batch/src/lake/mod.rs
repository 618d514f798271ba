//! The lake: Parquet tables under contract, written atomically, read back typed.

pub mod atomic_file;
pub mod audit;
pub mod digest;
pub mod lake;
pub mod manifest;
pub mod partition;
pub mod reader;
pub mod schema;
pub mod validate;
pub mod writer;
