//! d2r
fn main() {}
