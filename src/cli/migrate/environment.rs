//! Variables, a line each, as systemd's `EnvironmentFile=` and `docker run --env-file` read them. The server has no variable, so how to start the guard is a comment at the end.

use std::fmt::Write as _;

use super::{Migration, Value, Written, by_hand, secret_file, server};
use crate::config::options::Form;

pub(super) fn write(migration: &Migration) -> Written {
    let mut notes = Vec::new();
    let mut text = String::new();
    for carried in &migration.settings {
        let (form, value) = match (&carried.value, secret_file(carried)) {
            (Value::On, _) => (Form::Itself, "true".to_owned()),
            (Value::Text(text), _) => (Form::Itself, text.clone()),
            (Value::List(elements), _) => (Form::Itself, elements.join(",")),
            (Value::Secret { .. }, Some((_, note))) => {
                notes.push(note);
                (Form::File, carried.option.name.to_owned())
            }
            (Value::Secret { .. }, None) => {
                notes.push(by_hand(carried));
                continue;
            }
        };
        let name = carried.option.variable(form);
        let _ = writeln!(text, "{name}={}", quoted(&value));
    }
    let start = format!("mcp-guard {}", server(&migration.server));
    for line in start.lines() {
        let _ = writeln!(text, "# {line}");
    }
    Written { text, notes }
}

/// Docker takes a line as it is, and so does systemd unless quotes or backslashes stand in it; quotes
/// are only where nothing else would do.
fn quoted(text: &str) -> String {
    let is_plain =
        !text.contains('\\') && !text.starts_with(['"', '\'', ' ']) && !text.ends_with(' ');
    if is_plain {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}
