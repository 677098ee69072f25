//! From what hyper accepted to an [`Inbound`], or a refusal. One function, before anything else:
//! it rejects and never repairs, so that the gate and the forwarder see the same bytes
//! (design rule D-21; threat cases A-106 … ).
//!
//! hyper takes more than is safe: no Host or two, `gzip, chunked`, `/a/../mcp`, bytes above 0x7f in
//! header values, CONNECT. Whatever could mean one thing here and another to a proxy before us or
//! a server behind us ends in this file. What it cannot see, because hyper has it resolved by then:
//! a fragment in the target is cut off, and a Content-Length beside a Transfer-Encoding is gone
//! (hyper then closes the connection after the answer).

use std::net::IpAddr;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Uri, Version};
use ipnet::IpNet;

use super::{Body, Inbound, Reply, RequestBody, full, proxies};

/// Most header fields in a request. hyper's HTTP/1 parser holds the same line; HTTP/2 has none
///
const MAX_HEADERS: usize = 100;

/// Why a request goes no further than the door. The text is for anybody to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    pub status: StatusCode,
    pub text: &'static str,
    /// Whether the connection ends with the answer: always when it is in doubt where the next
    /// request on it would start.
    pub close: bool,
}

impl Refusal {
    const fn bad(text: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            text,
            close: false,
        }
    }

    const fn closing(status: StatusCode, text: &'static str) -> Self {
        Self {
            status,
            text,
            close: true,
        }
    }

    /// The answer: the text, as plain text.
    pub fn reply(self) -> Reply {
        let mut reply = Reply::new(Body::empty());
        *reply.status_mut() = self.status;
        let headers = reply.headers_mut();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, "text/plain; charset=utf-8");
        set(header::CACHE_CONTROL, "no-store");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        if self.close {
            set(header::CONNECTION, "close");
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            set(header::ALLOW, "GET, HEAD, POST, DELETE, OPTIONS");
        }
        *reply.body_mut() = full(self.text);
        reply
    }
}

/// The request as every later part sees it. `peer` is the other end of the connection; `trusted`
/// are the proxies that may name the client instead.
pub fn canonicalise(
    request: hyper::Request<Incoming>,
    peer: IpAddr,
    trusted: &[IpNet],
) -> Result<Inbound, Refusal> {
    let (mut parts, body) = request.into_parts();
    if parts.version == Version::HTTP_2 {
        as_http1(&mut parts)?;
    }
    check(&parts)?;
    // No tunnels: what asks for one is answered as if it had not.
    parts.headers.remove(header::UPGRADE);
    Ok(Inbound {
        client: proxies::client_address(peer, &parts.headers, trusted),
        method: parts.method,
        target: parts.uri,
        headers: parts.headers,
        body: RequestBody::Incoming(body),
    })
}

/// What HTTP/2 says in other words (RFC 9113 §8.3.1, §8.2.3), said as in HTTP/1.1.
fn as_http1(parts: &mut Parts) -> Result<(), Refusal> {
    let missing = Refusal::bad("a request needs an authority");
    let authority = parts.uri.authority().ok_or(missing)?;
    if !parts.headers.contains_key(header::HOST) {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| missing)?;
        parts.headers.insert(header::HOST, host);
    }
    join_cookies(&mut parts.headers);
    Ok(())
}

/// Browsers send a cookie to a field; together they are one Cookie header.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() < 2 {
        return;
    }
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

fn check(parts: &Parts) -> Result<(), Refusal> {
    if !matches!(parts.version, Version::HTTP_11 | Version::HTTP_2) {
        let text = "this server speaks HTTP/1.1 and, with TLS, HTTP/2";
        return Err(Refusal::closing(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            text,
        ));
    }
    check_method(&parts.method)?;
    check_values(&parts.headers)?;
    check_host(&parts.headers, &parts.uri)?;
    check_framing(&parts.headers)?;
    check_path(parts.uri.path())?;
    check_query(parts.uri.query())
}

/// PUT and PATCH are nothing odd: the router answers them.
fn check_method(method: &Method) -> Result<(), Refusal> {
    match *method {
        Method::GET
        | Method::POST
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS
        | Method::PUT
        | Method::PATCH => Ok(()),
        _ => Err(Refusal::closing(
            StatusCode::METHOD_NOT_ALLOWED,
            "this method is not supported",
        )),
    }
}

/// obs-text (RFC 9110 §5.5) means something else to everyone who reads it.
fn check_values(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.len() > MAX_HEADERS {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refusal::closing(status, "too many header fields"));
    }
    if !headers.values().all(|value| value.as_bytes().is_ascii()) {
        return Err(Refusal::bad("a header value is not ASCII"));
    }
    Ok(())
}

/// Exactly one Host (RFC 9112 §3.2), and an absolute-form target that agrees with it.
fn check_host(headers: &HeaderMap, target: &Uri) -> Result<(), Refusal> {
    let refusal = |text| Err(Refusal::closing(StatusCode::BAD_REQUEST, text));
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return refusal("a request needs exactly one Host");
    };
    let host = host.as_bytes();
    if host.is_empty() || !host.iter().all(|&byte| is_host_byte(byte)) {
        return refusal("the Host is malformed");
    }
    match target.authority() {
        Some(authority) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host) => {
            refusal("the request's target and its Host differ")
        }
        _ => Ok(()),
    }
}

const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
}

/// one way only to say where the body ends, and none to hide what it is.
fn check_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() {
            return Err(Refusal::closing(
                StatusCode::NOT_IMPLEMENTED,
                "the only transfer coding here is chunked",
            ));
        }
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Err(Refusal::closing(
                StatusCode::BAD_REQUEST,
                "a request has a Content-Length or a Transfer-Encoding, not both",
            ));
        }
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Refusal::closing(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "request bodies must not be encoded: leave out Content-Encoding",
        ));
    }
    Ok(())
}

/// a path in which no reader finds another one. Only characters of RFC 3986 §3.3 (less `;`,
/// which some servers cut at), no empty segment but the last, no dot segment. Percent-encoding only
/// for octets that need it and that change nothing when decoded twice: `/%6dcp` would be `/mcp` to
/// whoever normalises, so it is none of ours.
fn check_path(path: &str) -> Result<(), Refusal> {
    let Some(segments) = path.as_bytes().strip_prefix(b"/") else {
        return Err(Refusal::bad("the request's target must be a path"));
    };
    let mut segments = segments.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if (segment.is_empty() && !last) || matches!(segment, b"." | b"..") {
            return Err(Refusal::bad("the path has an empty or a dot segment"));
        }
        check_segment(segment)?;
    }
    Ok(())
}

/// Whether a path may be asked for at all.
pub fn is_canonical(path: &str) -> bool {
    check_path(path).is_ok()
}

fn check_segment(segment: &[u8]) -> Result<(), Refusal> {
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'%' => match after {
                [high, low, after @ ..] if is_inert_octet(*high, *low) => after,
                _ => return Err(Refusal::bad("the path has a percent-encoding out of place")),
            },
            _ if is_path_byte(byte) => after,
            _ => return Err(Refusal::bad("the path has a character out of place")),
        };
    }
    Ok(())
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// pchar of RFC 3986 §3.3 without `;` and `%`.
const fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        )
}

/// Whether `%XY` stands for an octet that no decoder could take for syntax.
fn is_inert_octet(high: u8, low: u8) -> bool {
    let (Some(high), Some(low)) = (hex(high), hex(low)) else {
        return false;
    };
    let octet = high << 4 | low;
    let syntax = matches!(octet, b'/' | b'\\' | b'%' | b';' | b'?' | b'#');
    !syntax && !is_unreserved(octet) && !octet.is_ascii_control()
}

pub(super) const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn check_query(query: Option<&str>) -> Result<(), Refusal> {
    match query {
        Some(query) if !query.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(Refusal::bad("the query has a character out of place"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
