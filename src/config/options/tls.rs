//! TLS.

use super::{Kind, Opt, opt};

pub(super) const OPTIONS: &[Opt] = &[opt(
    "tls-ca-file",
    Kind::One("PATH"),
    "Roots to trust besides the system's, as PEM, for identity providers and the server",
)];
