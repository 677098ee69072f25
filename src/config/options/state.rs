//! State and observation.

use super::{Kind, Opt, opt};

pub(super) const OPTIONS: &[Opt] = &[
    opt(
        "data-path",
        Kind::One("PATH"),
        "Directory of the guard's state, for its user alone",
    )
    .or_derived("$STATE_DIRECTORY, else mcp-guard/<host> in the user's state directory"),
    opt(
        "store",
        Kind::One("STORE"),
        "`sqlite:` in the data path, or `memory:` (all sign-ins end with the process)",
    )
    .or("sqlite:"),
    opt(
        "log-level",
        Kind::Choice("error|warn|info|debug|trace"),
        "How much to log",
    )
    .or("info"),
    opt(
        "log-format",
        Kind::Choice("auto|text|json"),
        "`auto` is text on a terminal, else json",
    )
    .or("auto"),
    opt(
        "config",
        Kind::One("FILE"),
        "TOML file with flags' names as keys, and `command` or `url`",
    ),
];
