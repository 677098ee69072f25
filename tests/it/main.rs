//! What the guard promises, seen from outside: every test starts the shipped binary on a port of its
//! own and talks to it as clients and browsers do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_push_string,
    clippy::print_stderr,
    reason = "a failed test is a panic"
)]

mod support;

mod acme;
mod acme_ari;
mod acme_caddy;
mod cases;
mod children;
mod commands;
mod discovery;
mod documents;
mod edge;
mod framing;
mod fronts;
mod gate;
mod house;
mod http1_answers;
mod http1_refusals;
mod http1_requests;
mod legacy_sse;
mod limits;
mod manual;
mod metrics;
mod migrate;
mod prefix;
mod proxy;
mod proxy_tls;
mod reload;
mod sessions;
mod shown;
mod sign_in;
mod sockets;
mod streams;
mod systemd;
mod threats;
mod tls;
mod tls_acme;
mod tls_programs;
mod tokens;
