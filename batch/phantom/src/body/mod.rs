//! The drawn body: thorax, skeleton, vessels, tissue, in frontal and lateral projection.

pub mod anatomy;
pub mod chest;
pub mod lateral;
pub mod skeleton;
pub mod tissue;
pub mod vessels;
