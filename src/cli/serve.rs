//! Guards the server: what runs without a command.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use super::{FAILED, banner, complain, refused, say, warn};
use crate::config::{Config, RawConfig};
use crate::{app, store};

pub(super) fn run(raw: &RawConfig) -> ExitCode {
    let config = match Config::resolve(raw) {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    if let Err(error) = crate::telemetry::init(&config.log) {
        complain(&error, &[], None);
        return ExitCode::from(FAILED);
    }
    if std::io::stderr().is_terminal() {
        warn(&config.warnings);
    } else {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
    }
    match app::run(config, announce) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
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

/// A data directory that is open to others or in use is a matter of configuration; the rest failed.
fn failed(error: &anyhow::Error) -> ExitCode {
    let causes: Vec<_> = error.chain().skip(1).map(ToString::to_string).collect();
    let open = error.downcast_ref::<store::OpenError>();
    let hint = open.and_then(|error| error.hint.as_deref());
    complain(error, &causes, hint);
    ExitCode::from(if open.is_some() { 78 } else { FAILED })
}
