//! TLS.

use super::{Kind, Opt, opt, secret};

pub(super) const OPTIONS: &[Opt] = &[
    opt(
        "tls-listen",
        Kind::List("ADDRESS"),
        "Where to listen for TLS: IP:PORT or unix:PATH",
    )
    .or("[::]:443"),
    opt(
        "tls-accept-tos",
        Kind::Switch,
        "You agree to the terms of the CA that certificates come from (ACME)",
    )
    .or("false"),
    opt(
        "tls-host",
        Kind::List("HOST"),
        "Names to obtain certificates for, one each",
    )
    .or_derived("host of the external URL"),
    opt("tls-email", Kind::One("EMAIL"), "Where the CA may write to"),
    opt(
        "tls-directory-url",
        Kind::One("URL"),
        "The CA's ACME directory",
    )
    .or_derived("Let's Encrypt"),
    opt(
        "tls-staging",
        Kind::Switch,
        "Let's Encrypt for trying things out: nobody trusts its certificates",
    )
    .or("false"),
    opt(
        "tls-profile",
        Kind::One("NAME"),
        "Kind of certificate, by a name of the CA's: `shortlived`",
    ),
    opt(
        "tls-eab-kid",
        Kind::One("ID"),
        "Account with the CA to bind to (external account binding): its key's id",
    ),
    opt(
        "tls-eab-hmac-key",
        secret("KEY", "tls-eab-hmac-key-file"),
        "That key, in base64url as the CA gives it out",
    ),
    opt(
        "tls-cert-file",
        Kind::One("PATH"),
        "A certificate of your own with its chain, as PEM; read again when it changes",
    ),
    opt(
        "tls-key-file",
        Kind::One("PATH"),
        "The private key of that certificate, as PEM",
    ),
    opt(
        "hsts",
        Kind::One("SECONDS"),
        "Tell browsers to come by https only, for so long (Strict-Transport-Security)",
    )
    .or("off"),
    opt(
        "tls-ca-file",
        Kind::One("PATH"),
        "Roots to trust besides the system's, as PEM, for the CA, identity providers and the server",
    ),
];
