//! Link arguments that let `d2r` find libtorch at run time without `LD_LIBRARY_PATH`, and keep the CUDA
//! libraries, which no symbol of ours names, from being dropped by the linker; the digest of the sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What decides about results, relative to this package: sources, presets, contracts, the versions of dependencies.
const SOURCES: [&str; 8] = [
    "src",
    "collectives/src",
    "collectives/shim",
    "phantom/src",
    "../data-contracts/src",
    "../data-contracts/tables",
    "../wasm-viewer/src",
    "../Cargo.lock",
];
/// What decides how the bytes of an image file become a model's input.
const DECODING: [&str; 7] = [
    "../data-contracts/src/decode.rs",
    "../data-contracts/src/decode",
    "../data-contracts/src/preprocess.rs",
    "../data-contracts/src/radiograph.rs",
    "../data-contracts/src/space.rs",
    "../data-contracts/src/boxes.rs",
    "../Cargo.lock",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=D2R_LIBTORCH_RPATH");
    println!("cargo:rustc-env=D2R_SOURCE_SHA256={}", digest_of(&SOURCES));
    println!("cargo:rustc-env=D2R_DECODING_SHA256={}", digest_of(&DECODING));
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        // An installed command may find libtorch elsewhere than the build did.
        let rpath = std::env::var("D2R_LIBTORCH_RPATH").unwrap_or(lib);
        println!("cargo:rustc-link-arg=-Wl,-rpath={rpath}");
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo:rustc-link-arg=-ltorch");
    }
}

/// SHA-256 over files and folders without tests, by path: each path, its length, its bytes.
fn digest_of(sources: &[&str]) -> String {
    let mut files = BTreeMap::new();
    for source in sources {
        println!("cargo:rerun-if-changed={source}");
        collect(Path::new(source), &mut files);
    }
    let mut digest = Sha256::new();
    for (name, bytes) in &files {
        digest.update(format!("{name} {}\n", bytes.len()));
        digest.update(bytes);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds a file, or a folder's files, under names that are the same on every machine.
fn collect(path: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    let name = path.to_string_lossy().replace('\\', "/");
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let entries: Vec<PathBuf> = entries.map(|e| e.unwrap_or_else(|e| panic!("{name}: {e}")).path()).collect();
        entries.iter().filter(|entry| !is_test(entry)).for_each(|entry| collect(entry, files));
    } else if path.exists() {
        files.insert(name.clone(), std::fs::read(path).unwrap_or_else(|e| panic!("{name}: {e}")));
    }
}

/// Whether a file or folder of the sources holds tests only.
fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    stem == "tests" || stem.ends_with("_tests") || stem.starts_with('.')
}
