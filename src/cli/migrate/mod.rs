//! `migrate`: what the guard is to be told in place of mcp-auth-proxy, on standard output; what is
//! different then, on standard error. Secrets are named, never printed.

mod environment;
mod file;
mod shell;

use std::process::ExitCode;

use super::{say, tell, warn};
use crate::config::Server;
use crate::config::migration::{Carried, Migration, Notation, Value};
use crate::config::options::Form;

/// What was written, and what is left to do.
struct Written {
    text: String,
    notes: Vec<String>,
}

pub(super) fn run(notation: Notation, migration: &Migration) -> ExitCode {
    let written = match notation {
        Notation::Shell => shell::write(migration),
        Notation::Toml => file::write(migration),
        Notation::Env => environment::write(migration),
    };
    say(&written.text);
    for note in migration.notes.iter().chain(&written.notes) {
        tell(&format!("note: {note}\n"));
    }
    warn(&migration.warnings);
    ExitCode::SUCCESS
}

/// The file of a secret, named like its option, and how to fill it.
fn secret_file(carried: &Carried) -> Option<(&'static str, String)> {
    let Value::Secret {
        variable, is_typed, ..
    } = carried.value
    else {
        return None;
    };
    if !carried.option.is_secret() {
        return None;
    }
    let name = carried.option.name;
    let note = if is_typed {
        format!(
            "write what --{name} was given into the file `{name}`, which only the guard's user may \
             read"
        )
    } else {
        format!(
            "write what {variable} holds into the file `{name}`: `(umask 077; printf %s \
             \"${variable}\" > {name})`"
        )
    };
    Some((carried.option.name_of(Form::File), note))
}

/// What to do about a secret that has no file.
fn by_hand(carried: &Carried) -> String {
    format!(
        "set {} to what --{} was given, where others cannot read it",
        carried.option.variable(Form::Itself),
        carried.option.name
    )
}

/// As it stands behind the options on a command line.
fn server(server: &Server) -> String {
    match server {
        Server::Url(url) => shell::quoted(url),
        Server::Command(words) => {
            let words = words
                .iter()
                .map(|word| shell::quoted(&word.to_string_lossy()));
            format!("-- {}", words.collect::<Vec<_>>().join(" "))
        }
    }
}

#[cfg(test)]
mod tests;
