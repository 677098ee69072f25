//! Which Host and which browser Origin the guard answers to (threat case A-105).

use super::ExternalUrl;
use super::external_url::{is_loopback, split_port};

/// The Host and Origin rules of one guard.
#[derive(Clone, Debug)]
pub struct Origins {
    own: ExternalUrl,
    allowed: Vec<String>,
}

impl Origins {
    /// `allowed`: further origins, as `scheme://host[:port]`. While the external URL is loopback,
    /// every loopback origin is allowed, whatever its port.
    pub fn new(own: ExternalUrl, allowed: Vec<String>) -> Self {
        Self { own, allowed }
    }

    /// Whether a Host header (or `:authority`) means this guard: the external URL's authority,
    /// and, while that is loopback, any loopback name with the same port.
    pub fn knows_host(&self, host: &str) -> bool {
        if host.eq_ignore_ascii_case(self.own.authority()) {
            return true;
        }
        let (name, port) = split_port(host);
        self.is_own_port(port) && self.is_own_name(name)
    }

    /// The default port may be spelled out (RFC 9110 §4.2.3).
    fn is_own_port(&self, port: Option<&str>) -> bool {
        match port {
            Some(port) => port == self.own.port().to_string(),
            None => self.own.port() == self.own.default_port(),
        }
    }

    fn is_own_name(&self, name: &str) -> bool {
        let (own, _) = split_port(self.own.authority());
        name.eq_ignore_ascii_case(own) || (self.own.is_loopback() && is_loopback_name(name))
    }

    /// Whether a browser page of `origin` may call the MCP endpoint. `null` never may.
    pub fn allows(&self, origin: &str) -> bool {
        if origin == "null" {
            return false;
        }
        self.is_own(origin)
            || self.allowed.iter().any(|allowed| allowed == origin)
            || (self.own.is_loopback() && is_loopback_origin(origin))
    }

    /// Whether `origin` is the guard's own.
    pub fn is_own(&self, origin: &str) -> bool {
        origin == self.own.origin()
    }
}

fn is_loopback_origin(origin: &str) -> bool {
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    let Some(authority) = authority else {
        return false;
    };
    let (name, port) = split_port(authority);
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    port.is_none_or(digits) && is_loopback_name(name)
}

/// A name as it stands in an authority: IPv6 in brackets, and only there.
fn is_loopback_name(name: &str) -> bool {
    match name.strip_prefix('[') {
        Some(literal) => literal
            .strip_suffix(']')
            .is_some_and(|address| address.contains(':') && is_loopback(address)),
        None => !name.contains(':') && is_loopback(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(own: &str) -> Origins {
        let allowed = vec!["https://app.example".to_owned(), "null".to_owned()];
        Origins::new(ExternalUrl::parse(own).unwrap(), allowed)
    }

    #[test]
    fn a105_a_public_guard_knows_its_own_host_only() {
        let origins = origins("https://mcp.example.com/team");
        for host in ["mcp.example.com", "MCP.Example.com", "mcp.example.com:443"] {
            assert!(origins.knows_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "mcp.example.com:8443",
            "mcp.example.com:",
            "mcp.example.com.",
            "mcp.example.com.evil.example",
            "xmcp.example.com",
            "a@mcp.example.com",
            "localhost",
            "127.0.0.1",
            "127.0.0.1:443",
        ] {
            assert!(!origins.knows_host(host), "{host}");
        }
    }

    #[test]
    fn a105_a_loopback_guard_knows_loopback_names_with_its_port() {
        let origins = origins("http://localhost:8080");
        for host in [
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "127.9.9.9:8080",
        ] {
            assert!(origins.knows_host(host), "{host}");
        }
        for host in [
            "localhost",
            "localhost:8081",
            "localhost:08080",
            "localhost.evil.example:8080",
            "evil.example:8080",
            "192.0.2.1:8080",
            "::1:8080",
            "[127.0.0.1]:8080",
            "[localhost]:8080",
        ] {
            assert!(!origins.knows_host(host), "{host}");
        }
    }

    #[test]
    fn an_ipv6_guard_knows_itself() {
        let origins = origins("https://[2001:db8::1]");
        assert!(origins.knows_host("[2001:db8::1]"));
        assert!(origins.knows_host("[2001:db8::1]:443"));
        assert!(!origins.knows_host("[2001:db8::2]"));
    }

    #[test]
    fn a105_origins_of_a_public_guard() {
        let origins = origins("https://mcp.example.com");
        for origin in ["https://mcp.example.com", "https://app.example"] {
            assert!(origins.allows(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://mcp.example.com",
            "https://mcp.example.com:8443",
            "https://mcp.example.com/",
            "https://evil.example",
            "http://localhost:3000",
            "https://app.example.evil.example",
        ] {
            assert!(!origins.allows(origin), "{origin}");
        }
        assert!(origins.is_own("https://mcp.example.com"));
        assert!(!origins.is_own("https://app.example"));
    }

    #[test]
    fn a105_origins_of_a_loopback_guard() {
        let origins = origins("http://127.0.0.1:8080");
        for origin in [
            "http://localhost",
            "http://localhost:6274",
            "https://127.0.0.1:1",
            "http://[::1]:3000",
        ] {
            assert!(origins.allows(origin), "{origin}");
        }
        for origin in [
            "null",
            "http://localhost.evil.example",
            "http://evil.example",
            "http://localhost:evil",
            "http://localhost:",
            "http://localhost/",
            "http://a@localhost",
            "ftp://localhost",
            "vscode-webview://localhost",
            "http://",
        ] {
            assert!(!origins.allows(origin), "{origin}");
        }
    }
}
