//! Which header fields pass between a client and the server behind the guard.
//!
//! What one connection says about itself goes no further (RFC 9110 §7.6.1, threat case A-112). From
//! a request goes, besides, whatever the wrapped server could take for the guard's word: credentials,
//! addresses, identities, in any spelling that some server reads as the same name (A-093, A-113,
//! A-114). From an answer goes whatever would act on the guard's whole origin, which is where people
//! sign in (A-123).
//!
//! Content-Length goes both ways: how long a body is follows from the body that is sent (A-106).

use std::fmt;
use std::sync::LazyLock;

use hyper::HeaderMap;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
};

/// Fields that are said with many requests, written out once.
#[derive(Clone, Default)]
pub struct Constant {
    fields: Vec<(HeaderName, HeaderValue)>,
    lines: Vec<u8>,
}

impl Constant {
    pub fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.fields.iter().map(|(name, value)| (name, value))
    }

    /// As they stand in a head of HTTP/1.1 (RFC 9112 §5).
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }
}

impl<'f> FromIterator<(&'f HeaderName, &'f HeaderValue)> for Constant {
    fn from_iter<I: IntoIterator<Item = (&'f HeaderName, &'f HeaderValue)>>(fields: I) -> Self {
        let mut constant = Self::default();
        for (name, value) in fields {
            write_line(name, value, &mut constant.lines);
            constant.fields.push((name.clone(), value.clone()));
        }
        constant
    }
}

/// The values may be credentials.
impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.fields.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// A field's line in a head of HTTP/1.1 (RFC 9112 §5).
pub fn write_line(name: &HeaderName, value: &HeaderValue, head: &mut Vec<u8>) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value.as_bytes());
    head.extend_from_slice(b"\r\n");
}

/// What belongs to a connection, and a message's framing. Names starting with `Proxy-` do too.
const CONNECTION_ONLY: &[&str] = &[
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a client has no business telling the wrapped server.
const NOT_FROM_CLIENTS: &[&str] = &[
    // For the guard itself.
    "authorization",
    "cookie",
    "expect",
    "host",
    // Checked at the door against names that the wrapped server does not know; it would refuse
    // pages that the operator has let in.
    "origin",
    // Becomes HTTP_PROXY where a server makes variables of headers (CVE-2016-5385).
    "proxy",
    // Whose word on who is calling, and from where (A-113, A-114).
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "forwarded-for",
    "front-end-https",
    "remote-user",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-host",
    "x-real-ip",
    "x-remote-user",
    "x-scheme",
    // Another target or method than the one that was judged (A-114).
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// Whether a field speaks of one connection or frames one message. Nobody sets such a field but
/// whoever holds the connection.
pub fn belongs_to_connection(name: &HeaderName) -> bool {
    CONNECTION_ONLY.contains(&name.as_str()) || name.as_str().starts_with("proxy-")
}

/// Starts of such names. The browser's `Sec-Fetch-` go with the Origin.
const NOT_FROM_CLIENTS_PREFIXES: &[&str] = &[
    "proxy-",
    "sec-fetch-",
    "x-auth-request-",
    "x-forwarded-",
    "x-mcp-guard-",
];

/// What a request may not carry, in any spelling. Made once, asked for each request.
pub struct Filter(Names);

impl Filter {
    /// `own` are the names that the operator has the guard set: a client may not send those either.
    pub fn new(own: impl IntoIterator<Item = HeaderName>) -> Self {
        let mut names = Names::default();
        names.add_all(CONNECTION_ONLY);
        names.add_all(NOT_FROM_CLIENTS);
        for name in own {
            names.add(name.as_str());
        }
        Self(names)
    }

    /// What of a request's header goes on to the wrapped server. The gate has read the original.
    pub fn request<'h>(
        &self,
        headers: &'h HeaderMap,
    ) -> impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)> {
        // What the guard says is said afterwards, so nobody can have it removed (A-112).
        let named: Vec<HeaderName> = named_by_connection(headers).collect();
        headers
            .iter()
            .filter(move |(name, _)| !self.reserves(name) && !named.contains(name))
    }

    fn reserves(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.0.has(name) || begins_with_any(name, NOT_FROM_CLIENTS_PREFIXES)
    }
}

/// Names in any spelling that some server could read as them: CGI and its heirs turn every character
/// that is no letter or digit into one and the same (A-113).
#[derive(Default)]
struct Names {
    /// Most names are told apart by their length alone.
    by_length: Vec<Vec<Box<[u8]>>>,
}

impl Names {
    fn add(&mut self, name: &str) {
        if self.by_length.len() <= name.len() {
            self.by_length.resize_with(name.len() + 1, Vec::new);
        }
        if let Some(names) = self.by_length.get_mut(name.len()) {
            names.push(name.bytes().map(folded).collect());
        }
    }

    fn add_all(&mut self, names: &[&str]) {
        for name in names {
            self.add(name);
        }
    }

    fn has(&self, name: &[u8]) -> bool {
        let same_length = self.by_length.get(name.len());
        same_length.is_some_and(|all| all.iter().any(|it| begins_with(name, it)))
    }
}

/// Header names are in lower case by the time they are names.
const fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte
    } else {
        b'-'
    }
}

fn begins_with_any(name: &[u8], prefixes: &[&str]) -> bool {
    let mut prefixes = prefixes.iter();
    prefixes.any(|prefix| begins_with(name, prefix.as_bytes()))
}

fn begins_with(name: &[u8], prefix: &[u8]) -> bool {
    let start = name.get(..prefix.len());
    start.is_some_and(|start| {
        prefix
            .iter()
            .zip(start)
            .all(|(&of, &byte)| of == byte || of == folded(byte))
    })
}

/// RFC 9110 §7.6.1: fields that `Connection` names are for this connection alone.
fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).into_iter();
    let names = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

/// What an answer may not carry: it would hold for the whole origin, or be obeyed by a proxy in
/// front of the guard, or it is the guard's to say. `Location` is for whoever follows it.
const NOT_FROM_SERVERS: &[&str] = &[
    "accept-ch",
    "alt-svc",
    "cache-control",
    "cdn-cache-control",
    "clear-site-data",
    "cloudflare-cdn-cache-control",
    "content-security-policy",
    "content-security-policy-report-only",
    "critical-ch",
    "expect-ct",
    "location",
    "nel",
    "public-key-pins",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "server",
    "server-timing",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "set-login",
    "strict-transport-security",
    "surrogate-control",
    "use-as-dictionary",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
    "x-lighttpd-send-file",
    "x-litespeed-location",
    "x-powered-by",
    "x-reproxy-url",
    "x-sendfile",
];

/// Starts of such names. `X-Accel-Redirect` would have an nginx in front serve files of its own.
const NOT_FROM_SERVERS_PREFIXES: &[&str] =
    &["access-control-", "proxy-", "secure-session-", "x-accel-"];

/// What does not pass from the wrapped server, by name, in any spelling.
static STAYS_BEHIND: LazyLock<Names> = LazyLock::new(|| {
    let mut names = Names::default();
    names.add_all(CONNECTION_ONLY);
    names.add_all(NOT_FROM_SERVERS);
    names
});

/// What is said with every answer, to keep a body of the wrapped server's from being a page of the
/// guard's origin (A-123), and from being kept by a cache that would give it to others. `nosniff` is
/// said with every reply, whoever made it.
static SAID_WITH_ANSWERS: [(HeaderName, HeaderValue); 2] = [
    (
        CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache, no-transform"),
    ),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    ),
];

/// What of an answer's header goes on to the client, and what the guard says beside it. A stream of
/// events is kept flowing through an nginx.
pub fn forwardable_response(mut headers: HeaderMap) -> HeaderMap {
    let of_the_server = headers.keys().filter(|name| stays_behind(name));
    let behind: Vec<HeaderName> = of_the_server
        .cloned()
        .chain(named_by_connection(&headers))
        .collect();
    for name in behind {
        headers.remove(name);
    }
    if is_event_stream(&headers) {
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    for (name, value) in &SAID_WITH_ANSWERS {
        headers.insert(name, value.clone());
    }
    headers
}

fn stays_behind(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    STAYS_BEHIND.has(name) || begins_with_any(name, NOT_FROM_SERVERS_PREFIXES)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let media_type = media_type.and_then(|value| value.get(..EVENT_STREAM.len()));
    media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case(EVENT_STREAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    fn passes(name: &str) -> bool {
        let own = HeaderName::from_static("x-api-key");
        let name = name.to_ascii_lowercase();
        let sent = headers(&[(&name, "theirs")]);
        Filter::new([own]).request(&sent).next().is_some()
    }

    #[test]
    fn constant_fields_are_written_as_they_stand_in_a_head_and_their_values_not_shown() {
        let fields = headers(&[("x-a", "1"), ("authorization", "Bearer secret")]);
        let constant: Constant = fields.iter().collect();
        assert_eq!(
            constant.lines(),
            b"x-a: 1\r\nauthorization: Bearer secret\r\n"
        );
        assert!(constant.fields().eq(&fields));
        assert_eq!(format!("{constant:?}"), r#"["x-a", "authorization"]"#);
    }

    #[test]
    fn what_a_client_says_to_the_server_arrives() {
        let sent = headers(&[
            ("accept", "application/json"),
            ("accept", "text/event-stream"),
            ("content-type", "application/json"),
            ("last-event-id", "7"),
            ("mcp-method", "tools/call"),
            ("mcp-param-city", "Bern"),
            ("mcp-protocol-version", "2025-06-18"),
            ("mcp-session-id", "s"),
            ("traceparent", "00-1-2-00"),
            ("user-agent", "test"),
            ("x-custom_name", "kept"),
            ("x-forward", "kept"),
        ]);
        assert!(Filter::new([]).request(&sent).eq(&sent));
    }

    #[test]
    fn a093_no_credential_of_the_clients_is_forwarded() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "Proxy_Authorization",
            "Cookie",
        ] {
            assert!(!passes(name), "{name}");
        }
    }

    #[test]
    fn a112_what_connection_names_goes_and_so_does_all_that_is_of_the_connection() {
        let sent = headers(&[
            ("connection", "close, X-Hop"),
            ("connection", "mcp-session-id,, \"x\" ,authorization"),
            ("x-hop", "1"),
            ("mcp-session-id", "s"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("proxy-connection", "keep-alive"),
            ("accept", "*/*"),
        ]);
        let filter = Filter::new([]);
        let passed: Vec<&str> = filter
            .request(&sent)
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(passed, ["accept"]);
    }

    #[test]
    fn a113_no_spelling_of_an_identity_reaches_the_server() {
        for name in [
            "X-Forwarded-User",
            "X_Forwarded_User",
            "X.Forwarded.User",
            "x-forwarded_groups",
            "X-Forwarded-Preferred!Username",
            "x~forwarded~email",
            "X-Mcp-Guard-Assertion",
            "X_MCP_Guard_User",
            "x.mcp.guard.anything",
            "Remote-User",
            "REMOTE_USER",
            "X-Auth-Request-Email",
            "X-Api-Key",
            "X_API_KEY",
            "x.api.key",
        ] {
            assert!(!passes(name), "{name}");
        }
        assert!(passes("x-api-keys"));
    }

    #[test]
    fn a114_no_claim_about_address_target_or_method_reaches_the_server() {
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Prefix",
            "X_Forwarded_Host",
            "X-Real-IP",
            "X_Real_Ip",
            "CF-Connecting-IP",
            "True-Client-IP",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "X.HTTP.Method.Override",
            "Host",
            "Expect",
            "Proxy",
            "Origin",
            "Sec-Fetch-Site",
        ] {
            assert!(!passes(name), "{name}");
        }
    }

    #[test]
    fn a123_a_server_cannot_act_on_the_guards_origin() {
        let sent = headers(&[
            ("set-cookie", "__Host-mg-txn=x"),
            ("set-cookie", "b=c"),
            ("set_cookie", "d=e"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("www-authenticate", "Basic"),
            ("strict-transport-security", "max-age=1"),
            ("alt-svc", "h3=\":443\""),
            ("clear-site-data", "\"*\""),
            ("service-worker-allowed", "/"),
            ("server-timing", "db;dur=53"),
            ("location", "https://evil.example/"),
            ("refresh", "0;url=https://evil.example/"),
            ("content-security-policy", "default-src *"),
            ("content-security-policy-report-only", "default-src *"),
            ("x-frame-options", "ALLOWALL"),
            ("x-content-type-options", "none"),
            ("x-accel-redirect", "/etc/passwd"),
            ("cache-control", "public, max-age=3600"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "2"),
            ("content-type", "application/json"),
            ("mcp-session-id", "s"),
            ("vary", "a"),
            ("vary", "b"),
        ]);
        let forwarded = forwardable_response(sent);
        assert_eq!(
            names(&forwarded),
            [
                "cache-control",
                "content-security-policy",
                "content-type",
                "mcp-session-id",
                "vary",
            ]
        );
        let policy = &forwarded["content-security-policy"];
        assert_eq!(policy, "sandbox; default-src 'none'");
        assert_eq!(
            forwarded["cache-control"],
            "private, no-cache, no-transform"
        );
        assert_eq!(forwarded.get_all("vary").iter().count(), 2);
    }

    #[test]
    fn a_stream_of_events_asks_the_proxy_in_front_not_to_hold_it_back() {
        for (media_type, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("application/json", false),
            ("text", false),
        ] {
            let forwarded = forwardable_response(headers(&[("content-type", media_type)]));
            assert_eq!(
                forwarded.contains_key("x-accel-buffering"),
                expected,
                "{media_type}"
            );
        }
    }
}
