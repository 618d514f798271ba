//! The lake: Parquet tables under contract, written atomically, read back typed.

pub mod atomic_file;
pub mod digest;
pub mod manifest;
pub mod partition;
pub mod schema;
pub mod store;
pub mod writer;

pub use manifest::{PartManifest, Provenance};
pub use partition::{Partition, Shard};
pub use store::{DatasetRoot, Lake};
