//! The lake: Parquet tables under contract, written atomically, read back typed.
//!
//! `LAKE/v1/<table>/dataset=<d>/split=<s>/part-*.parquet` holds the rows; `LAKE/manifests/` lists the parts that
//! count. A part belongs to a producer (the verb that wrote it) and a shard; writing it again replaces it.

pub mod atomic_file;
pub mod cell;
pub mod datasets;
pub mod digest;
pub mod key_frame;
pub mod manifest;
pub mod parquet_file;
pub mod partition;
pub mod read;
mod references;
pub mod store;
pub mod validate;
pub mod violation;
pub mod write;

pub use datasets::DatasetRoot;
pub use digest::FileDigest;
pub use manifest::PartManifest;
pub use partition::{Partition, Provenance, Shard};
pub use store::Lake;
