//! Who may sign in, in words for the operator.

use super::{github, google, oidc, open_to_anybody};
use crate::config::RawConfig;
use crate::identity::Settings;

/// How many names are worth listing.
const NAMES: usize = 5;

/// A line for each way to sign in: `anna, ben, by password`, `GitHub: octocat; acme:platform`.
pub(in crate::config) fn summary(raw: &RawConfig, settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    if !settings.local.is_empty() {
        let names: Vec<_> = settings.local.iter().map(|user| &*user.name).collect();
        lines.push(format!("{}, by password", few(&names)));
    }
    let open = open_to_anybody(settings);
    let mut provider = |name: &str, rules: &[&str]| {
        let who = if open.iter().any(|open| open == name) {
            "anybody".to_owned()
        } else {
            said_by(raw, rules)
        };
        lines.push(format!("{name}: {who}"));
    };
    if settings.github.is_some() {
        provider(github::PROVIDER.name, github::PROVIDER.rules);
    }
    if settings.google.is_some() {
        provider(google::PROVIDER.name, google::PROVIDER.rules);
    }
    if let Some(settings) = &settings.oidc {
        provider(&settings.name, oidc::PROVIDER.rules);
    }
    lines
}

/// What the allow-lists say, a list after the other.
fn said_by(raw: &RawConfig, rules: &[&str]) -> String {
    let lists: Vec<_> = rules
        .iter()
        .filter_map(|rule| raw.setting(rule))
        .map(|setting| {
            let names: Vec<_> = setting.elements().iter().map(String::as_str).collect();
            format!("{}{}", kind(setting.option.name), few(&names))
        })
        .collect();
    lists.join("; ")
}

/// What the names of an allow-list are, where that is not plain.
fn kind(rule: &str) -> &'static str {
    match rule {
        "github-allowed-orgs" => "members of ",
        "google-allowed-workspaces" => "accounts of ",
        "oidc-allowed-claims" => "who has ",
        _ => "",
    }
}

fn few(names: &[&str]) -> String {
    let mut shown: Vec<_> = names
        .iter()
        .take(NAMES)
        .map(|name| name.escape_debug().to_string())
        .collect();
    match names.len().saturating_sub(NAMES) {
        0 => {}
        more => shown.push(format!("and {more} more")),
    }
    shown.join(", ")
}
