//! `d2r`: the command line.

fn main() -> std::process::ExitCode {
    d2r_batch::cli::main()
}
