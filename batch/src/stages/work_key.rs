//! The identity of a piece of work: same key, same result.

use crate::lake::digest::sha256_hex;

/// SHA-256 of the sources that this program was built from, without tests; made by `build.rs`.
pub const SOURCE_SHA256: &str = env!("D2R_SOURCE_SHA256");

/// The digest of labelled parts (configuration that matters, digests of inputs) and of the program's sources.
pub fn work_key(parts: &[(&str, &str)]) -> String {
    let mut text = format!("d2r {} sources {SOURCE_SHA256}\n", env!("CARGO_PKG_VERSION"));
    for (label, value) in parts {
        // Lengths separate the parts for any content.
        text.push_str(&format!("{label} {}\n{value}\n", value.len()));
    }
    sha256_hex(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::work_key;

    #[test]
    fn every_part_counts_and_parts_stay_apart() {
        let key = work_key(&[("config", "a"), ("input", "b")]);
        assert_eq!(key, work_key(&[("config", "a"), ("input", "b")]));
        assert_eq!(key.len(), 64);
        for other in [
            &[("config", "a"), ("input", "c")][..],
            &[("config", "a")],
            &[("config", "ab"), ("input", "")],
            &[("input", "b"), ("config", "a")],
        ] {
            assert_ne!(key, work_key(other), "{other:?}");
        }
    }
}
