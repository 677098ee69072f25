//! The command line: a `clap` command built from the table of options, and what its errors mean in
//! our words. Nothing of it reads the process.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum as _};
use clap_complete::Shell;

use super::migration::{self, Migration, Notation};
use super::options::{self, Default, Form, GROUPS, Kind, Opt};
use super::raw::{Server, Source};
use super::surroundings::Surroundings;
use super::{ConfigError, RawConfig};

const ABOUT: &str =
    "Makes an MCP server safe to put on the internet: OAuth 2.1 in front of a command or a URL";

const USAGE: &str = "\
mcp-guard --external-url URL [OPTIONS] -- COMMAND [ARG...]
       mcp-guard --external-url URL [OPTIONS] UPSTREAM_URL
       mcp-guard --config FILE
       mcp-guard check|healthcheck [OPTIONS] [UPSTREAM_URL|-- COMMAND...]
       mcp-guard hash-password
       mcp-guard migrate [--format shell|toml|env] [--] [ITS_ARG...]
       mcp-guard completions SHELL
       mcp-guard man";

const AFTER_HELP: &str = "\
Every option has a variable, MCP_GUARD_<NAME IN UPPER_SNAKE>, and a key of its name in the TOML \
file of --config. A flag beats a variable, a variable beats systemd's credentials directory \
(secrets only, under their name), and that beats the file. Lists are comma-separated or repeated.

First try, with nothing else installed but Node.js:
  mcp-guard --external-url http://localhost:8080 --password '...' \\
    -- npx -y @modelcontextprotocol/server-everything

Exit codes: 0 done, 1 failed while running, 64 wrong usage, 78 configuration refused.";

/// The wrapped server's command, behind `--`.
const COMMAND: &str = "command";
/// The wrapped server's address, before `--` and no flag.
const UPSTREAM: &str = "upstream-url";
/// Of `check` alone.
const LIVE: &str = "live";
/// Of `migrate` alone.
const FORMAT: &str = "format";
const MIGRATE: &str = "migrate";
/// Of `completions` alone.
pub const SHELL: &str = "shell";

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Guard the server.
    Serve(RawConfig),
    /// Say what the configuration comes to.
    Check(RawConfig),
    /// The same, and ask the running guard how it is and what certificate it shows.
    CheckLive(RawConfig),
    /// Ask the running guard how it is.
    Healthcheck(RawConfig),
    HashPassword,
    /// Say what another program's command line comes to here.
    Migrate(Notation, Migration),
    /// Print what completes the command line in a shell.
    Completions(Shell),
    /// Print the manual page.
    Man,
    /// `--help` or `--version`: print this.
    Print(clap::builder::StyledStr),
}

/// Reads a command line (without the program's name) and all that it refers to.
pub fn from_args(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: Surroundings,
) -> Result<Invocation, ConfigError> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let theirs = match arguments.first() {
        Some(first) if first == MIGRATE => migration::split_off(&mut arguments),
        _ => Vec::new(),
    };
    let first = arguments
        .first()
        .and_then(|first| first.to_str())
        .map(str::to_owned);
    let arguments = std::iter::once(OsString::from("mcp-guard")).chain(arguments);
    let mut matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return print_or_explain(&error, first.as_deref().unwrap_or_default()),
    };
    match matches.remove_subcommand() {
        None => Ok(Invocation::Serve(gather(matches, surroundings)?)),
        Some((name, matches)) => match name.as_str() {
            "check" if matches.get_flag(LIVE) => {
                Ok(Invocation::CheckLive(gather(matches, surroundings)?))
            }
            "check" => Ok(Invocation::Check(gather(matches, surroundings)?)),
            "healthcheck" => Ok(Invocation::Healthcheck(gather(matches, surroundings)?)),
            MIGRATE => migrate(&matches, theirs, &surroundings),
            "completions" => Ok(Invocation::Completions(shell(matches)?)),
            "man" => Ok(Invocation::Man),
            _ => Ok(Invocation::HashPassword),
        },
    }
}

/// What `clap` knows of the command line: its commands, and every option of the table.
pub fn command() -> Command {
    let root = Command::new("mcp-guard")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .override_usage(USAGE)
        .after_help(AFTER_HELP)
        .max_term_width(80)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommand(
            with_options(Command::new("check"))
                .about("Print what the configuration comes to, and whether it would be refused")
                .arg(Arg::new(LIVE).long(LIVE).action(ArgAction::SetTrue).help(
                    "Also ask the running guard whether it is ready, and for its certificate",
                )),
        )
        .subcommand(
            Command::new("hash-password")
                .about("Read a password from standard input and print its Argon2 hash"),
        )
        .subcommand(migrate_command())
        .subcommand(
            with_options(Command::new("healthcheck"))
                .about("Ask the guard that runs with this configuration whether it is well"),
        )
        .subcommand(
            Command::new("completions")
                .about("Print a script that completes the command line in a shell")
                .arg(
                    Arg::new(SHELL)
                        .value_name("SHELL")
                        .help("One of bash, elvish, fish, powershell, zsh"),
                ),
        )
        .subcommand(Command::new("man").about("Print the manual page, as roff"));
    with_options(root)
}

/// Its arguments are split off before; they stand here for `--help`.
fn migrate_command() -> Command {
    let format = Arg::new(FORMAT)
        .long(FORMAT)
        .value_name(Notation::WORDS)
        .help("A command line, a file for --config, or variables [default: shell]");
    let theirs = Arg::new("theirs")
        .num_args(0..)
        .value_name("ARG")
        .help("What stands behind `mcp-auth-proxy`; its variables are read, too");
    Command::new(MIGRATE)
        .about("Print what a command line of mcp-auth-proxy (sigbit) is here")
        .arg(format)
        .arg(theirs)
}

fn migrate(
    matches: &ArgMatches,
    theirs: Vec<OsString>,
    surroundings: &Surroundings,
) -> Result<Invocation, ConfigError> {
    let notation = match matches.get_one::<String>(FORMAT) {
        Some(text) => Notation::parse(text)?,
        None => Notation::default(),
    };
    let migration = migration::migrate(theirs, surroundings)?;
    Ok(Invocation::Migrate(notation, migration))
}

/// Adds every option of the table, and the wrapped server.
fn with_options(mut command: Command) -> Command {
    for group in GROUPS {
        for option in group.options {
            for form in option.forms() {
                command = command.arg(flag(option, *form).help_heading(group.title));
            }
        }
    }
    let upstream = Arg::new(UPSTREAM)
        .num_args(1)
        .value_name("UPSTREAM_URL")
        .help("The MCP server to stand in front of; without a path it is /mcp");
    let words = Arg::new(COMMAND)
        .last(true)
        .num_args(1..)
        .value_parser(clap::value_parser!(OsString))
        .value_name("COMMAND")
        .help("The MCP server to start, with its arguments");
    command.arg(upstream).arg(words)
}

fn flag(option: &'static Opt, form: Form) -> Arg {
    let name = option.name_of(form);
    let arg = Arg::new(name).long(name).help(help(option, form));
    match option.kind {
        _ if form == Form::File => arg.value_name("PATH"),
        Kind::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("true|false"),
        Kind::One(value) | Kind::Choice(value) | Kind::Secret { value, .. } => {
            arg.value_name(value)
        }
        Kind::List(value) | Kind::Repeated(value) => {
            arg.value_name(value).action(ArgAction::Append)
        }
    }
}

fn help(option: &Opt, form: Form) -> String {
    if form == Form::File {
        return format!("File that holds the value of --{}", option.name);
    }
    match option.default {
        Default::Value("false") | Default::None => option.help.to_owned(),
        Default::Value(text) | Default::Derived(text) => {
            format!("{} [default: {text}]", option.help)
        }
    }
}

/// The shell that `completions` is asked for.
fn shell(mut matches: ArgMatches) -> Result<Shell, ConfigError> {
    let shells = || Shell::value_variants().iter().map(Shell::to_string);
    let text: String = matches.remove_one(SHELL).unwrap_or_default();
    if let Ok(shell) = Shell::from_str(&text, false) {
        return Ok(shell);
    }
    let error = ConfigError::usage("`completions` wants the name of a shell that it knows");
    Err(error
        .hint(format!(
            "it knows {}",
            shells().collect::<Vec<_>>().join(", ")
        ))
        .did_you_mean(options::nearest(&text, shells())))
}

/// All layers, the strongest first.
fn gather(mut matches: ArgMatches, surroundings: Surroundings) -> Result<RawConfig, ConfigError> {
    let mut raw = RawConfig::new(surroundings);
    if let Some(text) = matches.remove_one::<String>(UPSTREAM) {
        if !text.contains("://") {
            return Err(not_an_option(&text));
        }
        raw.add_server(Server::Url(text), Source::Flag)?;
    }
    for (option, form) in options::forms() {
        if let Some(values) = matches.remove_many::<String>(option.name_of(form)) {
            raw.add(option, form, values.collect(), Source::Flag)?;
        }
    }
    if let Some(words) = matches.remove_many::<OsString>(COMMAND) {
        raw.add_server(Server::Command(words.collect()), Source::Flag)?;
    }
    raw.add_variables()?;
    raw.add_credentials()?;
    raw.add_file()?;
    Ok(raw)
}

/// Something stands before `--` that is neither a flag, a URL nor a command of ours.
fn not_an_option(text: &str) -> ConfigError {
    match nearest_command(text) {
        Some(name) if name == text => ConfigError::usage(format!("`{name}` stands too far back"))
            .hint(format!(
                "the command comes first: `mcp-guard {name} [OPTIONS]`"
            )),
        Some(name) => unknown_command(text, name),
        // Not repeated: it may be the second word of an unquoted password.
        None => ConfigError::usage("there is an argument that belongs to no flag").hint(
            "put quotes around values with spaces, and the server's command behind `--`: \
             `-- COMMAND [ARG...]`",
        ),
    }
}

fn nearest_command(text: &str) -> Option<String> {
    let root = command();
    let commands = root.get_subcommands().map(|it| it.get_name().to_owned());
    options::nearest(text, commands)
}

fn unknown_command(text: &str, meant: String) -> ConfigError {
    let error = ConfigError::usage(format!("unknown command `{}`", text.escape_debug()));
    error.did_you_mean(Some(meant))
}

/// `first` is where a command stands.
fn print_or_explain(error: &clap::Error, first: &str) -> Result<Invocation, ConfigError> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Invocation::Print(error.render())),
        // Of a misspelt command it is the next argument that clap cannot place.
        ErrorKind::UnknownArgument => Err(match nearest_command(first) {
            Some(meant) if meant != first => unknown_command(first, meant),
            _ => unknown_flag(&context(error)),
        }),
        ErrorKind::InvalidUtf8 => Err(ConfigError::usage("an argument is not UTF-8")
            .hint("only the arguments behind `--` may be other than UTF-8 text")),
        ErrorKind::ArgumentConflict => Err(twice(&context(error))),
        ErrorKind::InvalidValue | ErrorKind::TooFewValues | ErrorKind::NoEquals => Err(
            ConfigError::usage(format!("{} lacks its value", context(error)))
                .hint("a value that starts with a dash is written `--flag=-value`"),
        ),
        ErrorKind::TooManyValues => Err(ConfigError::usage(format!(
            "{} takes no such value",
            context(error)
        ))
        .hint("see `mcp-guard --help`")),
        _ => Err(ConfigError::usage("the command line cannot be understood")
            .hint("see `mcp-guard --help`")),
    }
}

/// The argument that an error of clap's is about, without its value.
fn context(error: &clap::Error) -> String {
    let text = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.as_str(),
        Some(ContextValue::Strings(texts)) => texts.first().map_or("", String::as_str),
        _ => "",
    };
    let name = text.split([' ', '=', '[']).next().unwrap_or_default();
    name.escape_debug().to_string()
}

fn unknown_flag(text: &str) -> ConfigError {
    if !text.starts_with('-') {
        return not_an_option(text);
    }
    let known = options::forms().map(|(option, form)| format!("--{}", option.name_of(form)));
    let error = ConfigError::usage(format!("unknown flag `{text}`"))
        .hint("see `mcp-guard --help`; arguments of the server's command stand behind `--`");
    error.did_you_mean(options::nearest(text, known))
}

fn twice(text: &str) -> ConfigError {
    ConfigError::usage(format!("{text} is given twice")).hint("give it once")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Invocation, ConfigError> {
        from_args(arguments.iter().map(OsString::from), Surroundings::empty())
    }

    fn raw(arguments: &[&str]) -> RawConfig {
        match read(arguments) {
            Ok(Invocation::Serve(raw)) => raw,
            other => panic!("{other:?}"),
        }
    }

    fn refused(arguments: &[&str]) -> (String, String, u8) {
        let error = read(arguments).unwrap_err();
        let hint = error.hint_text().unwrap_or_default().to_owned();
        (error.to_string(), hint, error.exit_code())
    }

    #[test]
    fn the_command_is_what_stands_behind_the_dashes() {
        let raw = raw(&[
            "--max-children",
            "2",
            "--",
            "npx",
            "-y",
            "--",
            "x",
            "--listen",
        ]);
        let (Server::Command(command), _) = raw.server().unwrap() else {
            panic!("a URL");
        };
        assert_eq!(command, &["npx", "-y", "--", "x", "--listen"]);
        assert_eq!(raw.setting("max-children").unwrap().text(), "2");
        assert!(raw.setting("listen").is_none());
    }

    #[test]
    fn the_url_is_what_stands_before_the_dashes_and_is_no_flag() {
        let raw = raw(&["--listen", "x", "https://a.test/x", "--clean-env"]);
        let (server, _) = raw.server().unwrap();
        assert!(*server == Server::Url("https://a.test/x".into()));
        let error = read(&["https://a.test", "--", "npx"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "both UPSTREAM_URL and a COMMAND behind -- are given"
        );
        assert_eq!(error.exit_code(), 78);
        assert!(error.hint_text().is_some());
    }

    #[test]
    fn switches_stand_alone_or_say_false() {
        let on = raw(&["--clean-env", "--", "x"]);
        assert!(on.is_on("clean-env").unwrap());
        let off = raw(&["--clean-env=false"]);
        assert!(!off.is_on("clean-env").unwrap());
        assert!(read(&["--clean-env=maybe"]).is_err());
    }

    #[test]
    fn commands_are_told_apart() {
        assert!(matches!(
            read(&["check", "--listen", "x"]),
            Ok(Invocation::Check(_))
        ));
        assert!(matches!(
            read(&["check", "--live", "--listen", "x"]),
            Ok(Invocation::CheckLive(_))
        ));
        assert!(read(&["--live"]).is_err());
        assert!(matches!(
            read(&["healthcheck"]),
            Ok(Invocation::Healthcheck(_))
        ));
        assert!(matches!(
            read(&["hash-password"]),
            Ok(Invocation::HashPassword)
        ));
        assert!(matches!(
            read(&["completions", "bash"]),
            Ok(Invocation::Completions(Shell::Bash))
        ));
        assert!(matches!(read(&["man"]), Ok(Invocation::Man)));
        assert!(matches!(read(&["--version"]), Ok(Invocation::Print(_))));
        // Behind the dashes it is the server's.
        assert!(matches!(read(&["--", "check"]), Ok(Invocation::Serve(_))));
    }

    #[test]
    fn a163_wrong_usage_is_explained() {
        for (arguments, message, hint) in [
            (
                &["--lisen", "x"][..],
                "unknown flag `--lisen`",
                "did you mean `--listen`?",
            ),
            (
                &["--listen-file", "x"],
                "unknown flag `--listen-file`",
                "--help",
            ),
            (
                &["--otlp-endpoint"],
                "unknown flag `--otlp-endpoint`",
                "--help",
            ),
            (&["-y"], "unknown flag `-y`", "behind `--`"),
            (&["npx", "server"], "belongs to no flag", "behind `--`"),
            (&["hash-password", "x"], "belongs to no flag", "--"),
            (&["chek"], "unknown command `chek`", "`check`"),
            (&["chek", "--live"], "unknown command `chek`", "`check`"),
            (
                &["completion", "bash"],
                "unknown command `completion`",
                "did you mean `completions`?",
            ),
            (&["check", "--lve"], "unknown flag `--lve`", "--help"),
            (
                &["--clean-env", "check"],
                "`check` stands too far back",
                "comes first",
            ),
            (
                &["completions"],
                "wants the name of a shell",
                "bash, elvish, fish, powershell, zsh",
            ),
            (
                &["completions", "bsh"],
                "wants the name of a shell",
                "did you mean `bash`?",
            ),
            (&["--listen"], "--listen lacks its value", "--flag=-value"),
            (
                &["--store", "memory:", "--store", "sqlite:"],
                "--store is given twice",
                "once",
            ),
            (
                &["https://a.test", "https://b.test"],
                "belongs to no flag",
                "behind `--`",
            ),
        ] {
            let (said, hinted, code) = refused(arguments);
            assert!(said.contains(message), "{arguments:?}: {said}");
            assert!(hinted.contains(hint), "{arguments:?}: {hinted}");
            assert_eq!(code, 64, "{arguments:?}");
        }
    }

    #[test]
    fn a154_a_misspelt_secret_is_not_repeated() {
        for arguments in [
            &["--passwrod=canary"][..],
            &["--passwrod", "canary"],
            &["--password", "correct", "canary"],
            &["hash-password", "canary"],
        ] {
            let (said, hinted, _) = refused(arguments);
            assert!(
                !format!("{said} {hinted}").contains("canary"),
                "{said} {hinted}"
            );
        }
    }

    #[test]
    fn help_shows_every_option_and_fits_eighty_columns() {
        let Ok(Invocation::Print(help)) = read(&["--help"]) else {
            panic!("no help");
        };
        let help = help.to_string();
        for (option, form) in options::forms() {
            assert!(
                help.contains(&format!("--{}", option.name_of(form))),
                "{}",
                option.name
            );
        }
        for group in GROUPS {
            assert!(help.contains(group.title), "{}", group.title);
        }
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn a162_help_shows_no_secret_of_the_environment() {
        let secret =
            [("MCP_GUARD_PASSWORD", "canary")].map(|(name, value)| (name.into(), value.into()));
        let surroundings = Surroundings::new(secret, |_| Err(std::io::ErrorKind::NotFound.into()));
        let help = from_args([OsString::from("--help")], surroundings).unwrap();
        let Invocation::Print(help) = help else {
            panic!("no help");
        };
        assert!(!help.to_string().contains("canary"));
    }
}
