//! `completions`: a script with which a shell completes the command line, from the table of
//! options. Shells complete what can be known: names, the words of a choice, files.

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueEnum as _, ValueHint};
use clap_complete::{Shell, generate};

use super::say;
use crate::config::options::{self, Form, Kind, Opt};
use crate::config::{SHELL, command_line};

/// The generator for bash spells the name of a program with a dash in two ways, and so never finds
/// the options of its commands (clap issue 6421).
const MISSPELT: &str = "mcp__subcmd__guard";
const SPELT: &str = "mcp__guard";

pub(super) fn run(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    let mut command = completed(command_line());
    generate(shell, &mut command, "mcp-guard", &mut script);
    let script = String::from_utf8_lossy(&script);
    match shell {
        Shell::Bash => say(&script.replace(MISSPELT, SPELT)),
        _ => say(&script),
    }
    ExitCode::SUCCESS
}

/// With what is said of values for shells only: `clap` would otherwise judge them too, in its own
/// words.
fn completed(command: Command) -> Command {
    command
        .mut_args(of_values)
        .mut_subcommands(|command| command.mut_args(of_values))
}

fn of_values(arg: Arg) -> Arg {
    let name = arg.get_id().to_string();
    if name == SHELL {
        let shells = Shell::value_variants().iter();
        let names = shells.filter_map(Shell::to_possible_value);
        return arg.value_parser(PossibleValuesParser::new(names));
    }
    let Some((option, form)) = options::lookup(&name) else {
        return arg;
    };
    match option.kind {
        _ if form == Form::File => arg.value_hint(ValueHint::FilePath),
        // Its value stands behind `=` or nowhere; shells would offer it as the next word.
        Kind::Switch => switch(option),
        Kind::Choice(words) => arg.value_parser(PossibleValuesParser::new(words.split('|'))),
        Kind::One("FILE") => arg.value_hint(ValueHint::FilePath),
        Kind::One("PATH") => arg.value_hint(ValueHint::AnyPath),
        Kind::One("URL") => arg.value_hint(ValueHint::Url),
        _ => arg.value_hint(ValueHint::Other),
    }
}

fn switch(option: &Opt) -> Arg {
    Arg::new(option.name)
        .long(option.name)
        .action(ArgAction::SetTrue)
        .help(option.help)
}
