//! The command line: one file for each command; `serve` is what runs without one.
//!
//! Answers go to standard output. Messages go to standard error in one shape: `error: …`, its
//! causes, and `hint: …` with what to do instead; the exit code says whose turn it is.

pub mod banner;
mod check;
mod completions;
mod hash_password;
mod healthcheck;
mod live;
mod man;
mod migrate;
mod probe;
mod process_one;
mod serve;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::app;
use crate::config::{ConfigError, Invocation, Reader, Surroundings};

/// The guard, or what it does, failed while running.
const FAILED: u8 = 1;
const REFUSED: u8 = 78;

/// Does what the command line (without the program's name) asks for. 0 done, 1 failed while
/// running, 64 wrong usage, 78 configuration refused.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = healthcheck::as_the_guard(arguments.into_iter().collect());
    let reader = Reader::new(arguments, Surroundings::of_process());
    let invocation = match reader.read() {
        Ok(invocation) => invocation,
        Err(error) => return refused(&error),
    };
    match invocation {
        Invocation::Serve(raw) => serve::run(&raw, &reader),
        Invocation::Check(raw) => check::run(&raw, false),
        Invocation::CheckLive(raw) => check::run(&raw, true),
        Invocation::Healthcheck(raw) => healthcheck::run(&raw),
        Invocation::HashPassword => hash_password::run(),
        Invocation::Completions(shell) => completions::run(shell),
        Invocation::Man => man::run(),
        Invocation::Migrate(notation, migration) => migrate::run(notation, &migration),
        Invocation::Print(text) => print(&text),
    }
}

/// `--help` and `--version`; with colours where the terminal has them.
fn print(text: &clap::builder::StyledStr) -> ExitCode {
    if io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        say(&text.ansi());
    } else {
        say(text);
    }
    ExitCode::SUCCESS
}

/// Says why the configuration is refused.
fn refused(error: &ConfigError) -> ExitCode {
    complain(error, &[], error.hint_text());
    ExitCode::from(error.exit_code())
}

/// Says why the guard did not start. A data directory that is open to others or in use, or a damaged
/// keyring, is a matter of configuration: to start again does not mend it.
fn not_started(error: &app::Error) -> ExitCode {
    let (code, hint) = match error {
        app::Error::Store(open) => (REFUSED, open.hint.clone()),
        app::Error::Bind(bind) => (REFUSED, bind.hint()),
        app::Error::Certificate(files) => (REFUSED, Some(files.hint().to_owned())),
        app::Error::Keyring(keyring) => match keyring.hint() {
            None => (FAILED, None),
            hint => (REFUSED, hint),
        },
        app::Error::Runtime(_)
        | app::Error::Signing(_)
        | app::Error::Stopgap(_)
        | app::Error::Tls(_) => (FAILED, None),
    };
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    complain(error, &causes, hint.as_deref());
    ExitCode::from(code)
}

/// To standard output. That nobody listens (`| head`) is not ours to report, and no reason to stop.
fn say(text: &dyn Display) {
    let _ = write!(io::stdout(), "{text}");
}

/// `error: …`, then its causes, then `hint: …`.
fn complain(error: &dyn Display, causes: &[String], hint: Option<&str>) {
    tell(&format!("error: {error}\n"));
    for cause in causes {
        tell(&format!("  because: {cause}\n"));
    }
    if let Some(hint) = hint {
        tell(&format!("hint: {hint}\n"));
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tell(&format!("warning: {warning}\n"));
    }
}

/// To standard error.
fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
