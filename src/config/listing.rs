//! What `check` prints: every option, what it comes to, and where that was said.

use std::fmt::Write as _;

use super::options::{self, Default, Opt};
use super::raw::Server;
use super::{CertificateSource, Config, Given, RawConfig, Setting, StoreSettings};

/// A line for each option: name, value, source. Secrets, and the values of `--env` and
/// `--proxy-headers`, are hidden.
/// `config` completes what was derived, if the configuration could be resolved.
pub fn listing(raw: &RawConfig, config: Option<&Config>) -> String {
    let rows: Vec<_> = options::all()
        .map(|option| match raw.setting(option.name) {
            Some(setting) => (option.name, shown(setting), setting.to_string()),
            None => (option.name, by_default(option, config), "default".into()),
        })
        .chain([server(raw, config)])
        .collect();
    let width = |column: fn(&(&str, String, String)) -> usize| rows.iter().map(column).max();
    let names = width(|row| row.0.len()).unwrap_or_default();
    let values = width(|row| row.1.chars().count())
        .unwrap_or_default()
        .min(40);
    let mut text = String::new();
    for (name, value, source) in &rows {
        let _ = writeln!(text, "{name:names$}  {value:values$}  ({source})");
    }
    text
}

fn shown(setting: &Setting) -> String {
    match &setting.given {
        Given::Secret(_) => "(hidden)".to_owned(),
        Given::Open(values) if setting.option.shows_names_only => {
            let names: Vec<_> = values.iter().map(|value| name_only(value)).collect();
            names.join(", ")
        }
        Given::Open(_) if setting.hides_credentials() => "(hidden)".to_owned(),
        Given::Open(values) => values.join(", ").escape_debug().to_string(),
    }
}

/// `NAME=(hidden)`. What is no pair may be a value whose name was forgotten.
fn name_only(value: &str) -> String {
    match value.find(['=', ':']) {
        Some(end) => {
            let name = value.get(..=end).unwrap_or_default();
            format!("{}(hidden)", name.escape_debug())
        }
        None => "(hidden)".to_owned(),
    }
}

fn by_default(option: &Opt, config: Option<&Config>) -> String {
    let derived = config.and_then(|config| match option.name {
        "listen" => {
            let addresses: Vec<_> = config.listening.plain().map(ToString::to_string).collect();
            Some(addresses.join(", "))
        }
        "tls-host" | "tls-directory-url" => acme_default(option.name, config),
        "data-path" => match &config.store {
            StoreSettings::Sqlite(path) => Some(path.display().to_string()),
            StoreSettings::Memory => Some("none".to_owned()),
        },
        "allowed-origins" => Some(config.external_url.origin().to_owned()),
        "github-api-url" => config
            .identity
            .github
            .as_ref()
            .map(|it| it.api_url.to_string()),
        "oidc-provider-name" => config.identity.oidc.as_ref().map(|it| it.name.clone()),
        _ => None,
    });
    match option.default {
        _ if derived.is_some() => derived.unwrap_or_default(),
        Default::Value(text) | Default::Derived(text) => text.to_owned(),
        Default::None => "none".to_owned(),
    }
}

/// Of the certificates that are asked for, if they are.
fn acme_default(name: &str, config: &Config) -> Option<String> {
    let CertificateSource::Acme(settings) = &config.tls.as_ref()?.source else {
        return None;
    };
    Some(match name {
        "tls-host" => settings.hosts.join(", "),
        _ => settings.directory_url.to_string(),
    })
}

/// The wrapped server. An address is shown once it is known to hold no password.
fn server(raw: &RawConfig, config: Option<&Config>) -> (&'static str, String, String) {
    let Some((server, source)) = raw.server() else {
        return ("command", "none".to_owned(), "missing".to_owned());
    };
    let place = match (server, source) {
        (_, super::Source::File { path, line }) => format!("{}:{line}", path.display()),
        (Server::Command(_), _) => "behind --".to_owned(),
        (Server::Url(_), _) => "argument".to_owned(),
    };
    match (server, config.and_then(Config::upstream_url)) {
        (Server::Command(command), _) => {
            let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
            let text = words.join(" ").escape_debug().to_string();
            ("command", text, place)
        }
        (Server::Url(_), Some(url)) => ("url", url.to_owned(), place),
        (Server::Url(_), None) => ("url", "(hidden)".to_owned(), place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawConfig {
        let pairs = [
            ("external-url", "http://localhost:8080"),
            ("password", "canary-1"),
            ("env", "KEY=canary-2,canary-3"),
            ("env", "OTHER=canary-4"),
            ("store", "memory:"),
        ];
        RawConfig::from_pairs(pairs, ["sh", "-c", "true"]).unwrap()
    }

    fn row(text: &str, name: &str) -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split("  ")
            .map(|cell| cell.trim().to_owned())
            .filter(|cell| !cell.is_empty())
            .collect()
    }

    #[test]
    fn every_option_is_listed_with_its_source() {
        let raw = raw();
        let config = Config::resolve(&raw).unwrap();
        let text = listing(&raw, Some(&config));
        for option in options::all() {
            assert!(text.contains(option.name), "{}", option.name);
        }
        assert_eq!(row(&text, "store"), ["store", "memory:", "(--store)"]);
        assert_eq!(row(&text, "code-ttl"), ["code-ttl", "60s", "(default)"]);
        assert_eq!(
            row(&text, "listen "),
            ["listen", "127.0.0.1:8080, [::1]:8080", "(default)"]
        );
        assert_eq!(
            row(&text, "command"),
            ["command", "sh -c true", "(behind --)"]
        );
    }

    #[test]
    fn a163_the_listing_hides_secrets() {
        let text = listing(&raw(), None);
        assert!(!text.contains("canary"), "{text}");
        assert_eq!(
            row(&text, "password "),
            ["password", "(hidden)", "(--password)"]
        );
        assert_eq!(row(&text, "env")[1], "KEY=(hidden), OTHER=(hidden)");
    }

    #[test]
    fn a_server_behind_a_url_is_listed_once_it_is_known_to_hold_no_password() {
        let base = [
            ("external-url", "http://localhost:8080"),
            ("password", "canary-1"),
            ("store", "memory:"),
            ("proxy-bearer-token", "canary-2"),
            ("proxy-headers", "X-Key:canary-3,X-Other:canary-4"),
        ];
        let raw = RawConfig::behind(base, "http://127.0.0.1:3000").unwrap();
        let config = Config::resolve(&raw).unwrap();
        let text = listing(&raw, Some(&config));
        assert_eq!(
            row(&text, "url"),
            ["url", "http://127.0.0.1:3000/mcp", "(argument)"]
        );
        let shown = &row(&text, "proxy-headers")[1];
        assert_eq!(shown, "X-Key:(hidden), X-Other:(hidden)");
        assert!(!text.contains("canary"), "{text}");
        let raw = RawConfig::behind(base, "http://canary@127.0.0.1").unwrap();
        assert!(!listing(&raw, None).contains("canary"));
        let raw = RawConfig::behind([("proxy-headers", "canary")], "x://").unwrap();
        assert!(!listing(&raw, None).contains("canary"));
    }

    #[test]
    fn a_store_address_with_a_password_in_it_is_not_shown() {
        let raw = RawConfig::from_pairs([("store", "redis://:canary@host")], []).unwrap();
        assert!(!listing(&raw, None).contains("canary"));
    }
}
