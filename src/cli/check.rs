//! `check`: what the configuration comes to, and whether the guard would refuse it; with `--live` also
//! how the guard is that runs with it.

use std::process::ExitCode;

use super::{live, not_started, refused, say, warn};
use crate::app;
use crate::config::{self, Config, RawConfig};

pub(super) fn run(raw: &RawConfig, is_live: bool) -> ExitCode {
    let config = Config::resolve(raw);
    say(&config::listing(raw, config.as_ref().ok()));
    match config {
        Ok(config) => {
            warn(&config.warnings);
            match app::check(&config) {
                Ok(()) if is_live => live::run(&config),
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => not_started(&error),
            }
        }
        Err(error) => refused(&error),
    }
}
