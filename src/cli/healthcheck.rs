//! `healthcheck`: asks the guard that runs with this configuration whether it is well. For
//! containers that have no other tool to ask with.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use super::probe::{self, LIMIT};
use super::process_one;
use super::{FAILED, complain, refused};
use crate::config::{Listening, RawConfig};

/// An image's health check knows the container's variables, and not what its guard was told behind
/// the image's name. One without arguments of its own therefore has those of process 1.
pub(super) fn as_the_guard(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments == ["healthcheck"] {
        arguments.extend(process_one::guard_arguments().unwrap_or_default());
    }
    arguments
}

pub(super) fn run(raw: &RawConfig) -> ExitCode {
    let (external_url, listening) = match Listening::resolve(raw) {
        Ok(resolved) => resolved,
        Err(error) => return refused(&error),
    };
    let deadline = Instant::now() + LIMIT;
    let mut causes = Vec::new();
    for door in probe::doors(&listening) {
        match probe::ask(&door, &external_url, "/healthz", deadline) {
            Ok(answer) if answer.status == 200 => return ExitCode::SUCCESS,
            Ok(answer) => causes.push(format!("{} answers {}", door.address, answer.status)),
            Err(error) => causes.push(format!("{}: {error}", door.address)),
        }
    }
    complain(
        &"the guard is not well",
        &causes,
        Some(
            "see its log; the check needs the same --external-url, --listen and --tls-listen as \
             the guard",
        ),
    );
    ExitCode::from(FAILED)
}
