//! What `check` prints: every option, what it comes to, and where that was said.

use std::fmt::Write as _;

use super::options::{self, Default, Kind, Opt};
use super::{Config, Given, RawConfig, Setting, StoreSettings};

/// A line for each option: name, value, source. Secrets, and the values of `--env`, are hidden.
/// `config` completes what was derived, if the configuration could be resolved.
pub fn listing(raw: &RawConfig, config: Option<&Config>) -> String {
    let rows: Vec<_> = options::all()
        .map(|option| match raw.setting(option.name) {
            Some(setting) => (option.name, shown(setting), setting.to_string()),
            None => (option.name, by_default(option, config), "default".into()),
        })
        .chain([command(raw)])
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
    match (&setting.given, setting.option.kind) {
        (Given::Secret(_), _) => "(hidden)".to_owned(),
        (Given::Open(values), Kind::Repeated(_)) => values
            .iter()
            .map(|value| {
                let name = value.split('=').next().unwrap_or_default();
                format!("{name}=(hidden)").escape_debug().to_string()
            })
            .collect::<Vec<_>>()
            .join(", "),
        (Given::Open(_), _) if setting.hides_credentials() => "(hidden)".to_owned(),
        (Given::Open(values), _) => values.join(", ").escape_debug().to_string(),
    }
}

fn by_default(option: &Opt, config: Option<&Config>) -> String {
    let derived = config.and_then(|config| match option.name {
        "listen" => {
            let addresses: Vec<_> = config.listening.all().map(ToString::to_string).collect();
            Some(addresses.join(", "))
        }
        "data-path" => match &config.store {
            StoreSettings::Sqlite(path) => Some(path.display().to_string()),
            StoreSettings::Memory => Some("none".to_owned()),
        },
        "allowed-origins" => Some(config.external_url.origin().to_owned()),
        _ => None,
    });
    match option.default {
        _ if derived.is_some() => derived.unwrap_or_default(),
        Default::Value(text) | Default::Derived(text) => text.to_owned(),
        Default::None => "none".to_owned(),
    }
}

fn command(raw: &RawConfig) -> (&'static str, String, String) {
    let Some((command, source)) = raw.command() else {
        return ("command", "none".to_owned(), "missing".to_owned());
    };
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let source = match source {
        super::Source::File { path, line } => format!("{}:{line}", path.display()),
        _ => "behind --".to_owned(),
    };
    (
        "command",
        words.join(" ").escape_debug().to_string(),
        source,
    )
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
    fn a_store_address_with_a_password_in_it_is_not_shown() {
        let raw = RawConfig::from_pairs([("store", "redis://:canary@host")], []).unwrap();
        assert!(!listing(&raw, None).contains("canary"));
    }
}
