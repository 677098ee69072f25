//! Where the guard listens.

use super::{Kind, Opt, opt};

pub(super) const OPTIONS: &[Opt] = &[
    opt(
        "external-url",
        Kind::One("URL"),
        "The address that clients use, with a path prefix if there is one; required",
    ),
    opt(
        "listen",
        Kind::List("ADDRESS"),
        "Where to listen for plain HTTP: IP:PORT or unix:PATH",
    )
    .or_derived(
        "loopback http: its port on loopback; with TLS: [::]:80, if possible; behind a TLS proxy: 127.0.0.1:8080",
    ),
    opt(
        "admin-listen",
        Kind::List("ADDRESS"),
        "Where /metrics is, over plain HTTP without a token: IP:PORT or unix:PATH",
    ),
    opt(
        "no-auto-tls",
        Kind::Switch,
        "TLS ends in front of the guard",
    )
    .or("false"),
    opt(
        "insecure-http",
        Kind::Switch,
        "Allow an http URL that is not loopback: passwords and tokens cross the network in the clear",
    )
    .or("false"),
    opt(
        "trusted-proxies",
        Kind::List("CIDR"),
        "Proxies whose X-Forwarded-For, or for= in Forwarded, tells the client's address, and no more",
    ),
    opt(
        "proxy-protocol",
        Kind::Switch,
        "Every connection begins with a PROXY protocol v2 header; only trusted proxies may connect",
    )
    .or("false"),
    opt(
        "allowed-origins",
        Kind::List("ORIGIN"),
        "Further browser origins that may call the MCP endpoint",
    )
    .or_derived("own origin"),
    opt(
        "max-body-size",
        Kind::One("SIZE"),
        "Largest request body",
    )
    .or("4MiB"),
    opt(
        "max-connections",
        Kind::One("COUNT"),
        "Most connections at a time",
    )
    .or("10000"),
    opt(
        "max-connections-per-address",
        Kind::One("COUNT"),
        "Most connections from one address (IPv6: one /64)",
    )
    .or("2000"),
    opt(
        "max-streams-per-user",
        Kind::One("COUNT"),
        "Most open event streams of one user",
    )
    .or("16"),
    opt(
        "max-requests-per-user",
        Kind::One("COUNT"),
        "Most requests to the MCP endpoint of one user in a second; ten times as many at once",
    )
    .or("10000"),
    opt(
        "shutdown-grace",
        Kind::One("DURATION"),
        "How long a stop waits for what is under way",
    )
    .or("30s"),
];
