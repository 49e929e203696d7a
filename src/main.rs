//! The `leasehold` binary: server and command line in one.

/// The commit loop runs markedly faster on it than on glibc's malloc.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    leasehold::app::main()
}
