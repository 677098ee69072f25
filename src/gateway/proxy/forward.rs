//! The way in: the request's body and header as the wrapped server gets them, its session, and the
//! redirects that the guard follows in the client's place.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use hyper::header::{ACCEPT_ENCODING, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Response, StatusCode};

use super::identity_headers::Said;
use super::{Proxy, session_id};
use crate::gateway::{Failure, reply, session_id as own_session_id};
use crate::http::{BodyError, Inbound, Reply, RequestBody};
use crate::mcp::Message;
use crate::resource::Principal;
use crate::upstream::http::{Download, Outgoing, Trouble, Upload};

/// A body of no more than so many bytes is read before it is sent on: it is a message, whose id may
/// be needed, and a redirect needs it again.
const KEPT: usize = 64 * 1024;

/// How long such a body may take.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// How long the head of an answer may take where no work is waited for.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// Redirects that are followed for one request.
const MAX_HOPS: usize = 3;

static SESSION: HeaderName = own_session_id::HEADER;

/// Session, address, assertion.
const ROOM_FOR_OURS: usize = 3;

/// A request's body.
pub(super) struct Body {
    /// All of it, if that is little.
    pub(super) kept: Option<Bytes>,
    passing: std::cell::Cell<Option<Upload>>,
}

/// Takes the request's body. One that is too large is refused here if it says so.
pub(super) async fn body(request: &mut Inbound, limit: usize) -> Result<Body, Reply> {
    let body = std::mem::replace(&mut request.body, RequestBody::Whole(Bytes::new()));
    let RequestBody::Incoming(incoming) = body else {
        let read = body.read(limit, BODY_PATIENCE).await;
        return read
            .map(Body::kept)
            .map_err(|error| reply::unreadable(&error));
    };
    let size = incoming.size_hint();
    if size.lower() > limit as u64 {
        return Err(reply::unreadable(&BodyError::TooLarge { limit }));
    }
    if size.exact() == Some(0) {
        return Ok(Body::kept(Bytes::new()));
    }
    if size.exact().is_none_or(|size| size > KEPT as u64) {
        return Ok(Body {
            kept: None,
            passing: std::cell::Cell::new(Some(Upload::passing(incoming, limit))),
        });
    }
    let read = RequestBody::Incoming(incoming).read(KEPT, BODY_PATIENCE);
    read.await
        .map(Body::kept)
        .map_err(|error| reply::unreadable(&error))
}

impl Body {
    const fn kept(bytes: Bytes) -> Self {
        Self {
            kept: Some(bytes),
            passing: std::cell::Cell::new(None),
        }
    }

    /// To be sent. A body that is passed on is there only once.
    fn upload(&self) -> Option<Upload> {
        match &self.kept {
            Some(bytes) => Some(Upload::whole(bytes.clone())),
            None => self.passing.take(),
        }
    }

    fn is_initialize(&self) -> bool {
        let message = self
            .kept
            .clone()
            .and_then(|bytes| Message::parse(bytes).ok());
        message.is_some_and(|message| message.method() == Some("initialize"))
    }
}

impl Proxy {
    /// The server's own id of the session that the request names. Whatever was not given to this
    /// principal is unknown, but for who begins anew: clients then still name the session
    /// that they lost (protocol rule H19).
    pub(super) fn session(
        &self,
        request: &Inbound,
        body: &Body,
        principal: &Principal,
    ) -> Result<Option<HeaderValue>, Reply> {
        if !request.headers.contains_key(own_session_id::HEADER) {
            return Ok(None);
        }
        let id = request.header(own_session_id::HEADER);
        let id = id.and_then(|id| session_id::unwrap(&self.keyring, principal, id));
        if id.is_none() && !body.is_initialize() {
            return Err(reply::session_not_found());
        }
        Ok(id)
    }

    /// The server's answer. `target` becomes what that is the answer to in the end.
    pub(super) async fn ask(
        &self,
        request: &Inbound,
        principal: &Arc<Principal>,
        target: &mut PathAndQuery,
        session: Option<&HeaderValue>,
        body: &Body,
    ) -> Result<Response<Download>, Reply> {
        let said = self.identity_headers.say(principal, request.client);
        let fields = self.fields(request, session, &said);
        for _ in 0..=MAX_HOPS {
            let Some(upload) = body.upload() else {
                tracing::warn!(
                    "the wrapped server redirects a request whose body is too large to keep"
                );
                return Err(self.redirected(body));
            };
            let outgoing = Outgoing {
                method: &request.method,
                target,
                fields: &fields,
                constant: said.told,
                body: upload,
                patience: self.patience(&request.method),
            };
            let response = self.server.send(outgoing).await;
            let response = response.map_err(|error| self.unanswered(body, &error))?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED
            {
                return Ok(response);
            }
            *target = self.redirects.target(target, &response).map_err(|why| {
                tracing::warn!(status = response.status().as_u16(), %why, "a redirect of the wrapped server's was not followed");
                self.redirected(body)
            })?;
        }
        tracing::warn!("the wrapped server redirects again and again");
        Err(self.redirected(body))
    }

    fn redirected(&self, body: &Body) -> Reply {
        self.failures.count(Failure::Redirect);
        trouble(body, StatusCode::BAD_GATEWAY, REDIRECTED)
    }

    fn unanswered(&self, body: &Body, error: &Trouble) -> Reply {
        if let Some(failure) = Failure::of_url(error) {
            self.failures.count(failure);
        }
        unanswered(body, error)
    }

    /// Of the header as the server gets it: what the client may say, and what the guard says of this
    /// request.
    fn fields<'r>(
        &self,
        request: &'r Inbound,
        session: Option<&'r HeaderValue>,
        said: &'r Said<'_>,
    ) -> Vec<(&'r HeaderName, &'r HeaderValue)> {
        // Events are looked at.
        let reads = request.method == Method::GET && reply::accepts_events(request);
        let goes_on = |name: &HeaderName| {
            *name != own_session_id::HEADER && !(reads && *name == ACCEPT_ENCODING)
        };
        let theirs = self.filter.request(&request.headers);
        let mut fields = Vec::with_capacity(request.headers.len() + ROOM_FOR_OURS);
        fields.extend(theirs.filter(|(name, _)| goes_on(name)));
        fields.extend(session.map(|id| (&SESSION, id)));
        fields.extend(said.fields());
        fields
    }

    /// A server that answers with plain JSON sends its head only when the work is done, so a POST
    /// may take as long as a request may.
    fn patience(&self, method: &Method) -> Duration {
        if *method == Method::POST {
            self.settings.request_timeout
        } else {
            self.settings.request_timeout.min(HEAD_PATIENCE)
        }
    }
}

const REDIRECTED: &str = "the server redirects this request to where the guard does not follow";

fn unanswered(body: &Body, error: &Trouble) -> Reply {
    let (status, why) = match error {
        Trouble::Unreachable(_) => (StatusCode::BAD_GATEWAY, "the server cannot be reached"),
        Trouble::Broken(_) => (
            StatusCode::BAD_GATEWAY,
            "the server's answer broke off or cannot be understood",
        ),
        Trouble::Slow(_) => (
            StatusCode::GATEWAY_TIMEOUT,
            "the server did not answer in time",
        ),
        Trouble::TooLarge { limit } => {
            return reply::unreadable(&BodyError::TooLarge { limit: *limit });
        }
        Trouble::ClientSlow => return reply::unreadable(&BodyError::TimedOut),
        Trouble::ClientBroken => return reply::unreadable(&BodyError::Broken),
    };
    tracing::warn!(%error, "the wrapped server did not answer");
    trouble(body, status, why)
}

fn trouble(body: &Body, status: StatusCode, why: &str) -> Reply {
    reply::upstream_trouble(body.kept.clone(), status, why)
}
