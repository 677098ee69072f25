//! What the listener counts.

use crate::telemetry::metrics::{Counter, Counts, Label};

/// Why a connection was closed before it could ask for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are too many.
    Limit,
    /// There are too many from its address.
    AddressLimit,
    /// Its proxy did not say whose it is, or is none of ours.
    ProxyHeader,
    /// TLS did not come about.
    Handshake,
}

impl Label for Refused {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &[
        Self::Limit,
        Self::AddressLimit,
        Self::ProxyHeader,
        Self::Handshake,
    ];

    fn value(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::AddressLimit => "address_limit",
            Self::ProxyHeader => "proxy_header",
            Self::Handshake => "handshake",
        }
    }
}

/// What the workers have to tell of themselves.
#[derive(Debug, Default)]
pub struct Figures {
    pub refused: Counts<Refused>,
    /// How often no connection could be accepted, for want of descriptors or memory.
    pub deaf: Counter,
    /// Requests whose handler panicked.
    pub panics: Counter,
}
