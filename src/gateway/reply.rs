//! What the gateway answers with: the one place that knows which trouble gets which status.
//!
//! 404 makes a client begin a new session, 401 a new sign-in, 400 neither: each is said only where
//! that is the right thing to do.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use crate::http::{Body, BodyError, Inbound, Reply};
use crate::mcp::{ErrorCode, Message, ParseError, error_for, error_without_id};
use crate::upstream::{JoinError, SendError};

/// As many header fields as a call of a client's has.
const FIELDS: usize = 8;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer of the server's, as it came.
pub(super) fn json(message: Bytes) -> Reply {
    with_json(StatusCode::OK, message)
}

/// A stream of events.
pub(super) fn events(
    events: impl http_body::Body<Data = Bytes, Error = Infallible> + 'static,
) -> Reply {
    let mut reply = Response::new(Body::stream(events));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // nginx and its kin would otherwise collect events until a buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    reply
}

pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = status;
    reply
}

/// Unknown session, ended session, somebody else's session: one and the same answer.
pub(super) fn session_not_found() -> Reply {
    about_nothing(
        StatusCode::NOT_FOUND,
        ErrorCode::InvalidRequest,
        "session not found",
    )
}

pub(super) fn bad_request(why: &str) -> Reply {
    about_nothing(StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, why)
}

pub(super) fn not_acceptable() -> Reply {
    let why = "this endpoint answers GET with text/event-stream only";
    about_nothing(StatusCode::NOT_ACCEPTABLE, ErrorCode::InvalidRequest, why)
}

pub(super) fn unsupported_media_type() -> Reply {
    let why = "the Content-Type must be application/json";
    about_nothing(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::InvalidRequest,
        why,
    )
}

/// `allowed`: the methods that are, as the Allow header lists them.
pub(super) fn method_not_allowed(allowed: &'static str) -> Reply {
    let mut reply = empty(StatusCode::METHOD_NOT_ALLOWED);
    let allowed = HeaderValue::from_static(allowed);
    reply.headers_mut().insert(ALLOW, allowed);
    reply
}

pub(super) fn too_many_sessions() -> Reply {
    let why = "this user has too many sessions open";
    retry(
        about_nothing(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::InternalError,
            why,
        ),
        5,
    )
}

pub(super) fn too_many_streams() -> Reply {
    let why = "too many listening streams are open for this user (--max-streams-per-user)";
    retry(
        about_nothing(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::InvalidRequest,
            why,
        ),
        5,
    )
}

/// The body was not read, so the request's id is not known.
pub(super) fn too_many_requests(wait: Duration) -> Reply {
    let why = "too many requests of this user (--max-requests-per-user)";
    retry(
        about_nothing(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::InvalidRequest,
            why,
        ),
        wait.as_secs().saturating_add(1),
    )
}

pub(super) fn unreadable(error: &BodyError) -> Reply {
    let status = match error {
        BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
        BodyError::Broken => StatusCode::BAD_REQUEST,
    };
    about_nothing(status, ErrorCode::InvalidRequest, &error.to_string())
}

pub(super) fn not_a_message(error: &ParseError) -> Reply {
    let code = match error {
        ParseError::NotJson(_) => ErrorCode::ParseError,
        ParseError::NotMessage(_) | ParseError::Batch => ErrorCode::InvalidRequest,
    };
    about_nothing(StatusCode::BAD_REQUEST, code, &error.to_string())
}

/// A message of the modern era, for a server of the legacy one. Measured against the TypeScript,
/// Python and Rust clients: 400 with -32600 and the request's own id is the one answer that makes
/// all three fall back to `initialize` (protocol rule B13).
pub(super) fn legacy_only(message: &Message) -> Reply {
    let why = "this server speaks protocol revisions up to 2025-11-25: begin with initialize";
    about(
        message,
        StatusCode::BAD_REQUEST,
        ErrorCode::InvalidRequest,
        why,
    )
}

pub(super) fn bad_gateway(message: &Message, why: &str) -> Reply {
    about(
        message,
        StatusCode::BAD_GATEWAY,
        ErrorCode::InternalError,
        why,
    )
}

pub(super) fn unavailable(message: &Message, why: &str) -> Reply {
    retry(
        about(
            message,
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::InternalError,
            why,
        ),
        5,
    )
}

/// Trouble with a wrapped HTTP server. `request` is the client's message where it is one, and known.
pub(super) fn upstream_trouble(request: Option<Bytes>, status: StatusCode, why: &str) -> Reply {
    let code = if status.is_client_error() {
        ErrorCode::InvalidRequest
    } else {
        ErrorCode::InternalError
    };
    match request.and_then(|bytes| Message::parse(bytes).ok()) {
        Some(message) => about(&message, status, code, why),
        None => about_nothing(status, code, why),
    }
}

pub(super) fn no_child(message: &Message, error: &JoinError) -> Reply {
    let why = error.to_string();
    match error {
        JoinError::Spawn(_) => bad_gateway(message, &why),
        JoinError::BackingOff(wait) => {
            retry(unavailable(message, &why), wait.as_secs().saturating_add(1))
        }
        JoinError::Full | JoinError::Stopping => unavailable(message, &why),
    }
}

pub(super) fn not_sent(message: &Message, error: &SendError) -> Reply {
    match error {
        SendError::Gone => session_not_found(),
        SendError::DuplicateId | SendError::NotAsked => about(
            message,
            StatusCode::BAD_REQUEST,
            ErrorCode::InvalidRequest,
            &error.to_string(),
        ),
        SendError::Congested => unavailable(message, &error.to_string()),
    }
}

/// Whether a person's browser asks, rather than a client.
pub(super) fn wants_html(request: &Inbound) -> bool {
    request.method == hyper::Method::GET && accepts(request, &["text/html"])
}

/// Whether the client takes events. Absent and `*/*` count: claude.ai's first probe sends the
/// latter.
pub(super) fn accepts_events(request: &Inbound) -> bool {
    !request.headers.contains_key(ACCEPT)
        || accepts(request, &["text/event-stream", "text/*", "*/*"])
}

/// Whether the client wants events and nothing else. Probes for a challenge (mcp-remote) would take
/// JSON as well.
pub(super) fn wants_only_events(request: &Inbound) -> bool {
    accepts(request, &["text/event-stream"]) && !accepts(request, &["application/json", "*/*"])
}

/// Whether the client asks for events by name: to listen, rather than to read.
pub(super) fn asks_for_events(request: &Inbound) -> bool {
    accepts(request, &["text/event-stream"])
}

fn accepts(request: &Inbound, wanted: &[&str]) -> bool {
    let ranges = request.headers.get_all(ACCEPT).iter();
    ranges
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .any(|range| {
            wanted
                .iter()
                .any(|wanted| range.eq_ignore_ascii_case(wanted))
        })
}

/// Whether the body claims to be JSON; parameters are of no interest.
pub(super) fn is_json(request: &Inbound) -> bool {
    request.header(CONTENT_TYPE).is_some_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("application/json")
    })
}

fn about(message: &Message, status: StatusCode, code: ErrorCode, why: &str) -> Reply {
    match message.id() {
        Some(id) => with_json(status, error_for(&id, code, why)),
        None => about_nothing(status, code, why),
    }
}

fn about_nothing(status: StatusCode, code: ErrorCode, why: &str) -> Reply {
    with_json(status, error_without_id(code, why))
}

fn with_json(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(crate::http::full(body));
    *reply.status_mut() = status;
    // hyper keeps the map for the header of the next request, which has more fields.
    reply.headers_mut().reserve(FIELDS);
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

fn retry(mut reply: Reply, seconds: u64) -> Reply {
    reply.headers_mut().insert(RETRY_AFTER, seconds.into());
    reply
}
