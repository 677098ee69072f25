//! Guards the server: what runs without a command.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use super::{FAILED, REFUSED, banner, complain, not_started, process_one, refused, say, warn};
use crate::config::{Config, RawConfig, Reader};
use crate::listener::PassedSockets;
use crate::{app, telemetry};

pub(super) fn run(raw: &RawConfig, reader: &Reader) -> ExitCode {
    if process_one::is_this() {
        return process_one::run();
    }
    // Before anything else is opened or started.
    let sockets = match PassedSockets::take() {
        Ok(sockets) => sockets,
        Err(error) => {
            complain(&error, &[], None);
            return ExitCode::from(REFUSED);
        }
    };
    let config = match Config::resolve(raw) {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    let is_terminal = std::io::stderr().is_terminal();
    let log = match telemetry::init(config.log, is_terminal) {
        Ok(log) => log,
        Err(error) => {
            complain(&error, &[], None);
            return ExitCode::from(FAILED);
        }
    };
    if is_terminal {
        warn(&config.warnings);
    } else {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
    }
    let outcome = app::run(&config, sockets, || reader.reread(raw), announce);
    // What was logged stands before what is said about the end.
    drop(log);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => not_started(&error),
    }
}

/// Says that the guard is ready, and for what. To be called once the listeners are bound.
fn announce(config: &Config) {
    if std::io::stdout().is_terminal() {
        say(&banner::banner(config));
        return;
    }
    tracing::info!(
        server = %config.oauth.server_name,
        mcp_url = %config.mcp_url(),
        "ready"
    );
}
