//! The way out: the wrapped server's answer as the client gets it.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Response, StatusCode};
use tokio::time::Instant;

use super::endpoint_events::EndpointEvents;
use super::relay::{Kind, Relay};
use super::{Proxy, session_id};
use crate::gateway::places::Place;
use crate::gateway::{reply, session_id as own_session_id};
use crate::http::headers::forwardable_response;
use crate::http::{Body, Cut, Inbound, Reply, full};
use crate::resource::{Principal, Transport};
use crate::upstream::http::{BrokenOff, Download};

/// What an answer is the answer to.
pub(super) struct Asked<'r> {
    pub(super) request: &'r Inbound,
    pub(super) principal: &'r Arc<Principal>,
    /// On the server, redirects included.
    pub(super) target: PathAndQuery,
    pub(super) in_session: bool,
    pub(super) place: Option<Place>,
    pub(super) message: Option<Bytes>,
}

/// What the header says of a body without a known end.
struct Stream {
    is_events: bool,
    is_encoded: bool,
    /// It belongs to a session that has an id.
    in_session: bool,
}

impl Stream {
    fn of(headers: &HeaderMap, asked: &Asked<'_>) -> Self {
        Self {
            is_events: is_event_stream(headers),
            is_encoded: is_encoded(headers),
            in_session: asked.in_session || headers.contains_key(own_session_id::HEADER),
        }
    }
}

impl Proxy {
    pub(super) async fn reply(
        &self,
        asked: Asked<'_>,
        response: Response<Download>,
    ) -> Result<Reply, Reply> {
        let (parts, download) = response.into_parts();
        check_status(parts.status, &asked)?;
        let is_known = download.is_end_stream() || download.size_hint().exact().is_some();
        let stream = (!is_known).then(|| Stream::of(&parts.headers, &asked));
        let headers = self.header_for(parts.headers, &asked)?;
        let body = match stream {
            None if download.is_end_stream() => Body::empty(),
            None => sized(download),
            // Boxed: what it needs room for would be moved about with every small answer.
            Some(stream) => Box::pin(self.stream(stream, asked, download)).await?,
        };
        let mut reply = Response::new(body);
        *reply.status_mut() = parts.status;
        *reply.headers_mut() = headers;
        Ok(reply)
    }

    fn header_for(&self, theirs: HeaderMap, asked: &Asked<'_>) -> Result<HeaderMap, Reply> {
        let id = theirs.get(own_session_id::HEADER).cloned();
        // What a GET would be answered with.
        let length = match asked.request.method {
            Method::HEAD => theirs.get(CONTENT_LENGTH).cloned(),
            _ => None,
        };
        let mut headers = forwardable_response(theirs);
        if let Some(id) = id {
            let Some(id) = session_id::wrap(&self.keyring, asked.principal, &id) else {
                tracing::error!(
                    "the wrapped server's session id is too long, or not visible ASCII"
                );
                return Err(bad_gateway(asked, "the server's session id is malformed"));
            };
            headers.insert(own_session_id::HEADER, id);
        }
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length);
        }
        Ok(headers)
    }

    /// A body without a known end: it is there to be ended with its grant.
    async fn stream(
        &self,
        stream: Stream,
        mut asked: Asked<'_>,
        download: Download,
    ) -> Result<Body, Reply> {
        let Stream {
            is_events,
            is_encoded,
            in_session,
        } = stream;
        let listening = is_events && asked.request.method == Method::GET;
        let place = match asked.place.take() {
            None if listening => Some(self.take_place(asked.principal)?),
            place => place.filter(|_| listening),
        };
        let open = self.streams.open(asked.principal, listening);
        self.recheck(&asked).await?;
        let remaining = asked.principal.expires_at.since(self.clock.now());
        let announces = listening && !in_session;
        if announces && is_encoded {
            tracing::error!(
                "the wrapped server encodes events that it was asked to send as they are"
            );
            return Err(bad_gateway(&asked, "the server's events cannot be read"));
        }
        let kind = Kind {
            is_events,
            is_encoded,
            endpoint: announces.then(|| self.endpoint_events(&asked)),
            expires: listening.then(|| Instant::now() + remaining),
            place,
        };
        Ok(Body::stream(Relay::new(download, open, kind)))
    }

    /// The grant may have ended before the stream was there to be ended.
    async fn recheck(&self, asked: &Asked<'_>) -> Result<(), Reply> {
        let request = asked.request;
        let again = self.gate.authenticate(&request.headers, request.query());
        match again.await {
            Ok(_) => Ok(()),
            Err(denied) => Err(self.gate.refuse(Transport::StreamableHttp, denied, None)),
        }
    }

    fn endpoint_events(&self, asked: &Asked<'_>) -> EndpointEvents {
        let redirects = Arc::clone(&self.redirects);
        let endpoints = Arc::clone(&self.endpoints);
        let principal = Arc::clone(asked.principal);
        let prefix = self.prefix.clone();
        // A copy: the original would hold on to the buffer that the request came in.
        let from = asked.target.as_str().to_owned();
        EndpointEvents::new(move |address| {
            let address = redirects.resolve(&from, address).ok()?;
            Some(endpoints.announce(&address, &prefix, &principal))
        })
    }
}

/// The client's token was good: it would throw that away on a 401, and nobody here can be asked for
/// another credential on a 407. So the server's refusal of the guard is the guard's trouble.
fn check_status(status: StatusCode, asked: &Asked<'_>) -> Result<(), Reply> {
    let refused = matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    );
    if !refused {
        return Ok(());
    }
    tracing::error!(
        status = status.as_u16(),
        "the wrapped server does not let the guard in; it may need --proxy-bearer-token or --proxy-headers"
    );
    Err(bad_gateway(asked, "the server does not let the guard in"))
}

fn bad_gateway(asked: &Asked<'_>, why: &str) -> Reply {
    reply::upstream_trouble(asked.message.clone(), StatusCode::BAD_GATEWAY, why)
}

/// A body with a known end.
fn sized(mut download: Download) -> Body {
    match download.at_once() {
        Some(bytes) => full(bytes),
        None => Body::stream(download.map_err(|error| broke_off(&error))),
    }
}

fn broke_off(error: &BrokenOff) -> Cut {
    tracing::warn!(%error, "the wrapped server broke off an answer");
    Cut
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("text/event-stream"))
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let coding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}
