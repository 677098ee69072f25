//! The program: the command line, or the supervisor of one child.

use std::process::ExitCode;

use mcp_guard::{cli, upstream::supervisor};

/// musl's own allocator takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments
        .next_if(|first| first == supervisor::ARGUMENT)
        .is_some()
    {
        return supervisor::run(arguments);
    }
    cli::run(arguments)
}
