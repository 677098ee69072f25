//! `check`: what the configuration comes to, and whether the guard would start with it.

use std::process::ExitCode;

use super::{refused, say, warn};
use crate::config::{self, Config, RawConfig};

pub(super) fn run(raw: &RawConfig) -> ExitCode {
    let config = Config::resolve(raw);
    say(&config::listing(raw, config.as_ref().ok()));
    match config {
        Ok(config) => {
            warn(&config.warnings);
            ExitCode::SUCCESS
        }
        Err(error) => refused(&error),
    }
}
