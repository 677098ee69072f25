//! HTTP+SSE, the transport of 2024-11-05: one stream that carries everything to the client, and a
//! path beside it for what the client says.
//!
//! The stream is the session: the session begins with it, and ends, with its child, when it closes.
//! It cannot be resumed, so it must outlast the access token, which its client renews only when a
//! POST is refused. After the token's end the stream is silent but for what answers requests, until
//! a POST shows a fresh token of the same grant.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use hyper::StatusCode;
use tokio::time::Instant;

use super::event_stream::{Connection, Events};
use super::session::Session;
use super::start::STARTED;
use super::{Bridge, post, reply};
use crate::gateway::places::Place;
use crate::http::form::Form;
use crate::http::{Inbound, Reply};
use crate::mcp::{Kind, Message, sse};
use crate::resource::{Principal, Transport};

/// The parameter that names the session, as the SDKs of that time call it.
const SESSION: &str = "sessionId";

impl Bridge {
    /// GET on the stream's own path.
    pub(super) fn listen_to_all(&self, request: &Inbound, principal: &Principal) -> Reply {
        if reply::accepts_events(request) {
            self.open_stream(principal, &self.settings.messages_path)
        } else {
            reply::not_acceptable()
        }
    }

    /// A session and its stream. The child comes with `initialize`: clients open streams only to see
    /// what is there. `path` is where it is to post to: `/messages`, or for one that fell back the URL
    /// it was given, since the metadata that a 401 there names must be of that URL.
    pub(super) fn open_stream(&self, principal: &Principal, path: &str) -> Reply {
        let subject = &principal.identity.subject;
        let Some(place) = self
            .streams
            .take(subject, self.settings.max_streams_per_user)
        else {
            return reply::too_many_streams();
        };
        let Some(session) = self.mint(principal, Transport::HttpSse) else {
            return reply::too_many_sessions();
        };
        let Some(stream) = self.only_stream(&session, principal, path, place) else {
            return reply::session_not_found();
        };
        self.sessions.insert(session);
        reply::events(stream)
    }

    /// The stream begins with where to post to. A path without scheme and host, because what stands
    /// in front of the guard may be known by any (protocol rule S2).
    fn only_stream(
        &self,
        session: &Arc<Session>,
        principal: &Principal,
        path: &str,
        place: Place,
    ) -> Option<OnlyStream> {
        let endpoint = format!("{path}?{SESSION}={}", session.id());
        session.listening().announce(sse::endpoint(&endpoint));
        let connection = Connection {
            grant: principal.grant.clone(),
            expires: None,
            resume_after: None,
            priming: false,
            place: Some(place),
        };
        let events = session.listening().connect(connection)?;
        self.prolong(session, principal);
        Some(OnlyStream {
            events,
            session: Arc::clone(session),
        })
    }

    /// Whether a POST to the new URL is by a client that fell back to a stream there.
    pub(super) fn is_of_old_client(&self, request: &Inbound) -> bool {
        let value = request
            .query()
            .and_then(|query| query.strip_prefix(SESSION));
        self.has_http_sse() && value.is_some_and(|value| value.starts_with('='))
    }

    /// What the client says: 202, and everything else on the stream.
    pub(super) async fn take(&self, mut request: Box<Inbound>, principal: &Principal) -> Reply {
        let session = match self.posted_to(&request, principal) {
            Ok(session) => session,
            Err(reply) => return reply,
        };
        let message = match self.read(&mut request).await.map(Message::parse) {
            Ok(Ok(message)) => message,
            Ok(Err(error)) => return reply::not_a_message(&error),
            Err(reply) => return reply,
        };
        if message.is_modern() {
            return reply::legacy_only(&message);
        }
        self.prolong(&session, principal);
        if message.kind() != Kind::Request {
            return post::pass(&session, &message);
        }
        if message.method() == Some("initialize") {
            return self.initialize_on(&session, &message, principal).await;
        }
        ask(&session, &message)
    }

    /// The session that the query names. Unknown and somebody else's get the same answer.
    fn posted_to(&self, request: &Inbound, principal: &Principal) -> Result<Arc<Session>, Reply> {
        let query = Form::parse(request.query().unwrap_or_default().as_bytes());
        let query = query.map_err(|_| reply::bad_request("the query is malformed"))?;
        let Ok(Some(id)) = query.get(SESSION) else {
            return Err(reply::bad_request("one sessionId is needed in the query"));
        };
        self.sessions
            .find(id, principal, Transport::HttpSse)
            .ok_or_else(reply::session_not_found)
    }

    /// `initialize` is waited for, so that a child that does not start is told by a status, as
    /// elsewhere.
    async fn initialize_on(
        &self,
        session: &Arc<Session>,
        message: &Message,
        principal: &Principal,
    ) -> Reply {
        if !session.begin() {
            return reply::bad_request("the session is initialized already");
        }
        let (answer, starting) = match self.start(session, message, principal).await {
            Ok(started) => started,
            Err(reply) => return reply,
        };
        session.listening().accompany(answer.bytes());
        if answer.kind() == STARTED {
            starting.succeeded();
        }
        reply::empty(StatusCode::ACCEPTED)
    }

    fn prolong(&self, session: &Session, principal: &Principal) {
        let until = Instant::now() + self.remaining(principal);
        session.listening().prolong(&principal.grant, until);
    }
}

fn ask(session: &Session, message: &Message) -> Reply {
    let stream = session.listening();
    stream.await_one();
    match session.request_on(message, stream) {
        Ok(()) => reply::empty(StatusCode::ACCEPTED),
        Err(error) => {
            stream.give_up_one();
            reply::not_sent(message, &error)
        }
    }
}

/// The body of a session's only stream; the session ends with it (protocol rule S6).
struct OnlyStream {
    events: Events,
    session: Arc<Session>,
}

impl http_body::Body for OnlyStream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.events).poll_frame(context)
    }
}

impl Drop for OnlyStream {
    fn drop(&mut self) {
        self.session.close("the client closed its stream");
    }
}
