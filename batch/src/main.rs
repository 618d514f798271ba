//! `d2r`: the command line.

/// The allocator of the whole process, libtorch's tensors too: the feature `override` of the crate replaces `malloc`.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    d2r_batch::cli::main()
}
