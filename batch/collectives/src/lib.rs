//! Tensors between the processes of one training, by PyTorch's own process group (c10d with Gloo, which libtorch
//! holds). Every operation either succeeds on all processes or is an error within its time limit: when a process ends,
//! its connections close, and the operations of the others fail at once.
//!
//! Tensors are contiguous and on the CPU; an array of a GPU is copied to the host first. All processes must call the
//! same operations in the same order.

mod error;
mod ffi;
mod group;
mod place;

pub use error::Error;
pub use group::Group;
pub use place::{Place, PlaceError};
