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

/// The public path of the MCP endpoint, below the external URL. Never with a slash at its end:
/// clients compare the resource with the URL that they were given, and most people type none.
pub(super) fn mcp_path(upstream: &Upstream) -> &str {
    match upstream {
        Upstream::Command(_) => MCP_PATH,
        Upstream::Url(settings) => match settings.url.path().trim_end_matches('/') {
            "" => "/",
            path => path,
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'static str, &'static str)];

    fn of(raw: &RawConfig) -> Result<Upstream, ConfigError> {
        upstream(raw, Duration::from_secs(30), Some(b"roots"))
    }

    fn command(pairs: Pairs<'_>) -> Result<Upstream, ConfigError> {
        of(&RawConfig::from_pairs(pairs.iter().copied(), ["sh"])?)
    }

    fn url(pairs: Pairs<'_>) -> Result<Upstream, ConfigError> {
        of(&RawConfig::behind(
            pairs.iter().copied(),
            "https://a.test/x/mcp",
        )?)
    }

    #[test]
    fn no_server_at_all_is_refused_with_the_usage() {
        let raw = RawConfig::from_pairs([], []).unwrap();
        let error = of(&raw).unwrap_err();
        assert_eq!(error.to_string(), "there is no server to guard");
        let hint = error.hint_text().unwrap();
        assert!(
            hint.contains("-- COMMAND [ARG...]") && hint.contains("UPSTREAM_URL"),
            "{hint}"
        );
    }

    #[test]
    fn the_public_path_is_the_servers_own() {
        assert_eq!(mcp_path(&command(&[]).unwrap()), "/mcp");
        let upstream = url(&[]).unwrap();
        assert_eq!(mcp_path(&upstream), "/x/mcp");
        let Upstream::Url(settings) = upstream else {
            panic!("a command");
        };
        assert_eq!(settings.extra_roots.unwrap(), b"roots");
    }

    #[test]
    fn options_for_the_other_kind_of_server_are_refused_by_name() {
        for (name, value) in [
            ("isolation", "user"),
            ("max-children", "1"),
            ("max-children-per-user", "1"),
            ("env", "A=canary"),
            ("clean-env", "true"),
            ("pass-env", "A"),
            ("working-dir", "/"),
            ("child-stderr", "drop"),
        ] {
            let error = url(&[(name, value)]).unwrap_err();
            let said = format!("--{name} has no effect on a server that is a URL");
            assert_eq!(error.to_string(), said);
            assert!(command(&[(name, value)]).is_ok(), "{name}");
        }
        for (name, value) in [
            ("proxy-bearer-token", "canary"),
            ("proxy-headers", "X-A:canary"),
            ("identity-headers", "true"),
            ("header-mapping", "/a:X-A"),
            ("identity-jwt", "true"),
        ] {
            let error = command(&[(name, value)]).unwrap_err();
            let said = format!("--{name} has no effect on a server that is a command");
            assert_eq!(error.to_string(), said);
            assert!(url(&[(name, value)]).is_ok(), "{name}");
        }
    }
}
