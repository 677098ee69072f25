//! A file for `--config`.

use std::fmt::Write as _;

use toml::Value as Toml;

use super::{Migration, Value, Written, by_hand, secret_file};
use crate::config::Server;

pub(super) fn write(migration: &Migration) -> Written {
    let mut notes = Vec::new();
    let mut text = "# mcp-guard --config guard.toml\n\n".to_owned();
    let mut line = |key: &str, value: Toml| {
        let _ = writeln!(text, "{key} = {value}");
    };
    for carried in &migration.settings {
        let name = carried.option.name;
        match (&carried.value, secret_file(carried)) {
            (Value::On, _) => line(name, Toml::Boolean(true)),
            (Value::Text(text), _) => line(name, Toml::String(text.clone())),
            (Value::List(elements), _) => line(name, elements.clone().into()),
            (Value::Secret { .. }, Some((file, note))) => {
                line(file, Toml::String(name.to_owned()));
                notes.push(note);
            }
            (Value::Secret { .. }, None) => notes.push(by_hand(carried)),
        }
    }
    match &migration.server {
        Server::Url(url) => line("url", Toml::String(url.clone())),
        Server::Command(words) => {
            let words = words.iter().map(|word| word.to_string_lossy().into_owned());
            line("command", words.collect::<Vec<_>>().into());
        }
    }
    Written { text, notes }
}
