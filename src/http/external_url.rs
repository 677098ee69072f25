//! The address under which the world knows the guard. Every URL that the guard publishes is made
//! from it, never from a request (threat case A-001).

/// Scheme, host, optional port, optional path prefix; no trailing slash. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalUrl {
    // e.g. "https://mcp.example.com:8443/team"
    text: std::sync::Arc<str>,
    scheme_end: usize,
    authority_end: usize,
}

/// Why a text is no external URL; says what to write instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ExternalUrlError(pub String);

impl ExternalUrl {
    /// Parses and normalises (lower-case scheme and host, default port dropped, trailing slash
    /// dropped). Userinfo, query, fragment and schemes other than http and https are errors.
    pub fn parse(text: &str) -> Result<Self, ExternalUrlError> {
        let _ = text;
        todo!()
    }

    /// The whole URL, without a trailing slash: also the issuer (RFC 8414 §2).
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn is_https(&self) -> bool {
        self.text.starts_with("https:")
    }

    /// `scheme://host[:port]`: the web origin (RFC 6454).
    pub fn origin(&self) -> &str {
        todo!()
    }

    /// `host[:port]`: what a request's Host must say.
    pub fn authority(&self) -> &str {
        todo!()
    }

    /// The host alone; IPv6 without brackets.
    pub fn host(&self) -> &str {
        todo!()
    }

    /// The port, given or the scheme's default.
    pub fn port(&self) -> u16 {
        todo!()
    }

    /// Whether the host is `localhost`, 127.0.0.0/8 or `[::1]`.
    pub fn is_loopback(&self) -> bool {
        todo!()
    }

    /// The path prefix: empty, or `/team`.
    pub fn prefix(&self) -> &str {
        todo!()
    }

    /// This URL plus a path that starts with `/`.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    /// `origin` + `/.well-known/<name>` + prefix + `suffix`: the inserted form of RFC 8414 §3.1 and
    /// RFC 9728 §3.1.
    pub fn well_known(&self, name: &str, suffix: &str) -> String {
        format!(
            "{}/.well-known/{name}{}{suffix}",
            self.origin(),
            self.prefix()
        )
    }
}
