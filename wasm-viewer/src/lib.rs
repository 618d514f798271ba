//! Browser side of D2R: a distilled report model that looks at a film without sending it anywhere.
//!
//! [`session::PreviewSession`] runs the student natively and in WebAssembly, on films decoded by the very code of the
//! batch job; [`skin`] is what JavaScript sees of it. Research software, not a medical device.

mod attention;
pub mod bundle;
pub mod error;
pub mod findings;
pub mod generate;
pub mod graph;
mod layer_norm;
pub mod onnx_ops;
pub mod sample_bundle;
pub mod session;
pub mod skin;

#[cfg(target_arch = "wasm32")]
use {d2r_viewer_allocator as _, tinyrlibc as _};

/// Research-use notice, shown wherever results are.
pub const NOTICE: &str = "Research software, not a medical device. Not for diagnosis.";
