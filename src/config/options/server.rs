//! The wrapped server.

use super::{Kind, Opt, opt, secret};

pub(super) const OPTIONS: &[Opt] = &[
    opt(
        "isolation",
        Kind::Choice("auto|session|user|shared"),
        "Which callers may share a server process; `auto` is one for each session",
    )
    .or("auto"),
    opt(
        "max-children",
        Kind::One("COUNT"),
        "Most server processes at a time",
    )
    .or("32"),
    opt(
        "max-children-per-user",
        Kind::One("COUNT"),
        "Most server processes of one user",
    )
    .or("4"),
    opt(
        "session-idle-timeout",
        Kind::One("DURATION"),
        "A session without traffic ends after this long",
    )
    .or("30m"),
    opt(
        "start-timeout",
        Kind::One("DURATION"),
        "How long the server may take to start",
    )
    .or("60s"),
    opt(
        "request-timeout",
        Kind::One("DURATION"),
        "How long a request may go without answer or progress",
    )
    .or("300s"),
    opt(
        "env",
        Kind::Repeated("NAME=VALUE"),
        "Set for the server; may use {user.subject}, {user.login}, {user.email}, {user.groups}. \
         Repeat for more; one a line in the variable",
    )
    .names_only(),
    opt(
        "clean-env",
        Kind::Switch,
        "Start the server with a minimal environment",
    )
    .or("false"),
    opt(
        "pass-env",
        Kind::List("NAME"),
        "Variables that reach the server in spite of --clean-env",
    ),
    opt("working-dir", Kind::One("PATH"), "Where the server runs")
        .or_derived("where the guard runs"),
    opt(
        "child-stderr",
        Kind::Choice("log|inherit|drop"),
        "What becomes of the server's stderr",
    )
    .or("log"),
    opt(
        "proxy-bearer-token",
        secret("TOKEN", "proxy-bearer-token-file"),
        "What the guard shows to a server behind a URL",
    ),
    opt(
        "proxy-headers",
        Kind::List("NAME:VALUE"),
        "Set on every request to a server behind a URL, in place of the client's",
    )
    .names_only(),
    opt(
        "identity-headers",
        Kind::Switch,
        "Tell a server behind a URL who is calling, in X-Forwarded-User and its like",
    )
    .or("true"),
    opt(
        "header-mapping",
        Kind::List("POINTER:NAME"),
        "Tell it claims as well: JSON pointer, and the header's name",
    ),
    opt(
        "identity-jwt",
        Kind::Switch,
        "Tell it who is calling in X-Mcp-Guard-Assertion, signed",
    )
    .or("false"),
    opt(
        "http-streaming-only",
        Kind::Switch,
        "Answer 405 to GET with text/event-stream",
    )
    .or("false"),
];
