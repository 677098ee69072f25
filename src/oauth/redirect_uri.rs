//! Redirect URIs: which may be registered, and which registered one a request names
//! (OAuth 2.1 §2.3.1, RFC 8252 §7; threat cases A-010 … ).
//!
//! A redirect URI is where codes go, so its text is never repaired: whatever a URL library would
//! have to normalise (tabs, backslashes, `0x7f.1`, `..`) is refused at registration, and afterwards
//! bytes are compared with bytes. The one relaxation is the port of a loopback address.

use std::net::Ipv4Addr;

use url::{Host, Url};
use wildmatch::WildMatchPattern;

use crate::http::form::encode;

/// The longest redirect URI, in bytes.
pub(super) const MAX_LENGTH: usize = 2048;

/// Private-use schemes of known MCP clients. Others need a dot (RFC 8252 §7.1): a scheme that is a
/// reversed domain name has an owner, `myapp` is anybody's.
const KNOWN_SCHEMES: [&str; 18] = [
    "antigravity",
    "cherrystudio",
    "claude",
    "code-oss",
    "cursor",
    "goose",
    "jetbrains",
    "kiro",
    "lmstudio",
    "raycast",
    "trae",
    "vscode",
    "vscode-insiders",
    "vscodium",
    "warp",
    "windsurf",
    "windsurf-next",
    "zed",
];

/// Hosts of well-known hosted clients. The browser is sent back to them without a click even when
/// nobody has approved anything (design rule D-14).
const TRUSTED_HOSTS: [&str; 6] = [
    "chatgpt.com",
    "claude.ai",
    "claude.com",
    "insiders.vscode.dev",
    "vscode.dev",
    "www.cursor.com",
];

/// A glob over redirect URIs (`--allowed-redirect-uris`); `*` does not cross `/`.
#[derive(Clone, Debug)]
pub struct RedirectPattern(pub String);

impl RedirectPattern {
    /// Whether the whole of `uri` fits.
    fn matches(&self, uri: &str) -> bool {
        // Redirect URIs contain neither `*` nor NUL, and `?` is an ordinary character in them.
        let fits =
            |(glob, part): (&str, &str)| WildMatchPattern::<'*', '\0'>::new(glob).matches(part);
        self.0.split('/').count() == uri.split('/').count()
            && self.0.split('/').zip(uri.split('/')).all(fits)
    }
}

/// Who receives what is sent to a redirect URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// A web site, by host and, if it is not the default, port.
    Web(String),
    /// Whatever program listens on this computer, by host and port.
    Loopback(String),
    /// Whatever app has claimed this scheme on this device.
    App(String),
}

/// A redirect URI that may be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RedirectUri {
    text: String,
    destination: Destination,
    /// The text up to and with the host, and from the path on: all but the port.
    without_port: (String, String),
}

impl RedirectUri {
    /// Checks a redirect URI; the error is for the client's developer.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        check_bytes(text)?;
        let (scheme, rest) = text.split_once(':').ok_or("is not an absolute URI")?;
        match scheme.to_ascii_lowercase().as_str() {
            "https" | "http" => Self::parse_web(text),
            scheme => {
                check_private_use(scheme, rest)?;
                Ok(Self {
                    text: text.to_owned(),
                    destination: Destination::App(scheme.to_owned()),
                    without_port: (text.to_owned(), String::new()),
                })
            }
        }
    }

    fn parse_web(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a valid URL")?;
        let (scheme, rest) = text.split_once("://").ok_or("lacks // after its scheme")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if path.starts_with('?') {
            return Err("lacks a path before its query");
        }
        let host = check_authority(authority, &url)?;
        if path.split('?').next() != Some(url.path()) && !path.is_empty() {
            return Err("has a path with dot segments");
        }
        let loopback = is_loopback(&url);
        if url.scheme() == "http" && !loopback {
            return Err("uses http for a host other than localhost, 127.0.0.0/8 or [::1]");
        }
        let host_and_port = match url.port() {
            Some(port) => format!("{}:{port}", host.to_lowercase()),
            None => host.to_lowercase(),
        };
        let destination = if loopback {
            Destination::Loopback(host_and_port)
        } else {
            Destination::Web(host_and_port)
        };
        Ok(Self {
            text: text.to_owned(),
            destination,
            without_port: (format!("{scheme}://{host}"), path.to_owned()),
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) const fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Whether `--allowed-redirect-uris` permits it.
    pub(super) fn is_allowed_by(&self, patterns: &[RedirectPattern]) -> bool {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(&self.text))
    }

    /// Whether a request for `requested` is covered by this registration: the same bytes, or a
    /// loopback address of which only the port differs (RFC 8252 §7.3). `localhost` and
    /// `127.0.0.1` are different hosts.
    pub(super) fn covers(&self, requested: &Self) -> bool {
        let loopback = matches!(self.destination, Destination::Loopback(_));
        self.text == requested.text || (loopback && self.without_port == requested.without_port)
    }

    /// Whether the browser may be sent there before a person has approved anything. Elsewhere that
    /// would make the guard an open redirector.
    pub(super) fn is_trusted(&self) -> bool {
        match &self.destination {
            Destination::Loopback(_) => true,
            Destination::Web(host) => TRUSTED_HOSTS.contains(&host.as_str()),
            Destination::App(_) => false,
        }
    }

    /// The URI with response parameters added to its query (RFC 6749 §4.1.2).
    pub(super) fn with_parameters(&self, parameters: &[(&str, &str)]) -> String {
        let mut url = self.text.clone();
        for (name, value) in parameters {
            // A registered query stays (RFC 6749 §3.1.2), even an empty one.
            let glue = match url.find('?') {
                None => "?",
                Some(_) if url.ends_with(['?', '&']) => "",
                Some(_) => "&",
            };
            url.push_str(glue);
            url.push_str(name);
            url.push('=');
            url.push_str(&encode(value));
        }
        url
    }
}

/// Refuses every byte outside RFC 3986, fragments (RFC 6749 §3.1.2) and what looks like a wildcard.
fn check_bytes(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_LENGTH {
        return Err("is longer than 2048 bytes");
    }
    if text.contains('#') {
        return Err("has a fragment");
    }
    if text.contains('*') {
        return Err("has a wildcard: redirect URIs are compared exactly");
    }
    let ordinary = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()+,;=%".contains(&b);
    if !text.bytes().all(ordinary) {
        return Err("has a character that no URI may have (RFC 3986)");
    }
    let escapes = text.split('%').skip(1);
    let well_formed = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if escapes.into_iter().all(well_formed) {
        Ok(())
    } else {
        Err("has a malformed percent-encoding")
    }
}

/// RFC 8252 §7.1. Everything a browser would run or show itself (`javascript`, `data`, `file` …)
/// has neither a dot nor a place in the list.
fn check_private_use(scheme: &str, rest: &str) -> Result<(), &'static str> {
    let mut bytes = scheme.bytes();
    let starts_well = bytes.next().is_some_and(|b| b.is_ascii_alphabetic());
    if !starts_well || !bytes.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
        return Err("is not an absolute URI");
    }
    if !scheme.contains('.') && !KNOWN_SCHEMES.contains(&scheme) {
        return Err(
            "uses a scheme that is neither https, nor http on loopback, \
                    nor a reversed domain name (com.example.app), nor of a known MCP client",
        );
    }
    let authority = rest.strip_prefix("//").unwrap_or_default();
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("has user information");
    }
    if rest.trim_start_matches('/').is_empty() {
        Err("has nothing after its scheme")
    } else {
        Ok(())
    }
}

/// The host as written. It must be as the URL library would write it (but for case), so that what
/// was judged is what browsers go to.
fn check_authority<'a>(authority: &'a str, url: &Url) -> Result<&'a str, &'static str> {
    if authority.contains('@') {
        return Err("has user information");
    }
    let canonical = url.host_str().ok_or("has no host")?;
    let host = authority.get(..canonical.len()).unwrap_or_default();
    if canonical.is_empty() || !host.eq_ignore_ascii_case(canonical) {
        return Err("has a host that is not in its canonical form");
    }
    let port = authority.get(host.len()..).unwrap_or_default();
    let canonical_port = || url.port_or_known_default().map(|port| format!(":{port}"));
    match port {
        "" => Ok(host),
        ":0" => Err("has port 0"),
        port if canonical_port().as_deref() == Some(port) => Ok(host),
        _ => Err("has a port that is not in its canonical form"),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => Ipv4Addr::is_loopback(&address),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uri(text: &str) -> RedirectUri {
        RedirectUri::parse(text).unwrap_or_else(|why| panic!("{text} {why}"))
    }

    fn refused(rows: &[&str]) {
        for row in rows {
            assert!(RedirectUri::parse(row).is_err(), "{row:?} was accepted");
        }
    }

    #[test]
    fn real_clients_register() {
        for row in [
            "https://claude.ai/api/mcp/auth_callback",
            "https://chatgpt.com/connector/oauth/abc_DEF-1",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
            "https://insiders.vscode.dev/redirect",
            "https://vscode.dev/redirect",
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
            "http://localhost/callback",
            "http://[::1]:4000/cb",
            "http://localhost:6274/oauth/callback/debug",
            "http://localhost:3080/api/mcp/my%20server/oauth/callback",
            "https://example.com:8443/cb?a=b",
            "https://example.com",
            "com.example.app:/cb",
            "vscode://dynamicauthprovider/x",
        ] {
            uri(row);
        }
    }

    #[test]
    fn a010_script_schemes_are_refused() {
        refused(&[
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "jAvAsCrIpT://x/%0aalert(1)",
            " javascript:alert(1)",
            "\tjavascript:alert(1)",
            "\njavascript:alert(1)",
            "\u{a0}javascript:alert(1)",
            "%20javascript:alert(1)",
            "%0ajavascript:alert(1)",
            "java\tscript:alert(1)",
            "java\nscript:alert(1)",
            "java\rscript:alert(1)",
            "java\0script:alert(1)",
            "javascript&colon;alert(1)",
            "javascript:",
            "data:text/html,x",
            "DATA:text/html;base64,PHN2Zz4=",
            "data:,x",
            " data:,x",
            "da\tta:,x",
            "data://text/html,x",
            "vbscript:msgbox(1)",
            "VBScript:x",
            "file:///etc/passwd",
            "FILE://host/share",
            "blob:https://a/b",
            "about:blank",
            "about:srcdoc",
            "view-source:https://a/",
            "filesystem:https://a/b",
            "chrome://settings",
            "resource://x/y",
            "jar:https://a!/b",
            "ftp://a/b",
            "ws://a/b",
            "wss://a/b",
            "mailto:a@b",
            "intent://x#Intent;end",
            "ms-settings:x",
            "https://a/\u{202e}x",
            "https://a/<svg>",
            "https://a/b c",
            "https://a/b\\c",
            "https://a/%zz",
            "https://a/%4",
        ]);
    }

    #[test]
    fn a011_plain_http_is_for_canonical_loopback_only() {
        refused(&[
            "http://example.com/cb",
            "http://127.0.0.1.nip.io/cb",
            "http://localhost.evil/cb",
            "http://localhost./cb",
            "http://localhost:80@evil/cb",
            "http://2130706433/cb",
            "http://0x7f.1/cb",
            "http://127.1/cb",
            "http://127.0.0.01/cb",
            "http://[::ffff:127.0.0.1]/cb",
            "http://[0:0:0:0:0:0:0:1]/cb",
            "http://0.0.0.0/cb",
            "http://[::]/cb",
            "http://10.0.0.1/cb",
            "http://localhost:0/cb",
            "http://localhost:99999/cb",
            "http://localhost:080/cb",
            "http://localhost:/cb",
            "http://local%68ost/cb",
        ]);
    }

    #[test]
    fn a012_private_use_schemes_have_a_dot_or_a_name_we_know() {
        refused(&[
            "myapp:/cb",
            "app://cb",
            "x:y",
            "1.2:/cb",
            "com.example.app:",
            "cursor://",
        ]);
        assert_eq!(
            *uri("com.example.app:/cb").destination(),
            Destination::App("com.example.app".into())
        );
        assert_eq!(
            *uri("cursor://anysphere.cursor-mcp/oauth/callback").destination(),
            Destination::App("cursor".into())
        );
    }

    #[test]
    fn a013_odd_forms_are_refused() {
        refused(&[
            "https://a/cb#x",
            "https://a/cb#",
            "https://u:p@a/cb",
            "https://u@a/cb",
            "https://@a/cb",
            "https://*.a/cb",
            "https://a/*",
            "",
            "/cb",
            "//a/cb",
            "https:a/cb",
            "https:/a/cb",
            "https:///a/cb",
            "https://",
            "https://a?x=/y",
            "https://a/x/../cb",
            "https://a/x/%2e%2e/cb",
            "https://a/./cb",
            "cursor://u:p@host/cb",
            "not a uri",
        ]);
        assert!(RedirectUri::parse(&format!("https://a/{}", "x".repeat(2048))).is_err());
    }

    #[test]
    fn a034_matching_is_exact_but_for_a_loopback_port() {
        let rows = [
            ("https://a/cb", "https://a/cb", true),
            ("https://a/cb", "https://a/cb/", false),
            ("https://a/cb", "https://a/CB", false),
            ("https://a/cb", "https://A/cb", false),
            ("https://a/cb", "https://a:443/cb", false),
            ("https://a/cb", "https://a:444/cb", false),
            ("https://a/cb", "https://a/cb?x", false),
            ("https://a/cb?x", "https://a/cb", false),
            ("https://a/cb", "https://a/%63b", false),
            ("https://a/c%2fb", "https://a/c/b", false),
            ("https://a/cb", "https://b/cb", false),
            ("https://a/cb", "http://localhost/cb", false),
            ("https://a", "https://a/", false),
            ("http://localhost/cb", "http://localhost:3118/cb", true),
            ("http://localhost:3118/cb", "http://localhost/cb", true),
            ("http://localhost:1/cb", "http://localhost:65535/cb", true),
            ("http://127.0.0.1/", "http://127.0.0.1:33418/", true),
            ("http://127.0.0.1:33418/", "http://127.0.0.1:5/", true),
            ("http://[::1]/cb", "http://[::1]:9/cb", true),
            ("http://localhost/cb", "http://127.0.0.1/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.2/cb", false),
            ("http://127.0.0.1/cb", "http://[::1]/cb", false),
            ("http://localhost/cb", "http://LOCALHOST/cb", false),
            ("http://localhost/cb", "http://localhost:5/cb/", false),
            ("http://localhost/cb", "http://localhost:5/cb?x=1", false),
            ("http://localhost/cb", "http://localhost:5/Cb", false),
            ("http://localhost/cb", "https://localhost:5/cb", false),
            ("http://localhost", "http://localhost:5", true),
            ("http://localhost", "http://localhost:5/", false),
            ("cursor://a/cb", "cursor://a/cb", true),
            ("cursor://a/cb", "cursor://a:5/cb", false),
            ("cursor://a/cb", "cursor://a/cb2", false),
            ("com.example.app:/cb", "com.example.app:/cb", true),
            ("com.example.app:/cb", "com.example.app:cb", false),
        ];
        for (registered, requested, expected) in rows {
            let covered = uri(registered).covers(&uri(requested));
            assert_eq!(covered, expected, "{registered} for {requested}");
        }
    }

    #[test]
    fn a036_only_loopback_and_well_known_hosts_are_trusted() {
        assert!(uri("http://localhost:9/cb").is_trusted());
        assert!(uri("https://claude.ai/api/mcp/auth_callback").is_trusted());
        assert!(!uri("https://claude.ai:8443/cb").is_trusted());
        assert!(!uri("https://evil.claude.ai/cb").is_trusted());
        assert!(!uri("https://evil.test/cb").is_trusted());
        assert!(!uri("cursor://anysphere.cursor-mcp/oauth/callback").is_trusted());
    }

    #[test]
    fn a_glob_does_not_cross_a_slash() {
        let allows =
            |glob: &str, text: &str| uri(text).is_allowed_by(&[RedirectPattern(glob.to_owned())]);
        assert!(allows(
            "https://*.example.com/cb",
            "https://a.example.com/cb"
        ));
        assert!(!allows(
            "https://*.example.com/cb",
            "https://evil.test/.example.com/cb"
        ));
        assert!(!allows("https://example.com/*", "https://example.com/a/b"));
        assert!(allows("http://localhost:*/cb", "http://localhost:99/cb"));
        assert!(!allows("https://a/c?", "https://a/cb"));
        assert!(uri("https://anywhere.test/cb").is_allowed_by(&[]));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in "\\PC{0,80}") {
            let _ = RedirectUri::parse(&text);
        }

        #[test]
        fn what_is_accepted_leads_where_a_browser_goes(
            text in "(https?|HTTPS?)://[a-z0-9.@:\\[\\]%/\\\\-]{1,24}(:[0-9]{0,6})?(/[a-z./%?-]{0,12})?"
        ) {
            if let Ok(accepted) = RedirectUri::parse(&text) {
                let url = Url::parse(&text).unwrap();
                prop_assert_eq!(url.username(), "");
                let loopback = matches!(accepted.destination(), Destination::Loopback(_));
                prop_assert!(url.scheme() == "https" || loopback);
                if let Destination::Web(host) = accepted.destination() {
                    let shown = format!("https://{host}/");
                    prop_assert_eq!(url.origin(), Url::parse(&shown).unwrap().origin());
                }
            }
        }

        #[test]
        fn a_loopback_port_never_matters(a in 1_u16.., b in 1_u16.., path in "(/[a-z0-9]{0,5}){0,3}") {
            let one = uri(&format!("http://127.0.0.1:{a}{path}"));
            let two = uri(&format!("http://127.0.0.1:{b}{path}"));
            prop_assert!(one.covers(&two) && two.covers(&one));
        }
    }
}
