//! The binary: hands over to the command line and turns its outcome into an exit code.

use std::process::ExitCode;

/// Events are allocated on the threads that parse them and freed on the one that writes them, which
/// the system's allocator pays for with locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pillarbox::cli::main()
}
