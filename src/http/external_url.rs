//! The address under which the world knows the guard. Every URL that the guard publishes is made
//! from it, never from a request (threat case A-001).
//!
//! The parser is our own because the text is compared byte for byte by clients (issuer, resource,
//! Host, Origin) and the `url` crate repairs what it reads; it serves as the second opinion.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Scheme, host, optional port, optional path prefix; no trailing slash. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalUrl {
    // e.g. "https://mcp.example.com:8443/team"
    text: Arc<str>,
    // After `://`.
    scheme_end: usize,
    authority_end: usize,
}

/// Why a text is no external URL; says what to write instead. Repeats neither userinfo nor query, nor
/// what may be either: the text stands in an error and perhaps in a log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ExternalUrlError(pub String);

impl ExternalUrl {
    /// Parses and normalises (lower-case scheme and host, default port dropped, trailing slash
    /// dropped). Userinfo, query, fragment and schemes other than http and https are errors.
    pub fn parse(text: &str) -> Result<Self, ExternalUrlError> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(not_plain(text));
        }
        // Anywhere: a password with a `/` or `#` in it is none to a parser.
        if text.contains('@') {
            return error(
                "the URL must not hold a user name or password; leave out the @ and all before it \
                 but the scheme",
            );
        }
        let (scheme, rest) = split_scheme(text)?;
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = split_authority(authority)?;
        let host = check_host(host)?;
        let port = check_port(port, scheme)?;
        let prefix = check_path(path)?;

        let origin = format!("{scheme}://{host}{port}");
        let url = Self {
            scheme_end: scheme.len() + "://".len(),
            authority_end: origin.len(),
            text: format!("{origin}{prefix}").into(),
        };
        url.confirm()
    }

    /// A URL that the WHATWG parser, the browsers' own, reads differently would be another's.
    fn confirm(self) -> Result<Self, ExternalUrlError> {
        let same = url::Url::parse(&self.text).is_ok_and(|parsed| {
            let path = if self.prefix().is_empty() {
                "/"
            } else {
                self.prefix()
            };
            parsed.origin().ascii_serialization() == self.origin() && parsed.path() == path
        });
        if same {
            return Ok(self);
        }
        let text = &self.text;
        error(format!(
            "browsers would not understand {text:?}; write a URL like https://mcp.example.com"
        ))
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
        self.text.get(..self.authority_end).unwrap_or_default()
    }

    /// `host[:port]`: what a request's Host must say.
    pub fn authority(&self) -> &str {
        let authority = self.text.get(self.scheme_end..self.authority_end);
        authority.unwrap_or_default()
    }

    /// The host alone; IPv6 without brackets.
    pub fn host(&self) -> &str {
        let (host, _) = split_port(self.authority());
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The port, given or the scheme's default.
    pub fn port(&self) -> u16 {
        let (_, port) = split_port(self.authority());
        port.and_then(|port| port.parse().ok())
            .unwrap_or_else(|| self.default_port())
    }

    /// The scheme's own port.
    pub(super) fn default_port(&self) -> u16 {
        if self.is_https() { 443 } else { 80 }
    }

    /// Whether the host is `localhost`, 127.0.0.0/8 or `[::1]`.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }

    /// The path prefix: empty, or `/team`.
    pub fn prefix(&self) -> &str {
        self.text.get(self.authority_end..).unwrap_or_default()
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

impl std::fmt::Display for ExternalUrl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.text)
    }
}

/// Whether a host, IPv6 without brackets, names this machine: `localhost`, 127.0.0.0/8 or `::1`.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// `host[:port]` in two; the host keeps its brackets.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn error<T>(text: impl Into<String>) -> Result<T, ExternalUrlError> {
    Err(ExternalUrlError(text.into()))
}

/// Names outside ASCII have an ASCII form: the error spells it out.
fn not_plain(text: &str) -> ExternalUrlError {
    let ascii = url::Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .map(|url| url.origin().ascii_serialization());
    ExternalUrlError(match ascii {
        Some(ascii) if !text.is_ascii() && text.bytes().all(|byte| byte > b' ') => {
            format!("the URL is not plain ASCII; write {ascii}")
        }
        _ => "the URL has spaces or other characters that no URL has; write \
              https://mcp.example.com"
            .to_owned(),
    })
}

fn split_scheme(text: &str) -> Result<(&'static str, &str), ExternalUrlError> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return error(format!("the URL has no scheme; write {}", with_https(text)));
    };
    if scheme.eq_ignore_ascii_case("https") {
        return Ok(("https", rest));
    }
    if scheme.eq_ignore_ascii_case("http") {
        return Ok(("http", rest));
    }
    error(format!(
        "the scheme must be https or http; write {}",
        with_https(rest)
    ))
}

/// What was meant, if it is a URL with nothing but the scheme amended.
fn with_https(rest: &str) -> String {
    let is_scheme_left = rest.contains("://");
    let meant = (!is_scheme_left).then(|| ExternalUrl::parse(&format!("https://{rest}")));
    match meant {
        Some(Ok(url)) => url.to_string(),
        _ => "a URL like https://mcp.example.com".to_owned(),
    }
}

fn split_authority(authority: &str) -> Result<(&str, Option<&str>), ExternalUrlError> {
    let (host, port) = split_port(authority);
    if host.contains(':') && !host.starts_with('[') {
        return error("an IPv6 address stands in brackets; write one like [2001:db8::1]");
    }
    Ok((host, port))
}

/// The host as it is published.
fn check_host(host: &str) -> Result<String, ExternalUrlError> {
    if let Some(literal) = host.strip_prefix('[') {
        let address = literal
            .strip_suffix(']')
            .and_then(|literal| literal.parse::<Ipv6Addr>().ok());
        return match address {
            Some(address) if address.is_unspecified() => unspecified(host),
            Some(address) => Ok(format!("[{address}]")),
            None => error(format!(
                "{host:?} is no IPv6 address; write one like [2001:db8::1]"
            )),
        };
    }
    let host = host.to_ascii_lowercase();
    // A name whose last label is a number is an address to every browser (WHATWG URL, 3.5).
    let last = host.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return match host.parse::<Ipv4Addr>() {
            Ok(address) if address.is_unspecified() => unspecified(&host),
            Ok(_) => Ok(host),
            Err(_) => error(format!(
                "{host:?} is no IPv4 address; write four numbers like 192.0.2.1"
            )),
        };
    }
    if host.len() > 253 || !host.split('.').all(is_label) {
        return error(format!(
            "{host:?} is no host name; write one like mcp.example.com"
        ));
    }
    Ok(host)
}

fn unspecified<T>(host: &str) -> Result<T, ExternalUrlError> {
    error(format!(
        "{host} means every address of this machine; write the one that clients use \
         (what to listen on is --listen)"
    ))
}

/// A label of RFC 1123 §2.1, and the underscore that container networks use.
fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len())
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// `:port`, or nothing if it is the scheme's own.
fn check_port(port: Option<&str>, scheme: &str) -> Result<String, ExternalUrlError> {
    let Some(text) = port else {
        return Ok(String::new());
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(443) if scheme == "https" => Ok(String::new()),
        Ok(80) if scheme == "http" => Ok(String::new()),
        Ok(port) if digits && port > 0 => Ok(format!(":{port}")),
        _ => error(
            "what follows the colon is no port; write a number from 1 to 65535, or leave out the \
             colon",
        ),
    }
}

/// The prefix: plain segments, so that no reader decodes or normalises it into another.
fn check_path(path: &str) -> Result<&str, ExternalUrlError> {
    if let Some(mark) = path.find(['?', '#']) {
        let (path, _) = path.split_at(mark);
        return error(format!(
            "the URL must not have a query or fragment; write it up to {path:?}"
        ));
    }
    let prefix = path.strip_suffix('/').unwrap_or(path);
    let Some(segments) = prefix.strip_prefix('/') else {
        return if prefix.is_empty() {
            Ok("")
        } else {
            error("the path must start with /; write a URL like https://mcp.example.com/team")
        };
    };
    match segments.split('/').find(|segment| !is_segment(segment)) {
        None => Ok(prefix),
        Some(segment) => error(format!(
            "the path may have letters, digits and - . _ ~ between single slashes, not {segment:?}; \
             write a URL like https://mcp.example.com/team"
        )),
    }
}

fn is_segment(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_are_normalised() {
        for (text, expected) in [
            ("https://h", "https://h"),
            ("https://h/", "https://h"),
            ("HTTPS://MCP.Example.COM", "https://mcp.example.com"),
            ("https://h:443/", "https://h"),
            ("http://h:80", "http://h"),
            ("http://h:443", "http://h:443"),
            ("https://h:08443", "https://h:8443"),
            ("http://localhost:8080/", "http://localhost:8080"),
            ("https://h/team/", "https://h/team"),
            ("https://h/Team/a.b_c~d-e", "https://h/Team/a.b_c~d-e"),
            (
                "https://[2001:DB8:0::1]:8443/t",
                "https://[2001:db8::1]:8443/t",
            ),
            ("http://[::1]", "http://[::1]"),
            ("http://my_server:3000", "http://my_server:3000"),
            (
                "https://xn--bcher-kva.example",
                "https://xn--bcher-kva.example",
            ),
            ("https://192.0.2.1", "https://192.0.2.1"),
        ] {
            assert_eq!(ExternalUrl::parse(text).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn its_parts_are_these() {
        type Parts = (
            &'static str,
            &'static str,
            &'static str,
            u16,
            &'static str,
            bool,
        );
        let table: [(&str, Parts); 5] = [
            ("https://h", ("https://h", "h", "h", 443, "", false)),
            ("http://h/a/b", ("http://h", "h", "h", 80, "/a/b", false)),
            (
                "https://m.example:8443/team",
                (
                    "https://m.example:8443",
                    "m.example:8443",
                    "m.example",
                    8443,
                    "/team",
                    false,
                ),
            ),
            (
                "http://[::1]:80",
                ("http://[::1]", "[::1]", "::1", 80, "", true),
            ),
            (
                "http://127.3.2.1:9",
                (
                    "http://127.3.2.1:9",
                    "127.3.2.1:9",
                    "127.3.2.1",
                    9,
                    "",
                    true,
                ),
            ),
        ];
        for (text, parts) in table {
            let url = ExternalUrl::parse(text).unwrap();
            let found = (
                url.origin(),
                url.authority(),
                url.host(),
                url.port(),
                url.prefix(),
                url.is_loopback(),
            );
            assert_eq!(found, parts, "{text}");
            assert_eq!(url.is_https(), text.starts_with("https"));
        }
    }

    #[test]
    fn what_it_publishes_is_made_of_it() {
        let url = ExternalUrl::parse("https://h/team/").unwrap();
        assert_eq!(url.join("/token"), "https://h/team/token");
        assert_eq!(
            url.well_known("oauth-protected-resource", "/mcp"),
            "https://h/.well-known/oauth-protected-resource/team/mcp"
        );
        let root = ExternalUrl::parse("https://h").unwrap();
        assert_eq!(
            root.well_known("oauth-authorization-server", ""),
            "https://h/.well-known/oauth-authorization-server"
        );
    }

    #[test]
    fn errors_say_what_to_write() {
        for (text, hint) in [
            ("mcp.example.com", "write https://mcp.example.com"),
            ("localhost:8080", "write https://localhost:8080"),
            ("ftp://h", "write https://h"),
            ("javascript:alert(1)", "no scheme"),
            ("https://", "no host name"),
            ("https:///x", "no host name"),
            ("https://a b", "spaces"),
            (" https://h", "spaces"),
            ("https://h\n", "spaces"),
            (
                "https://bücher.example",
                "write https://xn--bcher-kva.example",
            ),
            ("h/?x=1", "no scheme"),
            ("https://h@@evil", "leave out the @"),
            ("https://h?x=1", "query"),
            ("https://h/#f", "query or fragment"),
            ("https://h\\evil", "must start with /"),
            ("https://h:0", "1 to 65535"),
            ("https://h:65536", "1 to 65535"),
            ("https://h:", "1 to 65535"),
            ("https://h:+80", "1 to 65535"),
            ("https://::1", "brackets"),
            ("https://[::1", "IPv6"),
            ("https://[::1]x", "IPv6"),
            ("https://[fe80::1%25eth0]", "IPv6"),
            ("https://[::]", "--listen"),
            ("http://0.0.0.0:8080", "--listen"),
            ("https://127.1", "four numbers"),
            ("https://0x7f.0.0.1", "four numbers"),
            ("https://0x7f.0x1", "browsers"),
            ("https://2130706433", "four numbers"),
            ("https://1.2.3.04", "four numbers"),
            ("https://h.", "no host name"),
            ("https://a..b", "no host name"),
            ("https://-a", "no host name"),
            ("https://*.example.com", "no host name"),
            ("https://h//", "single slashes"),
            ("https://h//a", "single slashes"),
            ("https://h/a/../b", "\"..\""),
            ("https://h/./b", "\".\""),
            ("https://h/a%2fb", "\"a%2fb\""),
            ("https://h/a;b", "\"a;b\""),
        ] {
            let error = ExternalUrl::parse(text).map(|url| url.to_string());
            let message = error.expect_err(text).to_string();
            assert!(message.contains(hint), "{text}: {message}");
        }
    }

    #[test]
    fn a154_errors_repeat_neither_userinfo_nor_query() {
        for text in [
            "https://ann:canary@h",
            "https://canary@h/team",
            "https://ann:canary\u{e9}@h",
            "https://ann:canary @h",
            "https://ann:canary\u{ff20}h",
            "https://ann:canary/x@h",
            "https://ann:canary#x@h",
            "https://canary!#x@h",
            "https://ann:x@canary",
            "https://ann:canary",
            "https://ann:b:canary",
            "ann:canary@h",
            "ann:canary",
            "ftp://ann:canary@h",
            "ann:canary@https://h",
            "https://h?canary",
            "https://h/team?x=canary#y",
            "https://h/#canary",
            "https://h:99999/?canary",
            "https://bücher.example/?x=canary",
            "https://h/?x=canary y",
            "https://h?x=canary\n",
            "h/?x=canary",
            "h?x=canary&y=http://h",
            "ftp://h?x=canary",
        ] {
            let error = ExternalUrl::parse(text).expect_err(text).to_string();
            assert!(!error.contains("canary"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_normalised_url_stays_as_it_is(
            host in "[a-z][a-z0-9-]{0,8}[a-z0-9](\\.[a-z]{2,5}){0,2}",
            port in proptest::option::of(1_u16..),
            prefix in "(/[a-zA-Z0-9_~-]{1,6}){0,3}/?",
        ) {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            if let Ok(url) = ExternalUrl::parse(&format!("https://{host}{port}{prefix}")) {
                let again = ExternalUrl::parse(url.as_str()).unwrap();
                prop_assert_eq!(again, url);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            if let Ok(url) = ExternalUrl::parse(&text) {
                prop_assert!(url.as_str().starts_with("http"));
            }
        }
    }
}
