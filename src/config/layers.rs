//! The layers below the command line: `MCP_GUARD_*` variables, the systemd credentials directory,
//! and the configuration file.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::options::{self, Form, Kind, Opt, VARIABLE_PREFIX};
use super::raw::Source;
use super::surroundings::FileText;
use super::{ConfigError, RawConfig};

impl RawConfig {
    /// Adds what the variables say. One that we do not know is an error, for it was meant to do
    /// something.
    pub(super) fn add_variables(&mut self) -> Result<(), ConfigError> {
        let ours: Vec<(String, OsString)> = self
            .surroundings()
            .variables()
            .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_owned())))
            .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
            .collect();
        for (name, value) in ours {
            let (option, form) = options::lookup_variable(&name).ok_or_else(|| {
                let known = options::forms().map(|(option, form)| option.variable(form));
                ConfigError::refused(format!("unknown variable {name}"))
                    .hint("`mcp-guard --help` lists the options; remove the variable")
                    .did_you_mean(options::nearest(&name, known))
            })?;
            let value = value.into_string().map_err(|_| {
                ConfigError::refused(format!("{name} is not UTF-8")).hint("write it as UTF-8 text")
            })?;
            self.add(option, form, vec![value], Source::Variable)?;
        }
        Ok(())
    }

    /// Adds the secrets that systemd passed (`LoadCredential=password:/etc/…`), found under their
    /// flags' names. Other files in that directory are not ours to judge.
    pub(super) fn add_credentials(&mut self) -> Result<(), ConfigError> {
        let Some(directory) = self.surroundings().variable("CREDENTIALS_DIRECTORY") else {
            return Ok(());
        };
        let directory = PathBuf::from(directory);
        for option in options::all().filter(|option| option.is_secret()) {
            if self.setting(option.name).is_some() {
                continue;
            }
            let path = directory.join(option.name);
            match self.surroundings().read(&path) {
                Ok(file) => self.add_credential(option, &file)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(ConfigError::refused(format!(
                        "systemd credential {} cannot be read: {error}",
                        path.display()
                    )));
                }
            }
        }
        Ok(())
    }

    fn add_credential(&mut self, option: &'static Opt, file: &FileText) -> Result<(), ConfigError> {
        let text = file.text.trim_end_matches(['\r', '\n']).to_owned();
        self.add(option, Form::Itself, vec![text], Source::Credential)
    }

    /// Adds what the configuration file says, if one is named.
    pub(super) fn add_file(&mut self) -> Result<(), ConfigError> {
        let Some(setting) = self.setting("config").cloned() else {
            return Ok(());
        };
        let path = PathBuf::from(setting.text());
        let file = self.surroundings().read(&path).map_err(|error| {
            setting.refuse(
                format_args!("cannot be read from {}: {error}", path.display()),
                "give the path of a TOML file",
            )
        })?;
        self.add_toml(&path, &file.text)?;
        if file.open_to_others && self.file_holds_secret() {
            self.warn(format!(
                "{}: it holds a secret, and other users of this machine may read it; `chmod 600` it",
                path.display()
            ));
        }
        Ok(())
    }

    fn file_holds_secret(&self) -> bool {
        options::all()
            .filter(|option| option.is_secret())
            .filter_map(|option| self.setting(option.name))
            .any(|setting| {
                setting.form == Form::Itself && matches!(setting.source, Source::File { .. })
            })
    }

    fn add_toml(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let document = TomlFile { path, text };
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            // Not the error's own Display: that quotes the line, which may hold a secret.
            ConfigError::refused(format!("{}: {}", document.place(at), error.message()))
                .hint("the file is TOML: `external-url = \"https://mcp.example.com\"`")
        })?;
        for (key, value) in table.get_ref() {
            if key.get_ref() == "command" {
                let command = document.command(value)?;
                self.add_command(command, document.source(key.span().start));
                continue;
            }
            let (option, form) = document.option(key)?;
            let values = document.values(key.get_ref(), option, value)?;
            self.add(option, form, values, document.source(key.span().start))?;
        }
        Ok(())
    }
}

/// A configuration file while it is read.
struct TomlFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl TomlFile<'_> {
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), self.line(at))
    }

    fn source(&self, at: usize) -> Source {
        Source::File {
            path: self.path.to_owned(),
            line: self.line(at),
        }
    }

    fn option(
        &self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
    ) -> Result<(&'static Opt, Form), ConfigError> {
        let name = key.get_ref();
        options::lookup(name)
            .filter(|(option, _)| option.name != "config")
            .ok_or_else(|| {
                let known = options::forms()
                    .map(|(option, form)| option.name_of(form).to_owned())
                    .chain(["command".to_owned()]);
                let place = self.place(key.span().start);
                ConfigError::refused(format!("{place}: unknown key `{}`", name.escape_debug()))
                    .hint("keys are the names of the flags in `mcp-guard --help`, and `command`")
                    .did_you_mean(options::nearest(name, known))
            })
    }

    /// The texts of a value, as a flag would have given them.
    fn values(
        &self,
        key: &str,
        option: &Opt,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<String>, ConfigError> {
        match (option.kind, value.get_ref()) {
            (Kind::List(_) | Kind::Repeated(_), DeValue::Array(elements)) => elements
                .iter()
                .map(|element| self.text(key, "an array of strings", element))
                .collect(),
            (Kind::Switch, DeValue::Boolean(on)) => Ok(vec![on.to_string()]),
            (Kind::One(_), DeValue::Integer(number)) => Ok(vec![number.to_string()]),
            (Kind::Switch, _) => Err(self.wrong_type(key, "true or false", value)),
            (Kind::List(_) | Kind::Repeated(_), _) => Ok(vec![self.text(
                key,
                "a string or an array of strings",
                value,
            )?]),
            _ => Ok(vec![self.text(key, "a string", value)?]),
        }
    }

    fn command(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<OsString>, ConfigError> {
        const SHAPE: &str = "an array of strings, `[\"npx\", \"-y\", \"server\"]`";
        let words = value
            .get_ref()
            .as_array()
            .filter(|words| !words.is_empty())
            .ok_or_else(|| self.wrong_type("command", SHAPE, value))?;
        words
            .iter()
            .map(|word| Ok(OsString::from(self.text("command", SHAPE, word)?)))
            .collect()
    }

    fn text(
        &self,
        key: &str,
        wanted: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<String, ConfigError> {
        value
            .get_ref()
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| self.wrong_type(key, wanted, value))
    }

    fn wrong_type(&self, key: &str, wanted: &str, value: &Spanned<DeValue<'_>>) -> ConfigError {
        let place = self.place(value.span().start);
        let found = value.get_ref().type_str();
        ConfigError::refused(format!("{place}: `{key}` cannot be a {found}"))
            .hint(format!("write {wanted}"))
    }
}
