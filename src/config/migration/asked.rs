//! What mcp-auth-proxy was asked for: its command line, read as it reads it, over its variables.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::flags::{self, FLAGS, Flag, Shape};
use crate::config::raw::Server;
use crate::config::{ConfigError, Surroundings, options};

/// Where something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Flag,
    Variable,
}

/// What was said of one flag. The text may be a secret.
pub(super) struct Stated {
    pub(super) flag: &'static Flag,
    pub(super) text: String,
    pub(super) place: Place,
}

/// Everything that was said.
pub(super) struct Asked {
    stated: BTreeMap<&'static str, Stated>,
    /// Neither a flag nor the value of one.
    words: Vec<String>,
    /// A flag that it does not know stands among the words, without `--` in front of them.
    pub(super) has_loose_flags: bool,
}

impl Stated {
    /// How people find it: `--listen`, `LISTEN`.
    pub(super) fn shown(&self) -> String {
        match self.place {
            Place::Flag => format!("--{}", self.flag.name),
            Place::Variable => self.flag.variable.to_owned(),
        }
    }

    /// This is at fault. The text is not repeated: it may be a secret that stands in the wrong place.
    pub(super) fn refuse(&self, what: &str, hint: impl Into<String>) -> ConfigError {
        ConfigError::refused(format!("{} {what}", self.shown())).hint(hint)
    }
}

impl Asked {
    /// Reads a command line, with or without the program's name, and the variables below it.
    pub(super) fn read(
        arguments: Vec<OsString>,
        surroundings: &Surroundings,
    ) -> Result<Self, ConfigError> {
        let mut asked = Self {
            stated: BTreeMap::new(),
            words: Vec::new(),
            has_loose_flags: false,
        };
        let arguments: Result<Vec<String>, _> =
            arguments.into_iter().map(OsString::into_string).collect();
        let arguments = arguments.map_err(|_| {
            ConfigError::usage("an argument is not UTF-8").hint("only UTF-8 text can be migrated")
        })?;
        asked.read_arguments(arguments)?;
        asked.read_variables(surroundings)?;
        Ok(asked)
    }

    /// What was said of a flag, if anything was.
    pub(super) fn get(&self, name: &str) -> Option<&Stated> {
        self.stated.get(name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Stated> {
        FLAGS.iter().filter_map(|flag| self.get(flag.name))
    }

    /// The text, or the default.
    pub(super) fn text(&self, name: &str) -> &str {
        let default = || flags::by_name(name).map_or("", |flag| flag.default);
        self.get(name).map_or_else(default, |stated| &stated.text)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// The server: the first word, if it is an http or https URL; else all words are a command.
    pub(super) fn server(&self) -> Result<Server, ConfigError> {
        if let Some(stated) = self.get("proxy-url").filter(|_| self.words.is_empty()) {
            return Ok(Server::Url(stated.text.clone()));
        }
        match self.words.as_slice() {
            [url, ..] if is_web(url) => Ok(Server::Url(url.clone())),
            [] => Err(
                ConfigError::usage("there is no server among the arguments").hint(
                    "give what stands behind `mcp-auth-proxy`, with its variables set: \
                     `mcp-guard migrate --external-url URL … -- COMMAND [ARG...]`",
                ),
            ),
            words => Ok(Server::Command(words.iter().map(OsString::from).collect())),
        }
    }

    fn read_arguments(&mut self, arguments: Vec<String>) -> Result<(), ConfigError> {
        let mut rest = arguments.into_iter().peekable();
        if let Some(first) = rest.next_if(|word| word == "--") {
            // Ours, or already theirs? Only theirs stands in front of a command.
            let is_ours = |word: &String| word.starts_with('-') || is_program(word) || is_web(word);
            if !rest.peek().is_none_or(is_ours) {
                drop(first);
                self.words.extend(rest);
                return Ok(());
            }
        }
        rest.next_if(|word| is_program(word));
        if rest.peek().is_some_and(|word| is_container_tool(word)) {
            return Err(ConfigError::usage("the arguments start a container").hint(
                "give only what stands behind the image's name, with the container's variables \
                 set: `env EXTERNAL_URL=… mcp-guard migrate …`",
            ));
        }
        while let Some(word) = rest.next() {
            if word == "--" {
                self.words.extend(rest);
                return Ok(());
            }
            self.read_argument(word, &mut rest)?;
        }
        Ok(())
    }

    /// One argument before `--`. Flags may stand behind words.
    fn read_argument(
        &mut self,
        word: String,
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<(), ConfigError> {
        if !word.starts_with('-') || word == "-" {
            self.words.push(word);
            return Ok(());
        }
        let Some((flag, value)) = named(&word) else {
            return self.read_unknown(word);
        };
        let text = match (flag.shape, value) {
            (Shape::Switch, value) => {
                switch(&value.unwrap_or_else(|| "true".to_owned())).map(str::to_owned)
            }
            (_, Some(value)) => Some(value),
            (_, None) => rest.next(),
        };
        let text = text.ok_or_else(|| {
            ConfigError::usage(format!("--{} lacks its value", flag.name))
                .hint("give the arguments as they are given to mcp-auth-proxy")
        })?;
        let place = Place::Flag;
        // The last one wins. An empty text unsets a variable's.
        self.stated.insert(flag.name, Stated { flag, text, place });
        Ok(())
    }

    /// Its documentation has containers started with a command without `--`, whose flags it would
    /// not know either; behind a command they can only be the command's.
    fn read_unknown(&mut self, word: String) -> Result<(), ConfigError> {
        if self.words.first().is_some_and(|first| !is_web(first)) {
            self.has_loose_flags = true;
            self.words.push(word);
            return Ok(());
        }
        let name = word.split('=').next().unwrap_or_default();
        let name = if name.starts_with("--") {
            name
        } else {
            name.get(..2).unwrap_or("-")
        };
        let known = FLAGS.iter().filter(|flag| flag.is_flag);
        let known = known.map(|flag| format!("--{}", flag.name));
        Err(ConfigError::usage(format!(
            "mcp-auth-proxy has no flag `{}`",
            name.escape_debug()
        ))
        .hint("arguments of the server's command stand behind `--`")
        .did_you_mean(options::nearest(name, known)))
    }

    fn read_variables(&mut self, surroundings: &Surroundings) -> Result<(), ConfigError> {
        for flag in FLAGS {
            let Some(value) = surroundings.variable(flag.variable) else {
                continue;
            };
            let text = value.to_str().ok_or_else(|| {
                ConfigError::refused(format!("{} is not UTF-8", flag.variable))
                    .hint("write it as UTF-8 text")
            })?;
            let text = match flag.shape {
                Shape::Switch => is_true(text).to_string(),
                _ => text.to_owned(),
            };
            let place = Place::Variable;
            self.stated
                .entry(flag.name)
                .or_insert(Stated { flag, text, place });
        }
        self.stated.retain(|_, stated| !stated.text.is_empty());
        Ok(())
    }
}

/// The flag that an argument names, and the value that it holds: `--a`, `--a=v`, `-a`, `-av`, `-a=v`.
fn named(word: &str) -> Option<(&'static Flag, Option<String>)> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        return Some((flags::by_name(name)?, value));
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let flag = flags::by_short(letters.next()?)?;
    let value = letters.as_str();
    let value = value.strip_prefix('=').unwrap_or(value);
    Some((
        flag,
        Some(value.to_owned()).filter(|value| !value.is_empty()),
    ))
}

/// What Go's `strconv.ParseBool` takes.
fn switch(text: &str) -> Option<&'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some("true"),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some("false"),
        _ => None,
    }
}

/// What is true in a variable; everything else is false there.
fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text == "1"
}

pub(super) fn is_web(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// `mcp-auth-proxy`, `./mcp-auth-proxy-linux-amd64`, `ghcr.io/sigbit/mcp-auth-proxy:latest`.
fn is_program(word: &str) -> bool {
    let file = word.rsplit('/').next().unwrap_or_default();
    file.starts_with("mcp-auth-proxy")
}

fn is_container_tool(word: &str) -> bool {
    let file = word.rsplit('/').next().unwrap_or_default();
    matches!(file, "docker" | "podman" | "nerdctl")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Asked, ConfigError> {
        let arguments = arguments.iter().map(OsString::from).collect();
        Asked::read(arguments, &Surroundings::fake(variables, &[]))
    }

    fn read(arguments: &[&str]) -> Asked {
        read_with(arguments, &[]).unwrap()
    }

    fn refused(arguments: &[&str]) -> ConfigError {
        match read_with(arguments, &[]).and_then(|asked| asked.server()) {
            Ok(_) => panic!("not refused: {arguments:?}"),
            Err(error) => error,
        }
    }

    fn command(asked: &Asked) -> Vec<OsString> {
        match asked.server().unwrap() {
            Server::Command(words) => words,
            Server::Url(_) => panic!("a URL"),
        }
    }

    #[test]
    fn flags_are_read_in_every_form_that_it_takes() {
        for arguments in [
            &["--external-url", "https://a.test"][..],
            &["--external-url=https://a.test"],
            &["-e", "https://a.test"],
            &["-ehttps://a.test"],
            &["-e=https://a.test"],
            &["-e", "https://b.test", "-e", "https://a.test"],
            &["mcp-auth-proxy", "-e", "https://a.test"],
            &["--", "./mcp-auth-proxy-linux-amd64", "-e", "https://a.test"],
            &["--", "-e", "https://a.test"],
            &["npx", "-e", "https://a.test"],
        ] {
            let asked = read(arguments);
            assert_eq!(
                asked.text("external-url"),
                "https://a.test",
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn switches_are_read_as_go_reads_them() {
        for (arguments, on) in [
            (&["--no-auto-tls", "x"][..], true),
            (&["--no-auto-tls=T", "x"], true),
            (&["--no-auto-tls=0", "x"], false),
            (&["x"], false),
        ] {
            assert_eq!(read(arguments).is_on("no-auto-tls"), on, "{arguments:?}");
        }
        for (text, on) in [("TRUE", true), ("1", true), ("yes", false), ("0", false)] {
            let asked = read_with(&["x"], &[("NO_AUTO_TLS", text)]).unwrap();
            assert_eq!(asked.is_on("no-auto-tls"), on, "{text}");
        }
        assert!(read_with(&["--no-auto-tls=maybe"], &[]).is_err());
    }

    #[test]
    fn a_flag_beats_its_variable_and_an_empty_one_says_nothing() {
        let variables = [
            ("LISTEN", ":1"),
            ("PASSWORD", ""),
            ("EXTERNAL_URL", "http://x"),
        ];
        let asked = read_with(&["--listen", ":2", "--external-url=", "x"], &variables).unwrap();
        assert_eq!(asked.text("listen"), ":2");
        assert!(asked.get("password").is_none());
        assert_eq!(asked.text("external-url"), "http://localhost");
        assert_eq!(asked.text("tls-listen"), ":443");
    }

    #[test]
    fn the_servers_arguments_are_its_own() {
        for arguments in [
            &["-d", "/x", "--", "npx", "-y", "--listen", "x"][..],
            &[
                "-d",
                "/x",
                "mcp-auth-proxy",
                "--",
                "npx",
                "-y",
                "--listen",
                "x",
            ],
        ] {
            let asked = read(arguments);
            let words = command(&asked);
            assert_eq!(
                words.get(words.len() - 4..).unwrap(),
                ["npx", "-y", "--listen", "x"]
            );
        }
        // Nothing of its own stands in front.
        let asked = read(&["--", "npx", "-e", "x"]);
        assert_eq!(command(&asked), ["npx", "-e", "x"]);
        assert!(asked.get("external-url").is_none());
        // As its documentation starts containers.
        let asked = read(&["npx", "-y", "server", "./"]);
        assert_eq!(command(&asked), ["npx", "-y", "server", "./"]);
        assert!(asked.has_loose_flags);
    }

    #[test]
    fn a_url_is_a_server_wherever_it_stands() {
        for arguments in [
            &["http://h:1", "--listen", ":2"][..],
            &["--listen", ":2", "http://h:1"],
            &["--listen", ":2", "--", "http://h:1"],
            &["--", "http://h:1", "--listen", ":2"],
            &["--listen", ":2", "--proxy-url", "http://h:1"],
        ] {
            let asked = read(arguments);
            assert!(
                asked.server().unwrap() == Server::Url("http://h:1".into()),
                "{arguments:?}"
            );
            assert_eq!(asked.text("listen"), ":2", "{arguments:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_wrong_usage() {
        for (arguments, said, hint) in [
            (&["--lisen", "x"][..], "no flag `--lisen`", "--listen"),
            (&["-x"], "no flag `-x`", "behind `--`"),
            (&["http://h", "-y"], "no flag `-y`", "behind `--`"),
            (
                &["--listen"],
                "--listen lacks its value",
                "as they are given",
            ),
            (&[], "no server", "COMMAND"),
            (
                &["docker", "run", "-e", "PASSWORD=canary"],
                "start a container",
                "image's name",
            ),
        ] {
            let error = refused(arguments);
            assert!(error.to_string().contains(said), "{arguments:?}: {error}");
            assert!(error.hint_text().unwrap().contains(hint), "{arguments:?}");
            assert_eq!(error.exit_code(), 64, "{arguments:?}");
        }
    }

    #[test]
    fn a154_a_misspelt_secret_is_not_repeated() {
        for arguments in [
            &["--passwrod=canary"][..],
            &["-pcanary"],
            &["--tls-accept-tos=canary"],
        ] {
            let error = refused(arguments);
            let said = format!("{error} {:?}", error.hint_text());
            assert!(!said.contains("canary"), "{said}");
        }
    }
}
