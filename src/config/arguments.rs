//! The command line: a `clap` command built from the table of options, and what its errors mean in
//! our words. Nothing of it reads the process.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::options::{self, Default, Form, GROUPS, Kind, Opt};
use super::raw::Source;
use super::surroundings::Surroundings;
use super::{ConfigError, RawConfig};

const ABOUT: &str =
    "Makes an MCP server safe to put on the internet: OAuth 2.1 in front of a command";

const USAGE: &str = "\
mcp-guard --external-url URL [OPTIONS] -- COMMAND [ARG...]
       mcp-guard --config FILE
       mcp-guard check|healthcheck [OPTIONS] [-- COMMAND [ARG...]]
       mcp-guard hash-password";

const AFTER_HELP: &str = "\
Every option has a variable, MCP_GUARD_<NAME IN UPPER_SNAKE>, and a key of its name in the
TOML file of --config. A flag beats a variable, a variable beats the file. Secrets have a
further form NAME-file, and are found in systemd's credentials directory under their name.
Lists are comma-separated or repeated.

First try, with nothing else installed but Node.js:
  mcp-guard --external-url http://localhost:8080 --password '...' \\
    -- npx -y @modelcontextprotocol/server-everything

Exit codes: 0 done, 1 failed while running, 64 wrong usage, 78 configuration refused.";

/// The wrapped server's command, behind `--`.
const COMMAND: &str = "command";
/// What stands before `--` and is no flag.
const UPSTREAM: &str = "upstream-url";

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Guard the server.
    Serve(RawConfig),
    /// Say what the configuration comes to.
    Check(RawConfig),
    /// Ask the running guard how it is.
    Healthcheck(RawConfig),
    HashPassword,
    /// `--help` or `--version`: print this.
    Print(clap::builder::StyledStr),
}

/// Reads a command line (without the program's name) and all that it refers to.
pub fn from_args(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: Surroundings,
) -> Result<Invocation, ConfigError> {
    let arguments = std::iter::once(OsString::from("mcp-guard")).chain(arguments);
    let mut matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return print_or_explain(&error),
    };
    match matches.remove_subcommand() {
        None => Ok(Invocation::Serve(gather(matches, surroundings)?)),
        Some((name, matches)) => match name.as_str() {
            "check" => Ok(Invocation::Check(gather(matches, surroundings)?)),
            "healthcheck" => Ok(Invocation::Healthcheck(gather(matches, surroundings)?)),
            _ => Ok(Invocation::HashPassword),
        },
    }
}

fn command() -> Command {
    let root = Command::new("mcp-guard")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .override_usage(USAGE)
        .after_help(AFTER_HELP)
        .max_term_width(100)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommand(
            with_options(Command::new("check"))
                .about("Print what the configuration comes to, and whether it would start"),
        )
        .subcommand(
            Command::new("hash-password")
                .about("Read a password from standard input and print its Argon2 hash"),
        )
        .subcommand(
            with_options(Command::new("healthcheck"))
                .about("Ask the guard that runs with this configuration whether it is well"),
        );
    with_options(root)
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
    command.arg(Arg::new(UPSTREAM).num_args(1).hide(true)).arg(
        Arg::new(COMMAND)
            .last(true)
            .num_args(1..)
            .value_parser(clap::value_parser!(OsString))
            .value_name("COMMAND")
            .help("The MCP server to start, with its arguments"),
    )
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

/// All layers, the strongest first.
fn gather(mut matches: ArgMatches, surroundings: Surroundings) -> Result<RawConfig, ConfigError> {
    if let Some(text) = matches.remove_one::<String>(UPSTREAM) {
        return Err(not_an_option(&text));
    }
    let mut raw = RawConfig::new(surroundings);
    for (option, form) in options::forms() {
        if let Some(values) = matches.remove_many::<String>(option.name_of(form)) {
            raw.add(option, form, values.collect(), Source::Flag)?;
        }
    }
    if let Some(words) = matches.remove_many::<OsString>(COMMAND) {
        raw.add_command(words.collect(), Source::Flag);
    }
    raw.add_variables()?;
    raw.add_credentials()?;
    raw.add_file()?;
    Ok(raw)
}

/// Something stands before `--` that is neither a flag nor a command of ours.
fn not_an_option(text: &str) -> ConfigError {
    if text.starts_with("http://") || text.starts_with("https://") {
        return ConfigError::usage("servers behind a URL are not built in yet")
            .hint("give the command of a stdio server: `-- COMMAND [ARG...]`");
    }
    let commands = ["check", "healthcheck", "hash-password"].map(str::to_owned);
    let error = ConfigError::usage(format!("unexpected `{}`", text.escape_debug()));
    match options::nearest(text, commands.into_iter()) {
        Some(name) if name == text => error.hint(format!(
            "the command comes first: `mcp-guard {name} [OPTIONS]`"
        )),
        Some(name) => error.did_you_mean(Some(name)),
        None => error.hint("the server's command stands behind `--`: `-- COMMAND [ARG...]`"),
    }
}

fn print_or_explain(error: &clap::Error) -> Result<Invocation, ConfigError> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Invocation::Print(error.render())),
        ErrorKind::UnknownArgument => Err(unknown_flag(&context(error))),
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
    let known = options::forms().map(|(option, form)| format!("--{}", option.name_of(form)));
    let error = ConfigError::usage(format!("unknown flag `{text}`"))
        .hint("see `mcp-guard --help`; arguments of the server's command stand behind `--`");
    error.did_you_mean(options::nearest(text, known))
}

fn twice(text: &str) -> ConfigError {
    ConfigError::usage(format!("{text} is given twice")).hint("give it once")
}
