//! The binary.

use std::process::ExitCode;

use mcp_guard::upstream::supervisor;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before anything else: a supervisor is to run its command within a millisecond or two.
    if args.next().is_some_and(|first| first == supervisor::ARGUMENT) {
        return supervisor::run(args);
    }
    ExitCode::SUCCESS
}
