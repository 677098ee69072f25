//! Process 1 of a container.
//!
//! The kernel hands it every orphan of the container: what a supervisor leaves that was killed, what
//! `docker exec` leaves. The guard waits for its own children and for nobody else, so those would stay
//! as zombies until no process can be started any more. Where the guard is process 1 it therefore
//! starts itself once more, and does beside it what an init does: it passes signals on, takes the
//! status of whoever ends, and ends as the guard does, and everything else with it. It has no runtime,
//! opens nothing, and is no part of what the guard serves.
//!
//! Its arguments are also where a health check of the container's finds out what the guard was told.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::{fs, io};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{FAILED, complain};

/// The name by which images and their users start the guard.
const NAME: &[u8] = b"mcp-guard";

/// What is passed on to the guard, which does with it what it always does.
const PASSED_ON: [(i32, Signal); 4] = [
    (SIGTERM, Signal::TERM),
    (SIGINT, Signal::INT),
    (SIGHUP, Signal::HUP),
    (SIGQUIT, Signal::QUIT),
];

/// Whether this process is one that orphans come to. Sockets that were passed to it are for process 1
/// by number (`LISTEN_PID`, podman's socket activation), so with those the guard serves by itself.
pub(super) fn is_this() -> bool {
    std::process::id() == 1 && std::env::var_os("LISTEN_PID").is_none_or(|pid| pid != "1")
}

/// Runs the guard until it ends. The exit code is the guard's, 128 and its number for a signal.
pub(super) fn run() -> ExitCode {
    match start_and_watch() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&"cannot start the guard", &[error.to_string()], None);
            ExitCode::from(FAILED)
        }
    }
}

fn start_and_watch() -> io::Result<u8> {
    // Before the guard is started, so that its end cannot be missed.
    let passed_on = PASSED_ON.map(|(number, _)| number);
    let mut signals = Signals::new(passed_on.into_iter().chain([SIGCHLD]))?;
    let guard = start()?;
    for number in signals.forever() {
        if number == SIGCHLD {
            if let Some(code) = reap(guard) {
                return Ok(code);
            }
        } else if let Some((_, signal)) = PASSED_ON.iter().find(|(it, _)| *it == number) {
            // It may be gone already; then its status is next.
            let _ = kill_process(guard, *signal);
        }
    }
    Ok(FAILED)
}

/// In a group of its own: Ctrl-C at a terminal comes here alone, and reaches the guard once.
fn start() -> io::Result<Pid> {
    let guard = Command::new(std::env::current_exe()?)
        .arg0(OsStr::from_bytes(NAME))
        .args(std::env::args_os().skip(1))
        .process_group(0)
        .spawn()?;
    Ok(Pid::from_child(&guard))
}

/// Takes the status of everybody who has ended; the guard's code, if it was among them.
fn reap(guard: Pid) -> Option<u8> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == guard => return Some(code(status)),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fn code(status: WaitStatus) -> u8 {
    let signal = || status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or_else(signal);
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(FAILED)
}

/// What the guard was told that process 1 is, or that it was asked to start (`docker run --init`).
/// `None` on other machines, and for process 1 itself.
pub(super) fn guard_arguments() -> Option<Vec<OsString>> {
    if std::process::id() == 1 {
        return None;
    }
    behind_name(&fs::read("/proc/1/cmdline").ok()?)
}

/// The words behind the guard's name, wherever it stands in a command line as `/proc` has it.
fn behind_name(line: &[u8]) -> Option<Vec<OsString>> {
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    let mut words = line.split(|byte| *byte == 0);
    words.find(|word| word.rsplit(|byte| *byte == b'/').next() == Some(NAME))?;
    let words = words.map(|word| OsStr::from_bytes(word).to_owned());
    Some(words.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(line: &str) -> Option<Vec<OsString>> {
        behind_name(line.replace(' ', "\0").as_bytes())
    }

    #[test]
    fn a167_a_health_check_finds_what_the_guard_was_told() {
        let told = ["--listen", "[::]:1", "--", "npx"].map(OsString::from);
        for line in [
            "mcp-guard --listen [::]:1 -- npx ",
            "/usr/local/bin/mcp-guard --listen [::]:1 -- npx ",
            "/sbin/docker-init -- mcp-guard --listen [::]:1 -- npx ",
        ] {
            assert_eq!(behind(line).unwrap(), told, "{line}");
        }
        assert!(behind("mcp-guard ").unwrap().is_empty());
        for line in ["/sbin/init splash ", "my-mcp-guard --listen x ", ""] {
            assert_eq!(behind(line), None, "{line}");
        }
    }
}
