//! Builds the viewer's package and page from the compiled modules.
//!
//! `d2r-viewer-pack glue PKG SIMD.wasm RELAXED.wasm`: JavaScript glue and declarations for both modules, and
//! `modules.js` with their sizes.
//! `d2r-viewer-pack site FOLDER`: writes the list of files to cache, and its version, into the service worker.
//! `d2r-viewer-pack brotli FOLDER`: a compressed copy of each file. `d2r-viewer-pack link LINKER ARGUMENTS`: links
//! without the constructors that are not needed.

mod constructors;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;
use wasm_bindgen_cli_support::Bindgen;

const NAME: &str = "d2r_viewer";

/// Largest expected module, bytes. A larger one contains unneeded code, for instance when a removed constructor was
/// renamed.
const MODULE_BYTES_MAX: u64 = 6_500_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["glue", pkg, simd, relaxed] => glue(Path::new(pkg), [("simd", simd), ("relaxed", relaxed)]),
        ["site", folder] => site(Path::new(folder)),
        ["brotli", folder] => compress(Path::new(folder)),
        ["link", linker, ref rest @ ..] => link(linker, rest),
        _ => bail!(
            "usage: d2r-viewer-pack glue PKG SIMD.wasm RELAXED.wasm | site FOLDER | brotli FOLDER \
             | link LINKER ARGUMENTS"
        ),
    }
}

/// Runs the linker on objects without the constructors that are not needed.
fn link(linker: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(linker);
    for argument in arguments {
        if argument.ends_with(".o") {
            let object = fs::read(argument).with_context(|| format!("cannot read {argument}"))?;
            if let Some((smaller, removed)) =
                constructors::without_constructors(&object).with_context(|| (*argument).to_owned())?
            {
                eprintln!("viewer: {removed} constructors removed");
                fs::write(argument, smaller).with_context(|| format!("cannot write {argument}"))?;
            }
        }
        command.arg(argument);
    }
    let status = command.status().with_context(|| format!("cannot run {linker}"))?;
    std::process::exit(status.code().unwrap_or(1))
}

fn glue(pkg: &Path, modules: [(&str, &str); 2]) -> Result<()> {
    let mut entries = String::new();
    for (kind, module) in modules {
        let out = pkg.join(kind);
        Bindgen::new()
            .input_path(module)
            .out_name(NAME)
            .web(true)?
            .typescript(true)
            .remove_name_section(true)
            .remove_producers_section(true)
            .generate(&out)
            .with_context(|| format!("no glue for {module}"))?;
        let script = fs::read_to_string(out.join(format!("{NAME}.js")))?;
        if script.contains("from 'env'") || script.contains("from \"env\"") {
            bail!("{module} calls C functions that are not provided; see the imports from `env` in {}", out.display());
        }
        let wasm = out.join(format!("{NAME}_bg.wasm"));
        let bytes = fs::metadata(&wasm)?.len();
        eprintln!("viewer: {kind} module {bytes} bytes");
        if bytes > MODULE_BYTES_MAX {
            bail!("the module is larger than {MODULE_BYTES_MAX} bytes; are the names in constructors.rs still right?");
        }
        entries += &format!("  {kind}: {{ bytes: {bytes} }},\n");
    }
    let text = format!(
        "// Written by the build: sizes of the modules, for the progress bar.\nexport const MODULES = {{\n{entries}}};\n"
    );
    Ok(fs::write(pkg.join("modules.js"), text)?)
}

/// Files that the page never requests.
const NOT_REQUESTED: [&str; 5] =
    ["service-worker.js", "preview/LICENSE-DATA", "pkg/LICENSE", "pkg/package.json", "pkg/viewer.d.ts"];

fn site(folder: &Path) -> Result<()> {
    let (mut names, mut digest) = (Vec::new(), Sha256::new());
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        let name = entry.path().strip_prefix(folder)?.to_string_lossy().replace('\\', "/");
        let kept = entry.file_type().is_file() && !name.ends_with(".d.ts") && !NOT_REQUESTED.contains(&name.as_str());
        if kept {
            digest.update(&name);
            digest.update(fs::read(entry.path())?);
            names.push(name);
        }
    }
    let version: String = digest.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
    let list = names.iter().map(|n| format!("  {n:?},\n")).collect::<String>();
    let path = folder.join("service-worker.js");
    let text = fs::read_to_string(&path)?;
    if !text.contains("__VERSION__") || !text.contains("__FILES__") {
        bail!("{} has no placeholders for the version and the files", path.display());
    }
    Ok(fs::write(path, text.replace("__VERSION__", &version).replace("__FILES__", &format!("[\n{list}]")))?)
}

/// Writes `NAME.br` beside each file that shrinks by a tenth or more.
fn compress(folder: &Path) -> Result<()> {
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        let bytes = if entry.file_type().is_file() { fs::read(entry.path())? } else { continue };
        let params =
            brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, size_hint: bytes.len(), ..Default::default() };
        let mut packed = Vec::new();
        brotli::BrotliCompress(&mut bytes.as_slice(), &mut packed, &params)?;
        if packed.len() < bytes.len() * 9 / 10 {
            fs::write(format!("{}.br", entry.path().display()), packed)?;
        }
    }
    Ok(())
}
