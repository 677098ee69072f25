//! The wrapped server: a command, with its environment and limits, or a URL.

mod command;
mod fields;
mod url;

use std::time::Duration;

use super::raw::Server;
use super::{ConfigError, RawConfig, Timeouts};
use crate::upstream::Upstream;

/// Where a command's MCP endpoint stands below the external URL, and a URL's that has no path.
const MCP_PATH: &str = "/mcp";

/// Options that mean nothing without a child.
const FOR_COMMANDS: &[&str] = &[
    "isolation",
    "max-children",
    "max-children-per-user",
    "env",
    "clean-env",
    "pass-env",
    "working-dir",
    "child-stderr",
];

/// Options that mean nothing without requests to the server.
const FOR_URLS: &[&str] = &[
    "proxy-bearer-token",
    "proxy-headers",
    "identity-headers",
    "header-mapping",
    "identity-jwt",
];

/// The wrapped server.
pub(super) fn upstream(
    raw: &RawConfig,
    shutdown_grace: Duration,
    extra_roots: Option<&[u8]>,
) -> Result<Upstream, ConfigError> {
    match raw.server() {
        None => Err(ConfigError::refused("there is no server to guard").hint(
            "write its command behind `--`, or its URL: `mcp-guard --external-url URL [OPTIONS] \
             -- COMMAND [ARG...]`, `mcp-guard --external-url URL [OPTIONS] UPSTREAM_URL`",
        )),
        Some((Server::Command(words), _)) => {
            refuse_misplaced(raw, FOR_URLS, "a command")?;
            command::settings(raw, words, shutdown_grace).map(Upstream::Command)
        }
        Some((Server::Url(text), source)) => {
            refuse_misplaced(raw, FOR_COMMANDS, "a URL")?;
            url::settings(raw, text, source, extra_roots).map(Upstream::Url)
        }
    }
}

/// An option that has no effect was meant to have one.
fn refuse_misplaced(raw: &RawConfig, names: &[&str], server: &str) -> Result<(), ConfigError> {
    let misplaced = names.iter().find_map(|name| raw.setting(name));
    misplaced.map_or(Ok(()), |setting| {
        Err(setting.refuse(
            format_args!("has no effect on a server that is {server}"),
            "remove it",
        ))
    })
}

/// The public path of the MCP endpoint, below the external URL.
pub(super) fn mcp_path(upstream: &Upstream) -> &str {
    match upstream {
        Upstream::Command(_) => MCP_PATH,
        Upstream::Url(settings) => settings.url.path(),
    }
}

/// What the operator should know.
pub(super) fn warnings(upstream: &Upstream) -> Vec<String> {
    match upstream {
        Upstream::Command(_) => Vec::new(),
        Upstream::Url(settings) => url::warning(settings).into_iter().collect(),
    }
}

/// How long it may take.
pub(super) fn timeouts(raw: &RawConfig) -> Result<Timeouts, ConfigError> {
    Ok(Timeouts {
        start: raw.time("start-timeout")?,
        request: raw.time("request-timeout")?,
        session_idle: raw.time("session-idle-timeout")?,
    })
}
