//! The bridge: MCP's streamable HTTP transport (2025-03-26 … 2025-11-25) towards clients, and the
//! older HTTP+SSE ([`legacy`]), the children of [`crate::upstream`] behind it.
//!
//! A session belongs to the subject and client that opened it; to anybody else it does not exist.

mod event_stream;
mod exchange;
mod expiry;
mod legacy;
mod listen;
mod patience;
mod post;
mod session;
mod sessions;
mod start;

use std::sync::Arc;
use std::thread::ThreadId;

use hyper::{Method, StatusCode};

use super::{Endpoint, Failure, Figures, Settings, reply, session_id};
use crate::clock::Clock;
use crate::crypto::Keyring;
use crate::grant::GrantId;
use crate::http::{Inbound, Reply};
use crate::identity::IdentityProviders;
use crate::resource::{Principal, Transport};
use crate::telemetry::metrics::Counts;
use crate::upstream::{self, Children};

use super::places::Places;
use session::Session;
use sessions::Sessions;

/// A wrapped command, as clients see it.
pub(super) struct Bridge {
    settings: Settings,
    children: Arc<Children<Session>>,
    sessions: Sessions,
    /// Listening streams.
    streams: Places,
    clock: Clock,
    failures: Counts<Failure>,
}

impl Bridge {
    pub(super) fn new(
        settings: Settings,
        command: upstream::Settings,
        keyring: Keyring,
        clock: Clock,
    ) -> Self {
        Self {
            settings,
            children: Children::new(command),
            sessions: Sessions::new(keyring),
            streams: Places::default(),
            clock,
            failures: Counts::default(),
        }
    }

    /// Answers a request of this principal's.
    pub(super) async fn answer(
        &self,
        endpoint: Endpoint,
        request: Box<Inbound>,
        principal: &Principal,
    ) -> Reply {
        match (endpoint, &request.method) {
            (Endpoint::Mcp, &Method::POST) if self.is_of_old_client(&request) => {
                Box::pin(self.take(request, principal)).await
            }
            (Endpoint::Mcp, &Method::POST) => self.post(request, principal).await,
            (Endpoint::Mcp, &Method::GET) => self.listen(&request, principal),
            (Endpoint::Mcp, &Method::DELETE) => self.end(&request, principal),
            (Endpoint::Mcp, _) => reply::method_not_allowed("GET, POST, DELETE"),
            (Endpoint::Sse, &Method::GET) => self.listen_to_all(&request, principal),
            (Endpoint::Sse, _) => reply::method_not_allowed("GET"),
            // Boxed: what it needs room for would be moved about with every call to the other.
            (Endpoint::Messages, &Method::POST) => Box::pin(self.take(request, principal)).await,
            (Endpoint::Messages, _) => reply::method_not_allowed("POST"),
        }
    }

    /// Whether there is HTTP+SSE.
    pub(super) fn has_http_sse(&self) -> bool {
        !self.settings.streaming_only
    }

    pub(super) fn figures(&self, limited: u64) -> Figures<'_> {
        Figures {
            limited,
            failures: &self.failures,
            sessions: Some(self.sessions.count()),
            children: Some(self.children.figures()),
        }
    }

    /// Where the session's child has its pipes.
    pub(super) fn home(&self, session: &str) -> Option<ThreadId> {
        self.sessions.home(session)
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
            .and_then(|id| self.sessions.find(id, principal, Transport::StreamableHttp))
            .ok_or_else(reply::session_not_found)
    }

    /// Ends every open stream that a revoked grant had opened.
    pub(super) fn grant_revoked(&self, grant: &GrantId) {
        for session in self.sessions.all() {
            session.grant_revoked(grant);
        }
    }

    /// Ends the sessions of people whom the rules no longer let in.
    pub(super) fn end_unwelcome(&self, identity: &IdentityProviders) {
        for session in self.sessions.all() {
            if identity.admits(&session.owner().identity).is_err() {
                self.sessions.remove(&session);
                session.close("this user is no longer let in");
            }
        }
    }

    /// Lets time take its toll: overdue requests, held messages, idle sessions.
    pub(super) fn sweep(&self) {
        for session in self.sessions.all() {
            let unanswered = session.expire(self.settings.request_timeout);
            self.failures.add(Failure::Slow, unanswered);
            if session.has_ended() || session.idle_for() > self.settings.session_idle_timeout {
                self.sessions.remove(&session);
                session.close("the session was idle for too long");
            }
        }
    }

    /// The first step of stopping: listening streams end, with the hint to come back. What is in
    /// flight goes on.
    pub(super) fn end_listening(&self) {
        for session in self.sessions.all() {
            session.end_listening();
        }
    }

    /// The last step of stopping: every session ends, every child is stopped.
    pub(super) async fn stop(&self) {
        for session in self.sessions.all() {
            self.sessions.remove(&session);
            session.close("the guard is stopping");
        }
        self.children.stop().await;
    }
}
