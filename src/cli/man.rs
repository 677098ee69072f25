//! `man`: the manual page as roff. Options and commands come from the table that makes `--help`;
//! the words round them stand here.

use std::io;
use std::process::ExitCode;

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{FAILED, complain, say};
use crate::config::command_line;

/// When the words of this page last changed.
const DATE: &str = "2026-11-21";

const DESCRIPTION: &[&str] = &[
    "mcp-guard stands in front of an MCP server: a command, which it starts for each session, or a \
     server that runs already, under a URL. It is the OAuth 2.1 authorization server that MCP clients \
     look for, and lets nobody through who has not signed in.",
    "Every option is a flag, a variable and a key of the TOML file of --config. A flag beats a \
     variable, a variable beats systemd's credentials directory (secrets only, under their name), and \
     that beats the file. Lists are comma-separated or repeated.",
    "On SIGHUP it reads its configuration anew and takes over who may sign in. On SIGTERM or SIGINT it \
     finishes what is under way, for --shutdown-grace at most, and stops; a second one ends the wait.",
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "MCP_GUARD_NAME",
        "An option each: its name in capitals, with underscores in place of dashes. \
         MCP_GUARD_MAX_CHILDREN=4 is --max-children 4.",
    ),
    (
        "CREDENTIALS_DIRECTORY",
        "Where systemd puts credentials: a file for each secret, named as its option.",
    ),
    (
        "STATE_DIRECTORY, XDG_STATE_HOME, HOME",
        "Where the state is kept without --data-path; the first that is set.",
    ),
    (
        "LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES",
        "Sockets that systemd passes.",
    ),
    (
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "Roots of trust for connections to others, in place of the system's.",
    ),
    ("NO_COLOR", "If set, --help has no colours."),
];

const FILES: &[(&str, &str)] = &[
    (
        "~/.local/state/mcp-guard/HOST",
        "The state, under the host of the external URL: sign-ins, clients, keys, certificates. For \
         the guard's user alone.",
    ),
    (
        "/etc/ssl/certs",
        "Roots of trust for connections to others. Mozilla's are built in for systems without any.",
    ),
];

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "Done."),
    ("1", "Failed while running."),
    ("64", "Wrong usage."),
    ("78", "Configuration refused."),
];

const EXAMPLES: &[(&str, &str)] = &[
    (
        "A first try, on this machine:",
        "mcp-guard --external-url http://localhost:8080 --password '...' \\\n  \
         -- npx -y @modelcontextprotocol/server-everything",
    ),
    (
        "On the internet, with a certificate from Let's Encrypt:",
        "mcp-guard --external-url https://mcp.example.com --tls-accept-tos \\\n  \
         --users-file users http://127.0.0.1:3001/mcp",
    ),
    (
        "A line of the users file, from a password that is typed:",
        "mcp-guard hash-password",
    ),
    (
        "What a configuration comes to:",
        "mcp-guard check --config guard.toml",
    ),
];

pub(super) fn run() -> ExitCode {
    match page(command_line()) {
        Ok(page) => {
            say(&String::from_utf8_lossy(&page));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error, &[], None);
            ExitCode::from(FAILED)
        }
    }
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut commands = Roff::new();
    commands.control("SH", ["COMMANDS"]);
    for each in command.get_subcommands() {
        describe(&mut commands, each, &command);
    }
    let man = Man::new(command)
        .title("MCP-GUARD")
        .date(DATE)
        .manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    description().to_writer(&mut page)?;
    commands.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    list("ENVIRONMENT", ENVIRONMENT).to_writer(&mut page)?;
    list("FILES", FILES).to_writer(&mut page)?;
    list("EXIT STATUS", EXIT_STATUS).to_writer(&mut page)?;
    examples().to_writer(&mut page)?;
    see_also().to_writer(&mut page)?;
    Ok(page)
}

fn description() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    for (number, paragraph) in DESCRIPTION.iter().enumerate() {
        if number > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*paragraph)]);
    }
    roff
}

/// A command with what is its own; that it takes the options of the guard too is said shortly.
fn describe(roff: &mut Roff, command: &Command, root: &Command) {
    let of_root = |arg: &&Arg| {
        root.get_arguments()
            .any(|other| other.get_id() == arg.get_id())
    };
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !of_root(arg))
        .collect();
    let mut head = vec![bold(format!("mcp-guard {}", command.get_name()))];
    for arg in &own {
        head.extend([roman(" "), shown(arg)]);
    }
    if command.get_arguments().any(|arg| of_root(&arg)) {
        head.push(roman(" [OPTIONS] [UPSTREAM_URL|-- COMMAND...]"));
    }
    roff.control("TP", []);
    roff.text(head);
    roff.text([roman(command.get_about().map(sentence).unwrap_or_default())]);
    for arg in own {
        let help = arg.get_help().map(sentence).unwrap_or_default();
        roff.control("RS", []);
        roff.control("TP", []);
        roff.text([shown(arg)]);
        roff.text([roman(help)]);
        roff.control("RE", []);
    }
}

fn sentence(text: &clap::builder::StyledStr) -> String {
    format!("{text}.")
}

/// An argument as it is typed.
fn shown(arg: &Arg) -> Inline {
    match (arg.get_long(), arg.get_value_names()) {
        (Some(name), _) => bold(format!("--{name}")),
        (None, Some([value, ..])) => italic(value.to_string()),
        (None, _) => roman(""),
    }
}

/// A section of names and what they are.
fn list(title: &str, entries: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (name, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*meaning)]);
    }
    roff
}

fn examples() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (what, command) in EXAMPLES {
        roff.control("TP", []);
        roff.text([roman(*what)]);
        roff.control("nf", []);
        roff.text([roman(*command)]);
        roff.control("fi", []);
    }
    roff
}

fn see_also() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let pages = [("systemd.exec", 5), ("systemd.socket", 5), ("nginx", 8)];
    for (number, (name, section)) in pages.into_iter().enumerate() {
        let comma = if number + 1 < pages.len() { "," } else { "" };
        roff.text([bold(name), roman(format!("({section}){comma}"))]);
    }
    roff.control("PP", []);
    roff.text([roman(
        "What each option is for, sign-in, TLS, proxies and operation are described in docs/, beside \
         the program's source and in its archive.",
    )]);
    roff
}
