//! A command line for a POSIX shell. What was in a variable is referred to by it; a secret that was
//! typed is asked for in a file, for the process list shows flags to everybody (A-154).

use super::{Migration, Value, Written, secret_file, server};
use crate::config::migration::Carried;
use crate::config::options::Form;

/// More is divided into lines.
const WIDTH: usize = 80;

pub(super) fn write(migration: &Migration) -> Written {
    let mut notes = Vec::new();
    let mut variables = Vec::new();
    let mut parts = vec!["mcp-guard".to_owned()];
    for carried in &migration.settings {
        match &carried.value {
            Value::Secret {
                variable, is_typed, ..
            } => match secret_file(carried) {
                Some((file, note)) if *is_typed => {
                    parts.push(format!("--{file} {}", carried.option.name));
                    notes.push(note);
                }
                file => {
                    if *is_typed && file.is_none() {
                        notes.push(format!(
                            "put what --{} was given into the variable {variable}",
                            carried.option.name
                        ));
                    }
                    let ours = carried.option.variable(Form::Itself);
                    variables.push(format!("{ours}=\"${variable}\""));
                }
            },
            _ => parts.push(flag(carried)),
        }
    }
    parts.push(server(&migration.server));
    Written {
        text: format!("{}\n", lines(&variables, &parts)),
        notes,
    }
}

fn flag(carried: &Carried) -> String {
    let name = carried.option.name;
    let text = match &carried.value {
        Value::Text(text) => text.clone(),
        Value::List(elements) => elements.join(","),
        Value::On | Value::Secret { .. } => return format!("--{name}"),
    };
    let divider = if text.starts_with('-') { '=' } else { ' ' };
    format!("--{name}{divider}{}", quoted(&text))
}

/// On one line if it fits, else one thing a line.
fn lines(variables: &[String], parts: &[String]) -> String {
    let all: Vec<&str> = variables.iter().chain(parts).map(String::as_str).collect();
    let line = all.join(" ");
    if line.len() <= WIDTH {
        return line;
    }
    let mut text = String::new();
    for variable in variables {
        text.push_str(variable);
        text.push_str(" \\\n");
    }
    text + &parts.join(" \\\n  ")
}

/// As a shell reads it back, letter for letter.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:,@%+=".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('=') {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
