//! The layers below the command line: `MCP_GUARD_*` variables, the systemd credentials directory,
//! and the configuration file.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::options::{self, Form, Kind, Opt, VARIABLE_PREFIX};
use super::raw::{Server, Source};
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
                let server = Server::Command(document.command(value)?);
                self.add_server(server, document.source(key.span().start))?;
                continue;
            }
            if key.get_ref() == "url" {
                let server = Server::Url(document.text("url", "a string", value)?);
                self.add_server(server, document.source(key.span().start))?;
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
        1 + memchr::memchr_iter(b'\n', before).count()
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
                    .chain(["command", "url"].map(str::to_owned));
                let place = self.place(key.span().start);
                ConfigError::refused(format!("{place}: unknown key `{}`", name.escape_debug()))
                    .hint(
                        "keys are the names of the flags in `mcp-guard --help`, `command` and `url`",
                    )
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
        ConfigError::refused(format!("{place}: `{key}` cannot be of type {found}"))
            .hint(format!("write {wanted}"))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::config::{Invocation, Surroundings, from_args};

    type Pairs<'a> = &'a [(&'static str, &'static str)];

    fn read(
        arguments: &[&str],
        variables: Pairs<'_>,
        files: Pairs<'_>,
    ) -> Result<RawConfig, ConfigError> {
        let arguments = arguments.iter().map(OsString::from);
        match from_args(arguments, Surroundings::fake(variables, files))? {
            Invocation::Serve(raw) => Ok(raw),
            other => panic!("{other:?}"),
        }
    }

    fn refused(variables: Pairs<'_>, files: Pairs<'_>) -> (String, String) {
        let error = read(&["--config", "g.toml"], variables, files).unwrap_err();
        assert_eq!(error.exit_code(), 78);
        let hint = error.hint_text().unwrap_or_default().to_owned();
        (error.to_string(), hint)
    }

    fn command(raw: &RawConfig) -> &[OsString] {
        match raw.server() {
            Some((Server::Command(command), _)) => command,
            other => panic!("{other:?}"),
        }
    }

    fn secret(raw: &RawConfig, name: &'static str) -> String {
        let (_, secret) = raw.secret(name).unwrap();
        secret.expose_secret().to_owned()
    }

    #[test]
    fn a_flag_beats_a_variable_beats_the_file() {
        let file = [("g.toml", "max-children = 3")];
        let variable = [
            ("MCP_GUARD_MAX_CHILDREN", "2"),
            ("MCP_GUARD_CONFIG", "g.toml"),
        ];
        let all = read(&["--max-children", "1"], &variable, &file).unwrap();
        assert_eq!(
            all.setting("max-children").unwrap().to_string(),
            "--max-children"
        );
        let two = read(&[], &variable, &file).unwrap();
        assert_eq!(
            two.setting("max-children").unwrap().to_string(),
            "MCP_GUARD_MAX_CHILDREN"
        );
        let one = read(&[], &variable[1..], &file).unwrap();
        let setting = one.setting("max-children").unwrap();
        assert_eq!(
            (setting.text(), setting.to_string().as_str()),
            ("3", "g.toml:1: `max-children`")
        );
    }

    #[test]
    fn every_option_has_a_variable_and_a_key() {
        for (option, form) in options::forms() {
            let value = match option.kind {
                _ if form == Form::File => "secret.txt",
                Kind::Choice(words) => words.split('|').next().unwrap(),
                Kind::Switch => "true",
                _ if option.name == "config" => continue,
                _ => "x",
            };
            let files = [("secret.txt", "x")];
            let variables = [(option.variable(form).leak() as &str, value)];
            let raw = read(&[], &variables, &files).unwrap();
            assert!(raw.setting(option.name).is_some(), "{}", option.name);

            let text: &str = format!("{} = '{value}'", option.name_of(form)).leak();
            let text = text.replace("'true'", "true").leak();
            let raw = read(&["--config", "g.toml"], &[], &[files[0], ("g.toml", text)]).unwrap();
            assert!(raw.setting(option.name).is_some(), "{}", option.name);
        }
    }

    #[test]
    fn the_file_may_hold_everything() {
        let text = "external-url = 'http://localhost:1'\ncommand = ['npx', 'a,b']\n\
                    listen = ['127.0.0.1:1', '[::1]:1']\nclean-env = true\nmax-body-size = 4096\n\
                    env = ['A=1,2']\npass-env = 'A,B'";
        let raw = read(&["--config", "g.toml"], &[], &[("g.toml", text)]).unwrap();
        assert_eq!(command(&raw), ["npx", "a,b"]);
        assert_eq!(raw.setting("listen").unwrap().elements().len(), 2);
        assert_eq!(raw.setting("env").unwrap().elements(), ["A=1,2"]);
        assert_eq!(raw.setting("pass-env").unwrap().elements(), ["A", "B"]);
        assert_eq!(raw.setting("max-body-size").unwrap().text(), "4096");
        assert!(raw.is_on("clean-env").unwrap());
    }

    #[test]
    fn a_command_on_the_command_line_beats_the_files() {
        let file = [("g.toml", "command = ['a']")];
        let raw = read(&["--config", "g.toml", "--", "b"], &[], &file).unwrap();
        assert_eq!(command(&raw), ["b"]);
    }

    #[test]
    fn a_server_on_the_command_line_beats_the_files_of_whatever_kind() {
        let file = [("g.toml", "url = 'https://a.test'")];
        let raw = read(&["--config", "g.toml", "--", "b"], &[], &file).unwrap();
        assert_eq!(command(&raw), ["b"]);
        let raw = read(&["--config", "g.toml"], &[], &file).unwrap();
        let (server, source) = raw.server().unwrap();
        assert!(*server == Server::Url("https://a.test".into()));
        assert_eq!(server.locate(source), "g.toml:1: `url`");
        let both = "url = 'https://a.test'\ncommand = ['a']";
        let (said, hint) = refused(&[], &[("g.toml", both)]);
        assert!(said.starts_with("both g.toml:"), "{said}");
        assert!(!hint.is_empty());
    }

    #[test]
    fn a163_misspelt_names_are_errors_that_suggest_the_nearest() {
        let files = [("g.toml", "")];
        let (said, hint) = refused(&[("MCP_GUARD_LISEN", "x")], &files);
        assert_eq!(said, "unknown variable MCP_GUARD_LISEN");
        assert_eq!(hint, "did you mean `MCP_GUARD_LISTEN`?");
        let (said, hint) = refused(&[], &[("g.toml", "\n\nlisen = 'x'")]);
        assert_eq!(said, "g.toml:3: unknown key `lisen`");
        assert_eq!(hint, "did you mean `listen`?");
        let (said, hint) = refused(&[], &[("g.toml", "external_url = 'x'")]);
        assert_eq!(said, "g.toml:1: unknown key `external_url`");
        assert_eq!(hint, "did you mean `external-url`?");
    }

    #[test]
    fn a163_faults_of_the_file_name_their_line() {
        for (text, message) in [
            ("a = ", "g.toml:1: "),
            (
                "\nlisten = 5",
                "g.toml:2: `listen` cannot be of type integer",
            ),
            (
                "\nlisten = [5]",
                "g.toml:2: `listen` cannot be of type integer",
            ),
            (
                "clean-env = 'yes'",
                "g.toml:1: `clean-env` cannot be of type string",
            ),
            (
                "command = 'npx'",
                "g.toml:1: `command` cannot be of type string",
            ),
            ("url = 5", "g.toml:1: `url` cannot be of type integer"),
            (
                "command = []",
                "g.toml:1: `command` cannot be of type array",
            ),
            (
                "isolation = 'none'",
                "g.toml:1: `isolation` cannot be `none`",
            ),
            ("listen = []", "g.toml:1: `listen` is empty"),
            ("config = 'x'", "g.toml:1: unknown key `config`"),
            ("listen = 'x'\nlisten = 'y'", "g.toml:2: "),
            ("[servers]\nlisten = 'x'", "g.toml:1: unknown key `servers`"),
        ] {
            let (said, hint) = refused(&[], &[("g.toml", text)]);
            assert!(said.starts_with(message), "{text}: {said}");
            assert!(!hint.is_empty(), "{text}");
        }
        let (said, _) = refused(&[], &[]);
        assert!(
            said.starts_with("--config cannot be read from g.toml"),
            "{said}"
        );
    }

    #[test]
    fn a154_a_fault_beside_a_secret_does_not_show_it() {
        let (said, hint) = refused(&[], &[("g.toml", "password = 'canary")]);
        assert!(
            !format!("{said} {hint}").contains("canary"),
            "{said} {hint}"
        );
    }

    #[test]
    fn secrets_are_read_from_files() {
        let files = [
            ("a", "one\n"),
            ("b", "two\r\n"),
            ("c", " three \n\n"),
            ("d", "\n"),
        ];
        for (name, secret_text) in [("a", "one"), ("b", "two"), ("c", " three \n")] {
            let raw = read(&["--password-file", name], &[], &files).unwrap();
            assert_eq!(secret(&raw, "password"), secret_text);
            assert!(raw.warnings().is_empty());
        }
        let raw = read(&[], &[("MCP_GUARD_PASSWORD_FILE", "a")], &files).unwrap();
        assert_eq!(secret(&raw, "password"), "one");
        assert!(read(&["--password-file", "d"], &[], &files).is_err());
        let error = read(&["--password-file", "none"], &[], &files).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("--password-file cannot be read from none")
        );
    }

    #[test]
    fn both_forms_of_a_secret_in_one_layer_are_an_error() {
        let files = [("a", "one")];
        let both = ["--password", "x", "--password-file", "a"];
        let error = read(&both, &[], &files).unwrap_err();
        assert_eq!(
            error.to_string(),
            "both --password and --password-file are given"
        );
        let raw = read(
            &["--password-file", "a"],
            &[("MCP_GUARD_PASSWORD", "x")],
            &files,
        )
        .unwrap();
        assert_eq!(secret(&raw, "password"), "one");
    }

    #[test]
    fn systemd_credentials_are_found_under_the_flags_names() {
        let files = [
            ("/run/c/password", "from systemd\n"),
            ("/run/c/other", "x"),
            ("g.toml", "password = 'from the file'"),
        ];
        let directory = ("CREDENTIALS_DIRECTORY", "/run/c");
        let raw = read(&["--config", "g.toml"], &[directory], &files).unwrap();
        assert_eq!(secret(&raw, "password"), "from systemd");
        let raw = read(&[], &[directory, ("MCP_GUARD_PASSWORD", "var")], &files).unwrap();
        assert_eq!(secret(&raw, "password"), "var");
    }

    #[test]
    fn a162_files_with_secrets_that_others_may_read_are_worth_a_warning() {
        let files = [
            ("a.open", "one"),
            ("g.open", "password = 'x'"),
            ("h.open", "store = 'memory:'"),
        ];
        let warned = |arguments: &[&str]| read(arguments, &[], &files).unwrap().warnings().len();
        assert_eq!(warned(&["--password-file", "a.open"]), 1);
        assert_eq!(warned(&["--config", "g.open"]), 1);
        assert_eq!(warned(&["--config", "h.open"]), 0);
    }
}
