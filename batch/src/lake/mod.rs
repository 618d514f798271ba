//! The lake: Parquet tables under contract, written atomically, read back typed.
//!
//! `LAKE/v1/<table>/dataset=<d>/split=<s>/part-<producer>.parquet` holds the rows; `LAKE/manifests/` lists the parts that
//! count. A part belongs to a producer, the verb that wrote it; writing it again replaces it. The tables of one stage are
//! one commit (`commit`, decided by its `journal`); shards wait in `LAKE/pending/` until all of them are there.

pub mod atomic_file;
pub mod cell;
pub mod commit;
pub mod datasets;
pub mod digest;
pub(crate) mod fresh;
pub mod label_sets;
pub mod manifest;
pub mod parquet_file;
pub mod part;
pub mod partition;
pub mod read;
pub mod repair;
pub(crate) mod sorted_rows;
pub mod store;
pub mod validate;

pub use commit::unfinished::{Unfinished, images_per_sub_part};
pub use commit::{Commit, Committed};
pub use datasets::DatasetRoot;
pub use digest::FileDigest;
pub use manifest::PartManifest;
pub use partition::{Partition, Provenance, Shard};
pub use store::Lake;
