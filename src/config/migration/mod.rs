//! Coming from mcp-auth-proxy: what it was told, as options of the guard's.
//!
//! Promises that no secret leaves it in anything that can be shown, that nobody is let in who was not
//! let in before, and that what was asked for and cannot be had is an error or a note, never silence.
//! How the answer is written down is left to the command line.

mod asked;
mod claims;
mod flags;
mod listening;
mod server;
mod sign_in;

use std::ffi::OsString;

use secrecy::{ExposeSecret as _, SecretString};

pub use flags::{Becomes, FLAGS, Flag, Shape};

use super::options::{self, Form, Opt};
use super::raw::{Server, Source};
use super::{Config, ConfigError, RawConfig, Surroundings};
use crate::http::ExternalUrl;
use asked::{Asked, Place, Stated};

/// How the answer is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notation {
    /// A command line.
    #[default]
    Shell,
    /// A file for `--config`.
    Toml,
    /// Variables, as systemd's `EnvironmentFile=` and `docker --env-file` read them.
    Env,
}

/// What the guard is to be told, and what the operator should know of it.
#[derive(Debug)]
pub struct Migration {
    /// In the order of the table of options.
    pub settings: Vec<Carried>,
    pub server: Server,
    /// What is different here, a sentence each.
    pub notes: Vec<String>,
    /// What the operator should change, a sentence each.
    pub warnings: Vec<String>,
}

/// An option, and what it is to be.
#[derive(Debug)]
pub struct Carried {
    pub option: &'static Opt,
    pub value: Value,
}

/// What an option is to be.
#[derive(Debug)]
pub enum Value {
    On,
    Text(String),
    List(Vec<String>),
    /// Not to be shown.
    Secret {
        text: SecretString,
        /// The variable of mcp-auth-proxy's that holds it.
        variable: &'static str,
        /// Whether it was typed on the command line in place of that.
        is_typed: bool,
    },
}

impl Notation {
    /// What `--format` takes.
    pub const WORDS: &'static str = "shell|toml|env";

    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        match text {
            "shell" => Ok(Self::Shell),
            "toml" => Ok(Self::Toml),
            "env" => Ok(Self::Env),
            _ => Err(ConfigError::usage("--format has no such value")
                .hint(format!("write one of: {}", Self::WORDS.replace('|', ", ")))),
        }
    }
}

/// Takes what is not ours from the arguments of `migrate`: all behind `--format` and `--help`. It is
/// in the other program's language, and may hold a `--` of its own.
pub(super) fn split_off(arguments: &mut Vec<OsString>) -> Vec<OsString> {
    let mut ours = 1;
    while let Some(word) = arguments.get(ours).and_then(|word| word.to_str()) {
        ours += match word {
            "--format" => 2,
            "-h" | "--help" => 1,
            word if word.starts_with("--format=") => 1,
            _ => break,
        };
    }
    arguments.split_off(ours.min(arguments.len()))
}

/// What mcp-auth-proxy was told by these arguments and variables, for the guard.
pub(super) fn migrate(
    arguments: Vec<OsString>,
    surroundings: &Surroundings,
) -> Result<Migration, ConfigError> {
    let asked = Asked::read(arguments, surroundings)?;
    let mut draft = Draft::new(&asked)?;
    listening::carry(&mut draft)?;
    sign_in::carry(&mut draft)?;
    server::carry(&mut draft)?;
    draft.carry_the_rest()?;
    let mut migration = draft.done();
    migration.warnings.extend(migration.objection(surroundings));
    Ok(migration)
}

impl Migration {
    /// Why the guard would not start with it, here and now.
    fn objection(&self, surroundings: &Surroundings) -> Option<String> {
        let error = self.resolve(surroundings).err()?;
        let hint = error.hint_text().unwrap_or_default();
        Some(format!(
            "as it stands, the guard would not start here: {error}; {hint}"
        ))
    }

    fn resolve(&self, surroundings: &Surroundings) -> Result<Config, ConfigError> {
        let mut raw = RawConfig::new(surroundings.clone());
        for carried in &self.settings {
            let text = match &carried.value {
                Value::On => "true".to_owned(),
                Value::Text(text) => text.clone(),
                Value::List(elements) => elements.join(","),
                Value::Secret { text, .. } => text.expose_secret().to_owned(),
            };
            raw.add(carried.option, Form::Itself, vec![text], Source::Flag)?;
        }
        raw.add_server(self.server.clone(), Source::Flag)?;
        Config::resolve(&raw)
    }
}

/// A migration under way.
struct Draft<'a> {
    asked: &'a Asked,
    url: ExternalUrl,
    server: Server,
    settings: Vec<Carried>,
    /// Flags that are dealt with.
    done: Vec<&'static str>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

const STAYS_BEHIND: &str = "clients, keys and sign-ins stay behind: clients register anew by \
                            themselves, and people sign in once more";

impl<'a> Draft<'a> {
    fn new(asked: &'a Asked) -> Result<Self, ConfigError> {
        let url = ExternalUrl::parse(asked.text("external-url")).map_err(|_| {
            ConfigError::refused("--external-url is no address that the guard can have")
                .hint("write scheme and host, and perhaps a port: `https://mcp.example.com`")
        })?;
        let mut draft = Self {
            asked,
            server: asked.server()?,
            settings: Vec::new(),
            done: Vec::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
            url,
        };
        draft.set("external-url", Value::Text(draft.url.to_string()));
        draft.done.push("external-url");
        if asked.has_loose_flags {
            draft.note("what stands behind the server's command is taken for its arguments");
        }
        Ok(draft)
    }

    /// What nobody has dealt with yet goes the way that the table says.
    fn carry_the_rest(&mut self) -> Result<(), ConfigError> {
        self.state();
        let asked = self.asked;
        for stated in asked.all() {
            let name = stated.flag.name;
            if self.done.contains(&name) {
                continue;
            }
            match stated.flag.becomes {
                Becomes::Same => self.keep(name)?,
                Becomes::Nothing(why) if stated.text != "false" => {
                    self.note(format!("{} has no effect here: {why}", stated.shown()));
                }
                Becomes::Option { .. } | Becomes::Nothing(_) | Becomes::Server => {}
            }
        }
        self.note(STAYS_BEHIND);
        Ok(())
    }

    /// Neither may the two share a directory, nor can the guard's be one that others may enter.
    fn state(&mut self) {
        match self.asked.get("data-path") {
            Some(stated) => {
                let path = format!("{}/mcp-guard", stated.text.trim_end_matches('/'));
                self.note(format!("the state is in a directory of its own: {path}"));
                self.set("data-path", Value::Text(path));
            }
            None => self.note(
                "the state is not in ./data, but in the user's state directory, or where \
                 --data-path says",
            ),
        }
        if self.asked.text("MODE") == "debug" {
            self.set("log-level", Value::Text("debug".to_owned()));
        }
    }

    /// The option of this name with the value that was said, if one was.
    fn keep(&mut self, name: &'static str) -> Result<(), ConfigError> {
        self.done.push(name);
        let Some(stated) = self.asked.get(name) else {
            return Ok(());
        };
        let value = match stated.flag.shape {
            Shape::Switch if stated.text == "true" => Value::On,
            Shape::Switch => return Ok(()),
            Shape::Text => Value::Text(plain(stated)?.to_owned()),
            Shape::List => Value::List(list(stated)?),
            Shape::Secret => Value::Secret {
                text: SecretString::from(stated.text.as_str()),
                variable: stated.flag.variable,
                is_typed: stated.place == Place::Flag,
            },
        };
        self.set(name, value);
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value) {
        if let Some(option) = options::find(name) {
            self.settings.push(Carried { option, value });
        }
    }

    /// Leaves out what was said of these flags, and says why if anything was.
    fn leave_out(&mut self, names: &[&'static str], why: &str) {
        let given: Vec<_> = names
            .iter()
            .filter_map(|name| self.asked.get(name))
            .filter(|stated| stated.text != "false" && !self.done.contains(&stated.flag.name))
            .map(Stated::shown)
            .collect();
        self.done.extend(names);
        match given.as_slice() {
            [] => {}
            [one] => self.note(format!("{one} is left out: {why}")),
            more => self.note(format!("{} are left out: {why}", more.join(", "))),
        }
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    fn done(mut self) -> Migration {
        let place =
            |carried: &Carried| options::all().position(|it| it.name == carried.option.name);
        self.settings.sort_by_key(place);
        Migration {
            settings: self.settings,
            server: self.server,
            notes: self.notes,
            warnings: self.warnings,
        }
    }
}

/// A text that may be shown.
fn plain(stated: &Stated) -> Result<&str, ConfigError> {
    let text = stated.text.as_str();
    if text.contains("://") && text.contains('@') {
        return Err(stated.refuse(
            "holds a user name or password",
            "no address of the guard's may; take it out",
        ));
    }
    if text.contains(char::is_control) {
        return Err(stated.refuse("holds a line break or the like", "take it out"));
    }
    Ok(text)
}

/// What a list holds. One that names nobody is no list that lets everybody in.
fn list(stated: &Stated) -> Result<Vec<String>, ConfigError> {
    let elements = plain(stated)?.split(',').map(str::trim);
    let elements: Vec<String> = elements
        .filter(|element| !element.is_empty())
        .map(str::to_owned)
        .collect();
    if elements.is_empty() {
        return Err(stated.refuse(
            "is a list of nothing",
            "give it an element, or leave it out",
        ));
    }
    Ok(elements)
}

#[cfg(test)]
mod tests;
