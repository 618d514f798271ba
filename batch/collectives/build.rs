//! Compiles the C interface of PyTorch's process group against the headers of the libtorch that `torch-sys` links.

use std::path::PathBuf;

fn main() {
    for path in ["build.rs", "shim"] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is");
    let lib = PathBuf::from(lib);
    let root = std::env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from);
    let root = root.unwrap_or_else(|| lib.parent().expect("libtorch's libraries are in a folder of it").to_path_buf());
    let include = root.join("include");
    let abi = std::env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .warnings(false)
        .std("c++17")
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        // Shows the class in its header.
        .define("USE_C10D_GLOO", None)
        .include("shim")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("shim/d2r_collectives.cpp")
        .compile("d2r_collectives");
    // For this package's own tests; the command's build script does the same for the command.
    println!("cargo:rustc-link-arg=-Wl,-rpath={}", lib.display());
}
