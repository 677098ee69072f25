//! Which Host and which browser Origin the guard answers to (threat case A-105).

use super::ExternalUrl;

/// The Host and Origin rules of one guard.
#[derive(Clone, Debug)]
pub struct Origins {
    _own: ExternalUrl,
    _allowed: Vec<String>,
}

impl Origins {
    /// `allowed`: further origins, as `scheme://host[:port]`. While the external URL is loopback,
    /// every loopback origin is allowed, whatever its port.
    pub fn new(own: ExternalUrl, allowed: Vec<String>) -> Self {
        Self {
            _own: own,
            _allowed: allowed,
        }
    }

    /// Whether a Host header (or `:authority`) means this guard: the external URL's authority,
    /// and, while that is loopback, any loopback name with the same port.
    pub fn knows_host(&self, host: &str) -> bool {
        let _ = host;
        todo!()
    }

    /// Whether a browser page of `origin` may call the MCP endpoint. `null` never may.
    pub fn allows(&self, origin: &str) -> bool {
        let _ = origin;
        todo!()
    }

    /// Whether `origin` is the guard's own.
    pub fn is_own(&self, origin: &str) -> bool {
        let _ = origin;
        todo!()
    }
}
