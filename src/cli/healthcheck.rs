//! `healthcheck`: asks the guard that runs with this configuration whether it is well. For
//! containers that have no other tool to ask with.

use std::process::ExitCode;
use std::time::Instant;

use super::probe::{self, LIMIT};
use super::{FAILED, complain, refused};
use crate::config::{Listening, RawConfig};

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
