//! Tokens and clients.

use super::{Kind, Opt, opt, secret};

pub(super) const OPTIONS: &[Opt] = &[
    opt(
        "access-token-ttl",
        Kind::One("DURATION"),
        "Life of an access token",
    )
    .or("1h"),
    opt(
        "refresh-token-ttl",
        Kind::One("DURATION"),
        "Life of a refresh token that is not used",
    )
    .or("30d"),
    opt(
        "grant-ttl",
        Kind::One("DURATION"),
        "After this long a person signs in again, whatever was used",
    )
    .or("90d"),
    opt(
        "refresh-grace",
        Kind::One("DURATION"),
        "How long a replaced refresh token still yields the pair that replaced it, 0 to 600s",
    )
    .or("120s"),
    opt(
        "code-ttl",
        Kind::One("DURATION"),
        "Life of an authorization code, at most 10m",
    )
    .or("60s"),
    opt(
        "registration",
        Kind::Choice("open|token|off"),
        "Who may register a client (RFC 7591)",
    )
    .or("open"),
    opt(
        "registration-token",
        secret("TOKEN", "registration-token-file"),
        "What a client shows to register when --registration is `token`",
    ),
    opt(
        "allowed-redirect-uris",
        Kind::List("GLOB"),
        "Only these redirect URIs; `*` does not cross `/`",
    )
    .or_derived("any that the rules permit"),
];
