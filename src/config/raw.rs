//! What was asked for, before anyone judged it: for each option at most one setting, with the place
//! it came from. Layers are added from the strongest to the weakest (flag, variable, systemd
//! credential, file), and the first to set an option wins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::options::{self, Form, Kind, Opt};
use super::surroundings::Surroundings;
use super::{ConfigError, value};

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Flag,
    Variable,
    /// The systemd credentials directory.
    Credential,
    /// The configuration file.
    File {
        path: PathBuf,
        line: usize,
    },
}

/// What an option was set to.
#[derive(Clone)]
pub enum Given {
    /// One text, or the elements of a list.
    Open(Vec<String>),
    Secret(SecretString),
}

/// An option, what it was set to, and where.
#[derive(Clone)]
pub struct Setting {
    pub option: &'static Opt,
    pub form: Form,
    pub given: Given,
    pub source: Source,
}

/// The wrapped server, as it was named.
#[derive(Clone, PartialEq, Eq)]
pub enum Server {
    /// Program and arguments.
    Command(Vec<OsString>),
    /// The address of one that speaks HTTP; it may hold a password, for nobody looked yet.
    Url(String),
}

/// Everything that was asked for. All of it is optional, and none of it judged beyond its shape.
#[derive(Clone, Debug)]
pub struct RawConfig {
    settings: BTreeMap<&'static str, Setting>,
    server: Option<(Server, Source)>,
    warnings: Vec<String>,
    surroundings: Surroundings,
}

impl Source {
    /// How a person finds the setting: `--listen`, `MCP_GUARD_LISTEN`, ``guard.toml:3: `listen` ``.
    pub fn locate(&self, option: &Opt, form: Form) -> String {
        let name = option.name_of(form);
        match self {
            Self::Flag => format!("--{name}"),
            Self::Variable => option.variable(form),
            Self::Credential => format!("systemd credential {name}"),
            Self::File { path, line } => format!("{}:{line}: `{name}`", path.display()),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source.locate(self.option, self.form))
    }
}

impl fmt::Debug for Setting {
    /// Where it stands, not what it says: `--env` may hold the wrapped server's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setting({self})")
    }
}

impl fmt::Debug for Server {
    /// Of which kind it is: arguments and addresses may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command(_) => "Command(…)",
            Self::Url(_) => "Url(…)",
        })
    }
}

impl Server {
    /// How it is given in the place where it stands.
    pub(super) fn locate(&self, source: &Source) -> String {
        match (self, source) {
            (Self::Command(_), Source::File { path, line }) => {
                format!("{}:{line}: `command`", path.display())
            }
            (Self::Url(_), Source::File { path, line }) => {
                format!("{}:{line}: `url`", path.display())
            }
            (Self::Command(_), _) => "a COMMAND behind --".to_owned(),
            (Self::Url(_), _) => "UPSTREAM_URL".to_owned(),
        }
    }
}

impl Given {
    fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open(texts), Self::Open(others)) => texts == others,
            (Self::Secret(secret), Self::Secret(other)) => {
                secret.expose_secret() == other.expose_secret()
            }
            _ => false,
        }
    }
}

impl Setting {
    /// The one text of an option that is neither a list nor a secret.
    pub(super) fn text(&self) -> &str {
        match &self.given {
            Given::Open(values) => values.first().map_or("", String::as_str),
            Given::Secret(_) => "",
        }
    }

    /// The elements of a list.
    pub(super) fn elements(&self) -> &[String] {
        match &self.given {
            Given::Open(values) => values,
            Given::Secret(_) => &[],
        }
    }

    /// Whether the text is an address with a password in it (`redis://:secret@host`), which is
    /// refused as a value, but must not be shown either.
    pub(super) fn hides_credentials(&self) -> bool {
        self.elements()
            .iter()
            .any(|text| text.contains('@') && text.contains("://"))
    }

    /// This setting is at fault. `what` goes on from its name: "is not a duration".
    pub(super) fn refuse(&self, what: impl fmt::Display, hint: impl Into<String>) -> ConfigError {
        ConfigError::refused(format!("{self} {what}")).hint(hint)
    }

    /// The text of this setting cannot be read; `hint` says how to write it.
    pub(super) fn misread(&self, text: &str, hint: impl Into<String>) -> ConfigError {
        if self.hides_credentials() {
            return self.refuse("cannot be read", hint);
        }
        self.refuse(format_args!("cannot be `{}`", text.escape_debug()), hint)
    }
}

impl RawConfig {
    pub(super) fn new(surroundings: Surroundings) -> Self {
        Self {
            settings: BTreeMap::new(),
            server: None,
            warnings: Vec::new(),
            surroundings,
        }
    }

    /// As if `pairs` had been flags (`("max-children", "2")`) in front of `command`, in an empty
    /// environment. For tests, benches and programs that start the guard in-process. A switch is
    /// set by `"true"`; there is no data path unless it is given.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        command: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ConfigError> {
        let mut raw = Self::of_pairs(pairs)?;
        let command: Vec<_> = command.into_iter().map(OsString::from).collect();
        if !command.is_empty() {
            raw.add_server(Server::Command(command), Source::Flag)?;
        }
        Ok(raw)
    }

    /// [`Self::from_pairs`], in front of a URL.
    pub fn behind<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        url: &str,
    ) -> Result<Self, ConfigError> {
        let mut raw = Self::of_pairs(pairs)?;
        raw.add_server(Server::Url(url.to_owned()), Source::Flag)?;
        Ok(raw)
    }

    fn of_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let mut raw = Self::new(Surroundings::empty());
        let mut given: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, value) in pairs {
            given.entry(name).or_default().push(value.to_owned());
        }
        for (name, values) in given {
            let (option, form) = options::lookup(name)
                .ok_or_else(|| ConfigError::usage(format!("unknown option `{name}`")))?;
            raw.add(option, form, values, Source::Flag)?;
        }
        Ok(raw)
    }

    /// Adds one layer's setting of an option, unless a stronger layer has it. `values`: the texts
    /// as given, one for each time.
    pub(super) fn add(
        &mut self,
        option: &'static Opt,
        form: Form,
        values: Vec<String>,
        source: Source,
    ) -> Result<(), ConfigError> {
        if let Some(other) = self.settings.get(option.name) {
            return outranked(other, form, &source);
        }
        let mut setting = Setting {
            option,
            form,
            given: Given::Open(Vec::new()),
            source,
        };
        setting.given = match option.kind {
            Kind::Secret { .. } => Given::Secret(self.take_secret(&setting, values)?),
            _ => Given::Open(shape(&setting, values)?),
        };
        self.settings.insert(option.name, setting);
        Ok(())
    }

    fn take_secret(
        &mut self,
        setting: &Setting,
        values: Vec<String>,
    ) -> Result<SecretString, ConfigError> {
        let text = one(setting, values)?;
        if setting.form == Form::File {
            return self.read_secret(setting, Path::new(&text));
        }
        if setting.source == Source::Flag {
            self.warn(format!(
                "{setting}: everyone on this machine can read it in the process list; \
                 --{} and {} do not show it",
                setting.option.name_of(Form::File),
                setting.option.variable(Form::Itself),
            ));
        }
        Ok(SecretString::from(text))
    }

    /// Reads a secret's file. One line break at its end is the editor's, not the secret's.
    fn read_secret(&mut self, setting: &Setting, path: &Path) -> Result<SecretString, ConfigError> {
        let file = self.surroundings.read(path).map_err(|error| {
            setting.refuse(
                format_args!("cannot be read from {}: {error}", path.display()),
                "give the path of a text file that the guard's user may read",
            )
        })?;
        self.warnings.extend(file.warning(path));
        let text = file.text.strip_suffix('\n').unwrap_or(&file.text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(setting.refuse(
                format_args!("is empty: {}", path.display()),
                "write the secret into the file",
            ));
        }
        Ok(SecretString::from(text))
    }

    /// Adds the wrapped server, unless a stronger layer names one.
    pub(super) fn add_server(&mut self, server: Server, source: Source) -> Result<(), ConfigError> {
        let Some((other, place)) = &self.server else {
            self.server = Some((server, source));
            return Ok(());
        };
        if std::mem::discriminant(place) != std::mem::discriminant(&source) {
            return Ok(());
        }
        let both = format!(
            "both {} and {} are given",
            other.locate(place),
            server.locate(&source)
        );
        Err(ConfigError::refused(both).hint("one guard stands in front of one server: keep one"))
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// What the option was set to, if it was.
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name)
    }

    /// The wrapped server, and where it is named.
    pub fn server(&self) -> Option<&(Server, Source)> {
        self.server.as_ref()
    }

    /// Whether an option was set to the same, or left alone, in both. Where it was said does not
    /// matter.
    pub(super) fn agrees_on(&self, option: &Opt, other: &Self) -> bool {
        match (self.setting(option.name), other.setting(option.name)) {
            (None, None) => true,
            (Some(this), Some(that)) => this.given.says_the_same(&that.given),
            _ => false,
        }
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }
}

/// A weaker layer is silent; the same layer must not say a thing in two forms.
fn outranked(other: &Setting, form: Form, source: &Source) -> Result<(), ConfigError> {
    let same_layer = std::mem::discriminant(&other.source) == std::mem::discriminant(source);
    if same_layer && other.form != form {
        let this = source.locate(other.option, form);
        return Err(
            ConfigError::refused(format!("both {other} and {this} are given"))
                .hint("keep one of the two"),
        );
    }
    Ok(())
}

/// The one value of an option that takes one.
fn one(setting: &Setting, values: Vec<String>) -> Result<String, ConfigError> {
    let [value] = <[String; 1]>::try_from(values)
        .map_err(|_| setting.refuse("takes one value", "give it once, with one value"))?;
    if value.is_empty() {
        return Err(setting.refuse("is empty", "give it a value, or leave it out"));
    }
    Ok(value)
}

/// Holds values against the shape that the option's kind asks for.
fn shape(setting: &Setting, values: Vec<String>) -> Result<Vec<String>, ConfigError> {
    match setting.option.kind {
        Kind::List(_) => list(setting, values),
        Kind::Repeated(_) => repeated(setting, values),
        Kind::Choice(words) => {
            let word = one(setting, values)?;
            if !words.split('|').any(|known| known == word) {
                let hint = format!("write one of: {}", words.replace('|', ", "));
                return Err(setting.misread(&word, hint));
            }
            Ok(vec![word])
        }
        Kind::Switch => {
            let text = one(setting, values)?;
            value::switch(&text).map_err(|hint| setting.misread(&text, hint))?;
            Ok(vec![text])
        }
        Kind::One(_) | Kind::Secret { .. } => Ok(vec![one(setting, values)?]),
    }
}

/// Commas divide, wherever it stands.
fn list(setting: &Setting, values: Vec<String>) -> Result<Vec<String>, ConfigError> {
    let mut all = Vec::new();
    for value in values {
        let elements =
            value::elements(&value).map_err(|hint| setting.refuse("has an empty element", hint))?;
        all.extend(elements);
    }
    if all.is_empty() {
        return Err(setting.refuse("is empty", "give it a value, or leave it out"));
    }
    Ok(all)
}

/// A variable cannot be repeated, so its lines stand for repetitions.
fn repeated(setting: &Setting, values: Vec<String>) -> Result<Vec<String>, ConfigError> {
    let all: Vec<String> = match setting.source {
        Source::Variable => values
            .iter()
            .flat_map(|value| value.lines())
            .map(str::to_owned)
            .collect(),
        _ => values,
    };
    if all.is_empty() || all.iter().any(String::is_empty) {
        return Err(setting.refuse("has an empty element", "give it a value, or leave it out"));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn raw(pairs: &[(&'static str, &'static str)]) -> Result<RawConfig, ConfigError> {
        RawConfig::from_pairs(pairs.iter().copied(), [])
    }

    #[test]
    fn the_first_layer_to_set_an_option_wins() {
        let mut raw = raw(&[("log-level", "debug")]).unwrap();
        let (option, form) = options::lookup("log-level").unwrap();
        raw.add(option, form, vec!["error".into()], Source::Variable)
            .unwrap();
        assert_eq!(raw.setting("log-level").unwrap().text(), "debug");
        assert_eq!(raw.setting("log-level").unwrap().to_string(), "--log-level");
    }

    #[test]
    fn lists_are_comma_separated_and_repeated() {
        let raw = raw(&[("pass-env", "A,B"), ("pass-env", "C")]).unwrap();
        assert_eq!(raw.setting("pass-env").unwrap().elements(), ["A", "B", "C"]);
    }

    #[test]
    fn env_keeps_its_commas_and_its_variable_has_lines() {
        let raw = raw(&[("env", "A=1,2"), ("env", "B=3")]).unwrap();
        assert_eq!(raw.setting("env").unwrap().elements(), ["A=1,2", "B=3"]);
        let mut raw = RawConfig::new(Surroundings::empty());
        let (option, form) = options::lookup("env").unwrap();
        raw.add(option, form, vec!["A=1,2\nB=3".into()], Source::Variable)
            .unwrap();
        assert_eq!(raw.setting("env").unwrap().elements(), ["A=1,2", "B=3"]);
    }

    #[test]
    fn a158_empty_values_are_errors() {
        for (name, value) in [
            ("listen", ""),
            ("external-url", ""),
            ("allowed-redirect-uris", "a,,b"),
            ("password", ""),
            ("env", ""),
        ] {
            let error = raw(&[(name, value)]).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.hint_text().is_some());
        }
    }

    #[test]
    fn an_option_that_takes_one_value_takes_no_second() {
        let error = raw(&[("log-level", "info"), ("log-level", "warn")]).unwrap_err();
        assert_eq!(error.to_string(), "--log-level takes one value");
    }

    #[test]
    fn a_choice_takes_its_words_only() {
        let error = raw(&[("isolation", "none")]).unwrap_err();
        assert_eq!(error.to_string(), "--isolation cannot be `none`");
        assert_eq!(
            error.hint_text(),
            Some("write one of: auto, session, user, shared")
        );
    }

    #[test]
    fn a154_debug_output_holds_no_secret() {
        let raw = raw(&[("password", "canary-1234"), ("env", "KEY=canary")]).unwrap();
        assert!(!format!("{raw:?}").contains("canary"));
    }

    #[test]
    fn a162_a_secret_given_as_a_flag_works_and_warns() {
        let raw = raw(&[("password", "canary-1234")]).unwrap();
        let Given::Secret(secret) = &raw.setting("password").unwrap().given else {
            panic!("not kept as a secret");
        };
        assert_eq!(secret.expose_secret(), "canary-1234");
        assert!(raw.warnings()[0].contains("process list"));
        assert!(!raw.warnings()[0].contains("canary"));
    }
}
