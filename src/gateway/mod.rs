//! The gateway: MCP's streamable HTTP transport (2025-03-26 … 2025-11-25) towards clients, the
//! children of [`crate::upstream`] behind it.
//!
//! Nothing happens before the bearer token was accepted: no body is read, no session looked up, no
//! child started. A session belongs to the subject and client that opened it; to anybody else it
//! does not exist.

mod awaited;
mod event_stream;
mod exchange;
mod expiry;
mod listen;
mod patience;
mod places;
mod post;
mod reply;
mod session;
mod session_id;
mod sessions;
mod start;

use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use hyper::{Method, StatusCode};

use crate::clock::Clock;
use crate::crypto::Keyring;
use crate::grant::GrantId;
use crate::http::{Inbound, Reply};
use crate::resource::{Principal, ProtectedResource};
use crate::upstream::{Children, Settings as UpstreamSettings};

use places::Places;
use session::Session;
use sessions::Sessions;

/// The gateway's own limits; those of the children are the upstream's.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of a request's body.
    pub max_body_size: usize,
    /// Listening streams (GET) that one subject may hold open.
    pub max_streams_per_user: usize,
    /// Whether GET is answered with 405 (`--http-streaming-only`).
    pub streaming_only: bool,
    pub start_timeout: Duration,
    pub request_timeout: Duration,
    pub session_idle_timeout: Duration,
}

/// One guarded MCP endpoint.
pub struct Gateway {
    settings: Settings,
    resource: Arc<ProtectedResource>,
    children: Arc<Children<Session>>,
    sessions: Sessions,
    /// Listening streams.
    streams: Places,
    clock: Clock,
}

impl Gateway {
    pub fn new(
        settings: Settings,
        upstream: UpstreamSettings,
        resource: Arc<ProtectedResource>,
        keyring: Keyring,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            resource,
            children: Children::new(upstream),
            sessions: Sessions::new(keyring),
            streams: Places::default(),
            clock,
        })
    }

    /// Answers one request to the MCP endpoint. `landing` makes the page for a person who opened
    /// the URL in a browser; it goes out with the 401, whose status and challenge stay the same.
    pub async fn handle(&self, request: Box<Inbound>, landing: impl FnOnce() -> Reply) -> Reply {
        let principal = match self
            .resource
            .authenticate(&request.headers, request.query())
            .await
        {
            Ok(principal) => principal,
            Err(denied) => {
                let page = reply::wants_html(&request).then(landing);
                return self.resource.refuse(denied, page);
            }
        };
        match request.method {
            Method::POST => self.post(request, &principal).await,
            Method::GET => self.listen(&request, &principal),
            Method::DELETE => self.end(&request, &principal),
            _ => reply::method_not_allowed(),
        }
    }

    /// The thread that had best serve a connection whose first bytes are these: the one where the
    /// session's child has its pipes.
    pub fn home(&self, first_bytes: &[u8]) -> Option<ThreadId> {
        self.sessions.home(session_id::named_in(first_bytes)?)
    }

    /// DELETE: the client is done with its session (2025-11-25, Session Management 5).
    fn end(&self, request: &Inbound, principal: &Principal) -> Reply {
        let session = match self.session(request, principal) {
            Ok(session) => session,
            Err(reply) => return reply,
        };
        self.sessions.remove(&session);
        session.close("the client ended the session");
        reply::empty(StatusCode::NO_CONTENT)
    }

    /// The session that the request names, if it is this principal's. Unknown and somebody else's
    /// get the same answer.
    fn session(&self, request: &Inbound, principal: &Principal) -> Result<Arc<Session>, Reply> {
        if !request.headers.contains_key(session_id::HEADER) {
            return Err(reply::bad_request("the Mcp-Session-Id header is missing"));
        }
        request
            .header(session_id::HEADER)
            .and_then(|id| self.sessions.find(id, principal))
            .ok_or_else(reply::session_not_found)
    }

    /// Ends every open stream that a revoked grant had opened.
    pub fn grant_revoked(&self, grant: &GrantId) {
        for session in self.sessions.all() {
            session.grant_revoked(grant);
        }
    }

    /// Lets time take its toll: overdue requests, held messages, idle sessions. The app calls it
    /// once a second.
    pub fn sweep(&self) {
        for session in self.sessions.all() {
            session.expire(self.settings.request_timeout);
            if session.has_ended() || session.idle_for() > self.settings.session_idle_timeout {
                self.sessions.remove(&session);
                session.close("the session was idle for too long");
            }
        }
    }

    /// The first step of stopping: listening streams end, with the hint to come back. What is in
    /// flight goes on.
    pub fn end_listening(&self) {
        for session in self.sessions.all() {
            session.end_listening();
        }
    }

    /// The last step of stopping: every session ends, every child is stopped.
    pub async fn stop(&self) {
        for session in self.sessions.all() {
            self.sessions.remove(&session);
            session.close("the guard is stopping");
        }
        self.children.stop().await;
    }
}
